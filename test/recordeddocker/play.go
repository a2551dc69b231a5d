package recordeddocker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"time"

	"skiff.dev/skiff/test/recorded/tree"
)

// Waits of a player.
const (
	giveUp     = 40 * time.Second // an answer that is not at its end then
	asyncWait  = 2 * time.Second  // for the headers of an asynchronous answer
	untilWait  = 20 * time.Second // for a step with until to come true
	untilPause = 50 * time.Millisecond
)

// Result is the outcome of one step.
type Result struct {
	Index     int
	Step      *Step
	Compared  bool
	Equal     bool
	Got, Want Answer
}

// Answer is an answer as it is compared.
type Answer struct {
	Status  int
	Headers map[string]any
	Body    any
}

// Diff lists where two answers differ: - wanted, + got.
func Diff(want, got Answer) string {
	out := ""
	if want.Status != got.Status {
		out = fmt.Sprintf("  - status %d\n  + status %d\n", want.Status, got.Status)
	}
	return out + tree.Diff("headers", want.Headers, got.Headers) + tree.Diff("", want.Body, got.Body)
}

// answer is what arrived. A fault of the connection ends it and is part of it.
type answer struct {
	status int
	header http.Header
	raw    []byte
	err    error
}

// pending is an asynchronous step whose answer is awaited.
type pending struct {
	step *Step
	done <-chan answer
}

// play is the state of one file.
type play struct {
	engine   *Engine
	file     *File
	vars     map[string]any
	root     *regexp.Regexp // paths below the engine's data root; nil if it tells none
	registry string
	async    map[string]pending
}

// Play plays a file against an engine and returns the outcome of each step. A step
// whose answer does not arrive whole is one that differs; the error is that the
// engine cannot be reached or the file is wrong.
func Play(ctx context.Context, e *Engine, f *File) ([]Result, error) {
	p := &play{engine: e, file: f, vars: map[string]any{}, async: map[string]pending{}}
	root, err := e.root(ctx)
	if err != nil {
		return nil, fmt.Errorf("recordeddocker: %w", err)
	}
	if root != "" {
		p.root = regexp.MustCompile(regexp.QuoteMeta(root) + `[^\s":]*`)
	}
	if f.Registry {
		listen := e.Listen
		if listen == nil {
			listen = net.Listen
		}
		l, err := listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s := &http.Server{Handler: newRegistry()}
		go s.Serve(l)
		defer s.Close()
		p.registry = l.Addr().String()
		p.vars["registry"] = p.registry
	}
	out := make([]Result, 0, len(f.Steps))
	for i := range f.Steps {
		s := &f.Steps[i]
		r, err := p.step(ctx, s)
		if err != nil {
			return out, fmt.Errorf("recordeddocker: %s, step %d (%s %s): %w", f.Name, i, s.Method, s.Path, err)
		}
		r.Index = i
		out = append(out, r)
	}
	return out, nil
}

