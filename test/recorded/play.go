package recorded

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"

	"skiff.dev/skiff/test/recorded/tree"
)

// Player sends steps to a server.
type Player struct {
	Client *http.Client
	URL    string // "https://host:port"
	// Auth adds credentials to a request that has none of its own; may be nil.
	Auth func(r *http.Request)
	// Wait bounds the repetition of steps with until; 0 means 15 seconds.
	Wait time.Duration
}

// Result is the outcome of one step.
type Result struct {
	Index    int
	Step     *Step
	Compared bool
	Equal    bool
	Got      Answer
	Want     Answer
}

// Answer is an answer as it is compared.
type Answer struct {
	Status  int
	Headers map[string]any
	Body    any
}

// String is an answer for people.
func (a Answer) String() string {
	b, err := json.MarshalIndent(map[string]any{"status": a.Status, "headers": a.Headers, "body": a.Body}, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Play plays a file and returns the outcome of each step.
func (p *Player) Play(ctx context.Context, f *File) ([]Result, error) {
	vars := map[string]any{}
	out := make([]Result, 0, len(f.Steps))
	for i := range f.Steps {
		s := &f.Steps[i]
		r, err := p.step(ctx, s, vars)
		if err != nil {
			return out, fmt.Errorf("%s, step %d (%s %s): %w", f.Name, i, s.Method, s.Path, err)
		}
		r.Index = i
		out = append(out, r)
	}
	return out, nil
}

func (p *Player) step(ctx context.Context, s *Step, vars map[string]any) (Result, error) {
	if s.Until != nil {
		return p.until(ctx, s, vars)
	}
	res, raw, path, err := p.send(ctx, s, vars)
	if err != nil {
		return Result{}, err
	}
	p.capture(s, raw, path, vars)
	r := Result{Step: s}
	if s.Ignore {
		return r, nil
	}
	n := newNormaliser(s, path)
	r.Compared = true
	r.Got = Answer{Status: res.StatusCode, Headers: n.headers(res.Header), Body: n.body(raw)}
	r.Want = Answer{Status: s.Status, Headers: s.ResponseHeaders, Body: s.Response}
	if r.Want.Headers == nil {
		r.Want.Headers = map[string]any{}
	}
	if r.Want.Body == nil {
		r.Want.Body = ""
	}
	r.Equal = tree.Canonical(r.Got) == tree.Canonical(r.Want)
	return r, nil
}

// until repeats a step until the answer is as wanted, 15 seconds at most.
func (p *Player) until(ctx context.Context, s *Step, vars map[string]any) (Result, error) {
	wait := p.Wait
	if wait == 0 {
		wait = 15 * time.Second
	}
	end := time.Now().Add(wait)
	for {
		res, raw, path, err := p.send(ctx, s, vars)
		if err != nil {
			return Result{}, err
		}
		p.capture(s, raw, path, vars)
		ok := res.StatusCode == s.Until.Status
		if len(s.Until.Match) > 0 {
			v := newNormaliser(s, path).parse(string(raw))
			for at, want := range s.Until.Match {
				have, found := tree.Find(v, at)
				ok = ok && found && tree.Text(have) == tree.Text(want)
			}
		}
		if ok || time.Now().After(end) {
			return Result{Step: s}, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return Result{}, ctx.Err()
		}
	}
}

func (p *Player) send(ctx context.Context, s *Step, vars map[string]any) (*http.Response, []byte, string, error) {
	path := tree.Substitute(s.Path, vars)
	var body io.Reader
	switch {
	case s.RawBody != nil:
		body = strings.NewReader(tree.Substitute(*s.RawBody, vars))
	case s.HasBody:
		b, err := json.Marshal(tree.SubstituteAll(s.Body, vars))
		if err != nil {
			return nil, nil, "", err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, s.Method, p.URL+path, body)
	if err != nil {
		return nil, nil, "", err
	}
	for name, v := range s.Headers {
		switch v := v.(type) {
		case string:
			req.Header.Set(name, tree.Substitute(v, vars))
		case []any:
			for _, x := range v {
				req.Header.Add(name, tree.Substitute(tree.Text(x), vars))
			}
		}
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", "")
	}
	if p.Auth != nil && req.Header.Get("Authorization") == "" {
		p.Auth(req)
	}
	res, err := p.Client.Do(req)
	if err != nil {
		return nil, nil, "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return res, raw, path, err
}

func (p *Player) capture(s *Step, raw []byte, path string, vars map[string]any) {
	if len(s.Capture) == 0 {
		return
	}
	v := newNormaliser(s, path).parse(string(raw))
	for name, at := range s.Capture {
		if x, ok := tree.Find(v, at); ok {
			vars[name] = x
		} else {
			delete(vars, name)
		}
	}
}

// headers are those that are compared.
func (n *normaliser) headers(h http.Header) map[string]any {
	out := map[string]any{}
	for _, name := range []string{"Content-Type", "Warning", "Retry-After", "Www-Authenticate", "Location"} {
		vs := append([]string(nil), h.Values(name)...)
		for i := range vs {
			vs[i] = n.text(vs[i])
		}
		sort.Strings(vs)
		switch len(vs) {
		case 0:
		case 1:
			out[name] = vs[0]
		default:
			list := make([]any, len(vs))
			for i := range vs {
				list[i] = vs[i]
			}
			out[name] = list
		}
	}
	return out
}
