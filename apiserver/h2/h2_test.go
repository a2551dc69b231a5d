package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// serve runs h behind this package and returns a client of it.
func serve(t testing.TB, h http.HandlerFunc, o Options) (*http.Client, string) {
	t.Helper()
	return serveOn(t, h, o, func(l net.Listener) net.Listener { return l })
}

// serveOn is serve with something between it and the network.
func serveOn(t testing.TB, h http.HandlerFunc, o Options, between func(net.Listener) net.Listener) (*http.Client, string) {
	t.Helper()
	if o.MaxStreams == 0 {
		o.MaxStreams = 100
	}
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Listener = Listener(between(s.Listener))
	s.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	Configure(s.Config, o)
	s.StartTLS()
	t.Cleanup(s.CloseClientConnections)
	tr := s.Client().Transport.(*http.Transport).Clone()
	tr.ForceAttemptHTTP2 = true
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}, s.URL
}

func get(t testing.TB, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

func TestAnswers(t *testing.T) {
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		switch r.URL.Path {
		case "/small":
			io.WriteString(w, "hello "+r.URL.Query().Get("n")+r.Header.Get("X-A"))
		case "/large":
			for range 100 {
				w.Write(bytes.Repeat([]byte("x"), 12345))
			}
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
			if _, err := w.Write([]byte("x")); err != http.ErrBodyNotAllowed {
				t.Errorf("a body of 204: %v", err)
			}
		case "/late":
			w.WriteHeader(http.StatusCreated)
			w.Header().Set("X-Late", "1")
		case "/length":
			w.Header().Set("Content-Length", "3")
			io.WriteString(w, "abc")
			if _, err := io.WriteString(w, "d"); err != http.ErrContentLength {
				t.Errorf("more than announced: %v", err)
			}
		}
	}, Options{})
	r, b := get(t, c, url+"/small?n=5")
	if r.Proto != "HTTP/2.0" || r.Header.Get("X-Proto") != "HTTP/2.0" || b != "hello 5" || r.ContentLength != 7 ||
		r.Header.Get("Content-Type") != "text/plain; charset=utf-8" || r.Header.Get("Date") == "" {
		t.Errorf("%s %q %v", r.Proto, b, r.Header)
	}
	if r, b = get(t, c, url+"/large"); len(b) != 1234500 || strings.Trim(b, "x") != "" || r.ContentLength != -1 {
		t.Errorf("%d bytes, length %d", len(b), r.ContentLength)
	}
	if r, _ = get(t, c, url+"/empty"); r.StatusCode != 204 || r.Header.Get("Content-Type") != "" {
		t.Errorf("%v", r)
	}
	if r, _ = get(t, c, url+"/late"); r.StatusCode != 201 || r.Header.Get("X-Late") != "" || r.ContentLength != 0 {
		t.Errorf("%v", r)
	}
	if r, b = get(t, c, url+"/length"); b != "abc" || r.ContentLength != 3 {
		t.Errorf("%q %v", b, r)
	}
	h, err := c.Head(url + "/small?n=5")
	if err != nil || h.ContentLength != 7 {
		t.Errorf("HEAD: %v %v", h, err)
	}
}

// TestBodies: what is sent comes back, whole and in order, however large, from many
// clients of a connection at once.
func TestBodies(t *testing.T) {
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, r.Body)
		if err != nil || r.ContentLength >= 0 && n != r.ContentLength {
			t.Errorf("%d of %d bytes: %v", n, r.ContentLength, err)
		}
	}, Options{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			want := bytes.Repeat([]byte(strconv.Itoa(i)+";"), 1+i*i*7000)
			r, err := c.Post(url, "text/plain", bytes.NewReader(want))
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			got, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d of %d bytes: %v", len(got), len(want), err)
			}
		})
	}
	wg.Wait()
}

