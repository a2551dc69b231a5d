package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
)

// FileOptions are the flags --audit-log-*.
type FileOptions struct {
	Path       string // "-" is the standard output
	MaxAge     int    // days that a rotated file is kept; 0 keeps it
	MaxBackups int    // rotated files kept; 0 keeps all
	MaxSize    int    // megabytes at which the file is rotated
	Compress   bool
	Strict     bool // a request whose beginning is not kept is refused
}

// file writes each event before it returns.
type file struct {
	mu     sync.Mutex
	w      io.Writer
	strict bool
}

// NewFile opens the file of a log, readable for the owner alone, so that what is wrong
// with it shows at the start.
func NewFile(o FileOptions, stdout io.Writer) (Sink, error) {
	if o.Path == "-" {
		return &file{w: stdout, strict: o.Strict}, nil
	}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(o.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return &file{w: &lumberjack.Logger{Filename: o.Path, MaxAge: o.MaxAge, MaxBackups: o.MaxBackups, MaxSize: o.MaxSize, Compress: o.Compress}, strict: o.Strict}, nil
}

func (f *file) Write(line []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.w.Write(line)
	return err
}

func (f *file) Required() bool { return f.strict }

func (f *file) Close() {
	if c, ok := f.w.(*lumberjack.Logger); ok {
		_ = c.Close() // it keeps nothing back
	}
}

// BatchOptions are the flags --audit-*-batch-*.
type BatchOptions struct {
	BufferSize int           // events that wait before new ones are lost
	MaxSize    int           // events in a batch
	MaxWait    time.Duration // until a batch that is not full goes
}

// Defaults fills in what kube-apiserver would take.
func (o BatchOptions) Defaults(size int) BatchOptions {
	if o.BufferSize == 0 {
		o.BufferSize = 10000
	}
	if o.MaxSize == 0 {
		o.MaxSize = size
	}
	if o.MaxWait == 0 {
		o.MaxWait = 30 * time.Second
	}
	return o
}

// batch hands events on in its own time. What does not fit its buffer is lost, and
// told to the log.
type batch struct {
	o      BatchOptions
	send   func(lines [][]byte) error
	errors *slog.Logger

	in   chan []byte
	done chan struct{}
	mu   sync.RWMutex // held for reading while in is written to
	shut bool
}

// NewBatch makes a Sink of send, which gets a batch at a time.
func NewBatch(o BatchOptions, errors *slog.Logger, send func(lines [][]byte) error) Sink {
	b := &batch{o: o, send: send, errors: errors, in: make(chan []byte, o.BufferSize), done: make(chan struct{})}
	go b.run()
	return b
}

func (b *batch) Write(line []byte) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.shut {
		return fmt.Errorf("the audit log is closed")
	}
	select {
	case b.in <- line:
		return nil
	default:
		return fmt.Errorf("the buffer of %d events is full", b.o.BufferSize)
	}
}

func (b *batch) Required() bool { return false }

// Close sends what waits.
func (b *batch) Close() {
	b.mu.Lock()
	if !b.shut {
		b.shut = true
		close(b.in)
	}
	b.mu.Unlock()
	<-b.done
}

func (b *batch) run() {
	defer close(b.done)
	for {
		lines, open := b.collect()
		if len(lines) > 0 {
			if err := b.send(lines); err != nil {
				b.errors.Error("audit events were lost", "events", len(lines), "err", err)
			}
		}
		if !open {
			return
		}
	}
}

// collect waits for an event and then for a full batch or the longest wait.
func (b *batch) collect() (lines [][]byte, open bool) {
	line, ok := <-b.in
	if !ok {
		return nil, false
	}
	lines = append(lines, line)
	timer := time.NewTimer(b.o.MaxWait)
	defer timer.Stop()
	for len(lines) < b.o.MaxSize {
		select {
		case line, ok := <-b.in:
			if !ok {
				return lines, false
			}
			lines = append(lines, line)
		case <-timer.C:
			return lines, true
		}
	}
	return lines, true
}

// ToSink writes batches to another sink.
func ToSink(s Sink) func(lines [][]byte) error {
	return func(lines [][]byte) error {
		for _, l := range lines {
			if err := s.Write(l); err != nil {
				return err
			}
		}
		return nil
	}
}

// Webhook posts events as an EventList.
type Webhook struct {
	Client  *http.Client
	URL     string
	Backoff time.Duration // before the first retry; it grows by half each time

	stop chan struct{} // closed: no more retries
}

// NewWebhook makes a Sink of w: one that waits for each event to be taken, or one that
// sends batches.
func NewWebhook(w *Webhook, blocking, strict bool, o BatchOptions, errors *slog.Logger) Sink {
	w.stop = make(chan struct{})
	h := &hook{w: w, strict: strict}
	if !blocking {
		h.batch = NewBatch(o, errors, w.send)
	}
	return h
}

type hook struct {
	w      *Webhook
	strict bool
	batch  Sink // nil: each event is sent at once
	once   sync.Once
}

func (h *hook) Write(line []byte) error {
	if h.batch != nil {
		return h.batch.Write(line)
	}
	return h.w.send([][]byte{line})
}

func (h *hook) Required() bool { return h.strict }

// Close sends what waits, each batch once.
func (h *hook) Close() {
	h.once.Do(func() { close(h.w.stop) })
	if h.batch != nil {
		h.batch.Close()
	}
}

const (
	webhookTries   = 5
	webhookTimeout = 30 * time.Second
)

// send posts one batch, again where the other side fails (audit/webhook: five times).
func (w *Webhook) send(lines [][]byte) error {
	body := []byte(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`)
	for i, l := range lines {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, bytes.TrimSuffix(l, []byte("\n"))...)
	}
	body = append(body, "]}"...)
	pause := w.Backoff
	for try := 1; ; try++ {
		again, err := w.post(body)
		if err == nil || !again || try == webhookTries {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause += pause / 2
		case <-w.stop:
			timer.Stop()
			return err
		}
	}
}

// post tells whether another try may go better.
func (w *Webhook) post(body []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), webhookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := w.Client.Do(req)
	if err != nil {
		return true, err
	}
	defer res.Body.Close()
	// A short answer is read so that the connection can be used again.
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		return false, nil
	}
	return res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500, fmt.Errorf("the audit webhook answered %s", res.Status)
}
