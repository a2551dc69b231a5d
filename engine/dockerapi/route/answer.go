package route

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/moby/moby/api/types/jsonstream"
)

// WriteJSON answers with v as Docker encodes it: HTML not escaped, a line end after.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return Encoder(w).Encode(v)
}

// Encoder writes JSON as Docker does.
func Encoder(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// Flusher writes through to the client at once. It is not safe for concurrent use.
type Flusher struct {
	w http.ResponseWriter
	c *http.ResponseController
}

// NewFlusher wraps w.
func NewFlusher(w http.ResponseWriter) *Flusher {
	return &Flusher{w, http.NewResponseController(w)}
}

func (f *Flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}

// Flush sends what has been written, the headers at least.
func (f *Flusher) Flush() error { return f.c.Flush() }

// Messages is a stream of progress messages, as pull, push, load, import and build
// answer with: JSON objects ended by CR LF. It is safe for concurrent use.
type Messages struct {
	w http.ResponseWriter

	mu    sync.Mutex
	out   *Flusher
	begun bool
}

// NewMessages writes nothing before the first message, so that an error until then
// can still be answered as one.
func NewMessages(w http.ResponseWriter) *Messages { return &Messages{w: w, out: NewFlusher(w)} }

// Begun tells that something has been written: an error must go into the stream.
func (m *Messages) Begun() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.begun
}

// Send writes one message of any type.
func (m *Messages) Send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.begun {
		m.begun = true
		m.w.Header().Set("Content-Type", "application/json")
		m.w.WriteHeader(http.StatusOK)
	}
	_, err = m.out.Write(append(b, '\r', '\n'))
	return err
}

// Status tells what is done with id, which may be empty.
func (m *Messages) Status(id, format string, a ...any) error {
	return m.Send(&jsonstream.Message{ID: id, Status: fmt.Sprintf(format, a...)})
}

// Text is output of a build.
func (m *Messages) Text(s string) error { return m.Send(&jsonstream.Message{Stream: s}) }

// Aux sends a value for programs; kind may be empty.
func (m *Messages) Aux(kind string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return m.Send(&jsonstream.Message{ID: kind, Aux: (*json.RawMessage)(&raw)})
}

// Fail ends the stream with an error, or returns err where nothing has been
// written, so that the handler can return it.
func (m *Messages) Fail(err error) error {
	if err == nil || !m.Begun() {
		return err
	}
	return m.Send(&failure{ErrorDetail: &jsonstream.Error{Message: err.Error()}, Error: err.Error()})
}

// failure has the error twice: clients before 1.x of the API's types read the text.
type failure struct {
	ErrorDetail *jsonstream.Error `json:"errorDetail"`
	Error       string            `json:"error"`
}