// TestUnreadBodies: a handler that does not want the body costs the connection
// nothing.
func TestUnreadBodies(t *testing.T) {
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}, Options{})
	for range 20 {
		r, err := c.Post(url, "text/plain", bytes.NewReader(make([]byte, 500<<10)))
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Fatal(r.Status)
		}
	}
}

// TestStreams: what is flushed arrives while the handler goes on; its context ends
// with the client.
func TestStreams(t *testing.T) {
	gone := make(chan error, 1)
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		derived, cancel := context.WithCancel(r.Context())
		defer cancel()
		for i := 0; ; i++ {
			fmt.Fprintln(w, i)
			w.(http.Flusher).Flush()
			select {
			case <-derived.Done():
				gone <- derived.Err()
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}, Options{})
	r, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != "0\n1\n2\n3\n" {
		t.Errorf("%q %v", b, err)
	}
	r.Body.Close()
	select {
	case err := <-gone:
		if err != context.Canceled {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the handler does not know that the client is gone")
	}
}

// TestSlowReader: a client that takes nothing of one stream keeps its handler waiting,
// and no other.
func TestSlowReader(t *testing.T) {
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			for {
				if _, err := w.Write(make([]byte, 100<<10)); err != nil {
					return
				}
			}
		}
		io.WriteString(w, "ok")
	}, Options{})
	slow, err := c.Get(url + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Body.Close()
	for range 50 {
		if _, b := get(t, c, url); b != "ok" {
			t.Fatal(b)
		}
	}
}

func TestTrailers(t *testing.T) {
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s %s", b, r.Trailer.Get("X-In"))
		w.Header().Set("X-Sum", "7")
		w.Header().Set(http.TrailerPrefix+"X-More", "8")
	}, Options{})
	rq, err := http.NewRequest("POST", url, io.MultiReader(strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	rq.Trailer = http.Header{"X-In": {"in"}}
	r, err := c.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil || string(b) != "body in" || r.Trailer.Get("X-Sum") != "7" || r.Trailer.Get("X-More") != "8" || r.Header.Get("X-Sum") != "" {
		t.Errorf("%q %v %v %v", b, r.Header, r.Trailer, err)
	}
}

func TestContinueAndHints(t *testing.T) {
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		io.Copy(w, r.Body)
	}, Options{})
	c.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute
	var seen []int
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
		seen = append(seen, code)
		return nil
	}})
	rq, err := http.NewRequestWithContext(ctx, "POST", url, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	rq.Header.Set("Expect", "100-continue")
	r, err := c.Do(rq)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || string(b) != "body" || fmt.Sprint(seen) != "[103 100]" {
		t.Errorf("%q %v %v", b, seen, err)
	}
}

func TestDeadlines(t *testing.T) {
	read, write := make(chan error, 1), make(chan error, 1)
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.URL.Path == "/read" {
			rc.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, err := io.ReadAll(r.Body)
			read <- err
			return
		}
		rc.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		for {
			if _, err := w.Write(make([]byte, 50<<10)); err != nil {
				write <- err
				return
			}
		}
	}, Options{})
	pr, pw := io.Pipe()
	defer pw.Close()
	r, err := c.Post(url+"/read", "text/plain", pr)
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if r, err = c.Get(url + "/write"); err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := <-write; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// TestPanics: a handler that fails resets its stream alone.
func TestPanics(t *testing.T) {
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			panic("no")
		}
	}, Options{})
	for range 3 {
		if r, err := c.Get(url + "/bad"); err == nil {
			t.Errorf("an answer: %v", r)
		}
		get(t, c, url)
	}
}

// TestParting: a client that is told to go gets its answer and connects anew.
func TestParting(t *testing.T) {
	var mu sync.Mutex
	from := map[string]bool{}
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = true
		mu.Unlock()
		w.Header().Set("Connection", "close")
		io.WriteString(w, "ok")
	}, Options{})
	for range 5 {
		if r, b := get(t, c, url); b != "ok" || r.Header.Get("Connection") != "" {
			t.Fatalf("%q %v", b, r.Header)
		}
	}
	if len(from) != 5 {
		t.Errorf("%d connections for 5 requests", len(from))
	}
}