func (p *play) step(ctx context.Context, s *Step) (Result, error) {
	if s.Await != "" {
		return p.compare(s, p.await(s.Await)), nil
	}
	if s.Method == "SLEEP" {
		d, err := time.ParseDuration(s.Path)
		if err != nil {
			return Result{}, err
		}
		return Result{Step: s}, pause(ctx, d)
	}
	if s.Until != nil {
		return Result{Step: s}, p.until(ctx, s)
	}
	if s.Async != "" {
		return Result{Step: s}, p.begin(ctx, s)
	}
	a, err := p.send(ctx, s)
	if err != nil {
		return Result{}, err
	}
	return p.compare(s, a), nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// compare captures from an answer and judges it.
func (p *play) compare(s *Step, a answer) Result {
	p.capture(s, a)
	r := Result{Step: s, Compared: !s.Ignore}
	if s.Ignore {
		return r
	}
	n := &normaliser{play: p, step: s}
	r.Want = Answer{Status: s.Status, Headers: s.ResponseHeaders, Body: s.Response}
	if r.Want.Headers == nil {
		r.Want.Headers = map[string]any{}
	}
	r.Got = Answer{Status: a.status, Headers: n.headers(a.header), Body: n.body(a)}
	if a.err != nil {
		r.Got.Body = map[string]any{"cut off": a.err.Error(), "before it": r.Got.Body}
	}
	if r.Want.Body == nil && r.Got.Body == "" {
		r.Want.Body = ""
	}
	r.Equal = tree.Canonical(r.Got) == tree.Canonical(r.Want)
	return r
}

// until repeats a step until the answer is as wanted.
func (p *play) until(ctx context.Context, s *Step) error {
	end := time.Now().Add(untilWait)
	for {
		a, err := p.send(ctx, s)
		if err != nil {
			return err
		}
		p.capture(s, a)
		ok := a.status == s.Until.Status
		whole := a.whole()
		for at, want := range s.Until.Match {
			have, found := tree.Find(whole, at)
			ok = ok && found && tree.Text(have) == tree.Text(want)
		}
		if ok || time.Now().After(end) {
			return nil
		}
		if err := pause(ctx, untilPause); err != nil {
			return err
		}
	}
}

// begin sends an asynchronous step and returns when the headers of its answer are
// there, or it has waited for them long enough.
func (p *play) begin(ctx context.Context, s *Step) error {
	done, headers := make(chan answer, 1), make(chan struct{})
	p.async[s.Async] = pending{s, done}
	req, err := p.request(ctx, s)
	if err != nil {
		return err
	}
	stdin := p.stdin(s)
	go func() { done <- p.exchange(req, stdin, headers) }()
	select {
	case <-headers:
	case <-time.After(asyncWait):
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (p *play) await(name string) answer {
	w, ok := p.async[name]
	if !ok {
		return answer{err: fmt.Errorf("no step is called %s", name)}
	}
	select {
	case a := <-w.done:
		p.capture(w.step, a)
		return a
	case <-time.After(giveUp):
		return answer{err: context.DeadlineExceeded}
	}
}

// send sends a step and reads its answer to the end.
func (p *play) send(ctx context.Context, s *Step) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	req, err := p.request(ctx, s)
	if err != nil {
		return answer{}, err
	}
	return p.exchange(req, p.stdin(s), nil), nil
}

// exchange does a request; headers is closed when the headers of the answer, or
// what took their place, are there.
func (p *play) exchange(req *http.Request, stdin *string, headers chan<- struct{}) answer {
	res, err := p.engine.do(req, stdin)
	if headers != nil {
		close(headers)
	}
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, header: res.Header, raw: raw, err: err}
}

func (p *play) stdin(s *Step) *string {
	if s.Stdin == nil {
		return nil
	}
	text := tree.Substitute(*s.Stdin, p.vars)
	return &text
}

func (p *play) request(ctx context.Context, s *Step) (*http.Request, error) {
	p.vars["now"] = now()
	body, err := p.body(s)
	if err != nil {
		return nil, err
	}
	req, err := p.engine.request(ctx, s.Method, tree.Substitute(s.Path, p.vars), body)
	if err != nil {
		return nil, err
	}
	for name, v := range s.Headers {
		req.Header.Set(name, tree.Substitute(v, p.vars))
	}
	return req, nil
}

func now() string {
	return fmt.Sprintf("%.6f", float64(time.Now().UnixMicro())/1e6)
}

// body is what a step sends, nil for nothing.
func (p *play) body(s *Step) (io.Reader, error) {
	var raw []byte
	var err error
	switch {
	case s.RawBody != nil:
		raw = []byte(tree.Substitute(*s.RawBody, p.vars))
	case s.HasTar:
		raw, err = archive(s.Tar, p.vars)
	case s.Fixture == "busybox":
		raw, err = fixture()
	case s.Fixture == "garbage":
		raw = garbage
	case s.Fixture != "":
		err = fmt.Errorf("there is no fixture %s", s.Fixture)
	case s.HasBody:
		raw, err = json.Marshal(tree.SubstituteAll(s.Body, p.vars))
	default:
		return nil, nil
	}
	return bytes.NewReader(raw), err
}

func (p *play) capture(s *Step, a answer) {
	if len(s.Capture) == 0 {
		return
	}
	whole := a.whole()
	for name, at := range s.Capture {
		if at == "@now" {
			p.vars[name] = now()
		} else if x, ok := tree.Find(whole, at); ok {
			p.vars[name] = x
		} else {
			delete(p.vars, name)
		}
	}
}

// whole is an answer's body as paths see it, not normalised: a JSON document, a
// list of them where there are several, or a text.
func (a answer) whole() any {
	docs, ok := documents(a.raw)
	switch {
	case !ok:
		return string(a.raw)
	case len(docs) == 1:
		return docs[0]
	}
	return docs
}
