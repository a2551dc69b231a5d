package openapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Remote is a group version that another server answers and describes.
type Remote struct {
	Group, Version string
	// Hash is that of its document of version 3; "" where it has none.
	Hash string
	// Fetch asks that server for a path of its own.
	Fetch func(ctx context.Context, path, accept string) (*http.Response, error)
}

func (r *Remote) path() string { return "apis/" + r.Group + "/" + r.Version }

// SetRemote replaces the group versions of other servers.
func (h *Handler) SetRemote(list []Remote) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remote, h.current = list, nil
}

// remoteOf finds the server that has the document of a path.
func (s *state) remoteOf(path string) *Remote {
	for i := range s.remotes {
		if r := &s.remotes[i]; r.Hash != "" && r.path() == path {
			return r
		}
	}
	return nil
}

// Bounds of what another server may answer.
const (
	remoteTime  = 10 * time.Second
	remoteBytes = 32 << 20
)

// pass answers with another server's document.
func (r *Remote) pass(w http.ResponseWriter, req *http.Request) {
	ctx, cancel := context.WithTimeout(req.Context(), remoteTime)
	defer cancel()
	path := "/openapi/v3/" + r.path()
	if req.URL.RawQuery != "" {
		path += "?" + req.URL.RawQuery
	}
	accept := req.Header.Get("Accept")
	if accept == "" {
		accept = mediaJSON
	}
	resp, err := r.Fetch(ctx, path, accept)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer resp.Body.Close()
	for _, name := range []string{"Content-Type", "Etag", "Location", "Cache-Control", "Expires", "Last-Modified", "Vary"} {
		if v := resp.Header.Values(name); len(v) > 0 {
			w.Header()[name] = v
		}
	}
	w.WriteHeader(resp.StatusCode)
	if n, err := io.Copy(w, io.LimitReader(resp.Body, remoteBytes)); err != nil || n == remoteBytes {
		panic(http.ErrAbortHandler) // half an answer is out
	}
}

// addRemotes merges what other servers' documents of version 2 say about their group
// versions into doc. A server that does not answer is left out.
func (s *state) addRemotes(doc []byte) ([]byte, error) {
	for i := range s.remotes {
		r := &s.remotes[i]
		other, err := r.v2()
		if err != nil {
			continue
		}
		merged, err := mergeV2(doc, other, r.path())
		if err != nil {
			continue // it is no document: nothing of it is told
		}
		doc = merged
	}
	return doc, nil
}

func (r *Remote) v2() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), remoteTime)
	defer cancel()
	resp, err := r.Fetch(ctx, "/openapi/v2", mediaJSON)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, remoteBytes))
	if err == nil && len(b) == remoteBytes {
		err = fmt.Errorf("the document has more than %d bytes", remoteBytes)
	}
	return b, err
}

// mergeV2 adds to doc the paths of other below /apis/GROUP/VERSION and the
// definitions that these lead to. A definition that both have, and differently, is
// renamed (kube-openapi, pkg/aggregator).
func mergeV2(doc, other []byte, prefix string) ([]byte, error) {
	var to, from struct {
		Paths       map[string]json.RawMessage `json:"paths"`
		Definitions map[string]json.RawMessage `json:"definitions"`
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(doc, &to); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(doc, &whole); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(other, &from); err != nil {
		return nil, err
	}
	var todo []string
	paths := map[string]string{}
	for p, text := range from.Paths {
		if at := "/" + prefix; p == at || strings.HasPrefix(p, at+"/") {
			paths[p] = string(text)
			references(string(text), refV2, func(n string) { todo = append(todo, n) })
		}
	}
	names := map[string]string{} // of definitions there and here
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		text, ok := from.Definitions[n]
		if !ok || names[n] != "" {
			continue
		}
		names[n] = n
		if have, both := to.Definitions[n]; both && !sameJSON(have, text) {
			for i := 2; both; i++ {
				names[n] = fmt.Sprintf("%s_v%d", n, i)
				_, both = to.Definitions[names[n]]
			}
		}
		references(string(text), refV2, func(n string) { todo = append(todo, n) })
	}
	rename := func(text string) json.RawMessage {
		for from, to := range names {
			if from != to {
				text = strings.ReplaceAll(text, `"`+refV2+from+`"`, `"`+refV2+to+`"`)
			}
		}
		return json.RawMessage(text)
	}
	for p, text := range paths {
		to.Paths[p] = rename(text)
	}
	for there, here := range names {
		if _, ok := to.Definitions[here]; !ok {
			to.Definitions[here] = rename(string(from.Definitions[there]))
		}
	}
	var err error
	if whole["paths"], err = json.Marshal(to.Paths); err != nil {
		return nil, err
	}
	if whole["definitions"], err = json.Marshal(to.Definitions); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, err := json.Marshal(x)
	if err != nil {
		return false
	}
	q, err := json.Marshal(y)
	return err == nil && string(p) == string(q)
}