func TestLargeHeaders(t *testing.T) {
	c, url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Back", r.Header.Get("X-Large"))
	}, Options{})
	rq, _ := http.NewRequest("GET", url, nil)
	rq.Header.Set("X-Large", strings.Repeat("a", 100<<10))
	r, err := c.Do(rq)
	if err != nil || len(r.Header.Get("X-Back")) != 100<<10 {
		t.Fatalf("%v", err)
	}
}

// raw is a client that sends frames as it likes.
type raw struct {
	t testing.TB
	*tls.Conn
	*http2.Framer
}

func dial(t testing.TB, url string) *raw {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return &raw{t, c, f}
}

// goAway reads until the server ends the connection and returns why.
func (r *raw) goAway() http2.ErrCode {
	r.t.Helper()
	for {
		f, err := r.ReadFrame()
		if err != nil {
			r.t.Fatalf("the connection ended without a word: %v", err)
		}
		if g, ok := f.(*http2.GoAwayFrame); ok {
			return g.ErrCode
		}
	}
}

// tight is a listener of connections in which little is on its way.
type tight struct{ net.Listener }

func (l tight) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// TestFloods: who makes the server answer and takes nothing loses the connection; so
// does who sends headers without an end.
func TestFloods(t *testing.T) {
	_, url := serveOn(t, func(http.ResponseWriter, *http.Request) {}, Options{}, func(l net.Listener) net.Listener { return tight{l} })
	r := dial(t, url)
	var pings bytes.Buffer
	f := http2.NewFramer(&pings, nil)
	for range 5000 {
		f.WritePing(false, [8]byte{})
	}
	var err error
	for err == nil {
		_, err = r.Write(pings.Bytes())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("pings are taken without end: %v", err)
	}
	r = dial(t, url)
	r.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
	for range 1000 {
		r.WriteContinuation(1, false, nil)
	}
	if code := r.goAway(); code != http2.ErrCodeEnhanceYourCalm {
		t.Error(code)
	}
}

// TestIdle: a connection without streams is ended.
func TestIdle(t *testing.T) {
	_, url := serve(t, func(http.ResponseWriter, *http.Request) {}, Options{IdleTimeout: 50 * time.Millisecond})
	if code := dial(t, url).goAway(); code != http2.ErrCodeNo {
		t.Error(code)
	}
}

// FuzzFrames: whatever a client sends, the server neither panics nor keeps the
// connection for ever.
func FuzzFrames(f *testing.F) {
	var seed bytes.Buffer
	fr := http2.NewFramer(&seed, nil)
	fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3})
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82, 0x87, 0x84, 0x41, 1, 'a'}, EndHeaders: true})
	fr.WriteData(1, true, []byte("body"))
	fr.WriteRSTStream(1, http2.ErrCodeCancel)
	fr.WriteWindowUpdate(0, 5)
	fr.WritePing(false, [8]byte{})
	f.Add(seed.Bytes())
	_, url := serve(f, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}, Options{})
	f.Fuzz(func(t *testing.T, frames []byte) {
		r := dial(t, url)
		if _, err := r.Write(frames); err != nil {
			return
		}
		r.CloseWrite()
		if _, err := io.Copy(io.Discard, r.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the connection stays open")
		}
	})
}

func BenchmarkGet(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1600)
	h := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	}
	one := func(b *testing.B, c *http.Client, url string) {
		b.ReportAllocs()
		for b.Loop() {
			get(b, c, url)
		}
	}
	b.Run("h2", func(b *testing.B) {
		c, url := serve(b, h, Options{})
		one(b, c, url)
	})
	b.Run("net/http", func(b *testing.B) {
		s := httptest.NewUnstartedServer(http.HandlerFunc(h))
		s.EnableHTTP2 = true
		s.StartTLS()
		b.Cleanup(s.Close)
		one(b, s.Client(), s.URL)
	})
}
