package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

// Options say what is described.
type Options struct {
	Table *kinds.Table
	// HideOld leaves out the versions that Kubernetes no longer serves.
	HideOld bool
	// Version is the API's in the documents: v1.36.3.
	Version string
}

// Handler serves /openapi/v2, /openapi/v3 and the documents below it. It is safe
// for concurrent use.
type Handler struct {
	options Options
	mu      sync.Mutex
	extra   []Extra
	remote  []Remote
	current *state // nil: to be made
}

// New returns a handler; nothing is read or made before the first request.
func New(o Options) *Handler {
	return &Handler{options: o}
}

// SetExtra replaces the kinds that were added at run time.
func (h *Handler) SetExtra(x []Extra) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.extra, h.current = x, nil
}

func (h *Handler) state() *state {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current == nil {
		h.current = newState(h.options.Table, h.extra, h.options.HideOld, h.options.Version)
		h.current.remotes = h.remote
	}
	return h.current
}

const (
	mediaJSON    = "application/json"
	mediaProtoV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	mediaProtoV3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// negotiate picks a document's media type, "" where the client takes none of ours.
// Clients name the protobuf form with "@v1.0" or ".v1.0".
func negotiate(accept []string, protobuf string) string {
	all := strings.TrimSpace(strings.Join(accept, ","))
	if all == "" {
		return mediaJSON
	}
	for _, clause := range strings.Split(all, ",") {
		media := strings.TrimSpace(clause)
		if m, _, err := mime.ParseMediaType(clause); err == nil {
			media = m
		} else if before, _, ok := strings.Cut(media, ";"); ok {
			media = before // an @ is no letter of a media type
		}
		switch strings.Replace(media, "@v1.0", ".v1.0", 1) {
		case mediaJSON, "application/*", "*/*":
			return mediaJSON
		case protobuf:
			return protobuf
		}
	}
	return ""
}

// ServeHTTP answers the paths under /openapi.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.state()
	switch path := strings.Trim(r.URL.Path, "/"); {
	case path == "openapi/v2":
		s.serve(w, r, "", mediaProtoV2)
	case path == "openapi/v3":
		s.index(w)
	case strings.HasPrefix(path, "openapi/v3/"):
		s.serve(w, r, strings.TrimPrefix(path, "openapi/v3/"), mediaProtoV3)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// Document is the document of version 3 of a group version that this server has, nil
// if it has none.
func (h *Handler) Document(gv schema.GroupVersion) ([]byte, error) {
	path := "api/" + gv.Version
	if gv.Group != "" {
		path = "apis/" + gv.String()
	}
	doc, _, err := h.state().v3(path)
	return doc, err
}

func (s *state) index(w http.ResponseWriter) {
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for _, p := range s.paths() {
		paths[p] = entry{"/openapi/v3/" + p + "?hash=" + s.hash(p)}
	}
	for i := range s.remotes {
		if r := &s.remotes[i]; r.Hash != "" {
			paths[r.path()] = entry{"/openapi/v3/" + r.path() + "?hash=" + url.QueryEscape(r.Hash)}
		}
	}
	b, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8") // as Kubernetes has it
	w.Write(b)
}

// document is made and compressed once.
type document struct {
	once sync.Once
	gz   []byte
	etag string
	err  error
}

// serve answers with the document of path, "" for that of version 2.
func (s *state) serve(w http.ResponseWriter, r *http.Request, path, protobuf string) {
	if remote := s.remoteOf(path); remote != nil {
		remote.pass(w, r)
		return
	}
	if path != "" && !contains(s.paths(), path) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	media := negotiate(r.Header.Values("Accept"), protobuf)
	if media == "" {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	h := w.Header()
	if asked := r.URL.Query().Get("hash"); asked != "" && path != "" {
		if hash := s.hash(path); asked != hash {
			http.Redirect(w, r, "/openapi/v3/"+path+"?hash="+hash, http.StatusMovedPermanently)
			return
		}
		h.Set("Cache-Control", "public, immutable")
		h.Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	v, _ := s.docs.LoadOrStore(docKey{path, media}, &document{})
	d := v.(*document)
	d.once.Do(func() { d.make(s, path, media) })
	if d.err != nil {
		http.Error(w, d.err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", media)
	h.Set("ETag", d.etag)
	h.Add("Vary", "Accept")
	if r.Header.Get("If-None-Match") == d.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(d.gz)))
		w.Write(d.gz)
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(d.gz))
	if err == nil {
		_, err = io.Copy(w, z)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the client is gone, or half an answer is out
	}
}

func contains(sorted []string, s string) bool {
	for _, x := range sorted {
		if x == s {
			return true
		}
	}
	return false
}

func (d *document) make(s *state, path, media string) {
	body, err := s.body(path)
	if err == nil && media != mediaJSON {
		body, err = encodeProto(body, path == "")
	}
	if err != nil {
		d.err = fmt.Errorf("openapi: %s: %w", path, err)
		return
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, d.err = z.Write(body); d.err == nil {
		d.err = z.Close()
	}
	d.gz = bytes.Clone(b.Bytes())
	d.etag = strconv.Quote(s.hash(path))
}

func (s *state) body(path string) ([]byte, error) {
	if path == "" {
		doc, err := s.v2()
		if err != nil || len(s.remotes) == 0 {
			return doc, err
		}
		return s.addRemotes(doc)
	}
	b, _, err := s.v3(path)
	return b, err
}

// encodeProto writes a document in gnostic's protobuf form.
func encodeProto(doc []byte, two bool) ([]byte, error) {
	var m proto.Message
	var err error
	if two {
		m, err = openapi_v2.ParseDocument(doc)
	} else {
		m, err = openapi_v3.ParseDocument(doc)
	}
	if err != nil {
		return nil, err
	}
	return proto.Marshal(m)
}
