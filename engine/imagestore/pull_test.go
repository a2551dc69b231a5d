package imagestore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
)

// registry is a registry of one image, with faults.
type registry struct {
	blobs    map[string][]byte // by digest
	types    map[string]string
	tag      digest.Digest
	requests atomic.Int32
	// fault answers a request itself and returns true.
	fault func(w http.ResponseWriter, r *http.Request) bool
}

func newRegistry(platform imagespec.Platform) *registry {
	g := &registry{blobs: map[string][]byte{}, types: map[string]string{}}
	blob := func(mt string, b []byte) imagespec.Descriptor {
		d := digest.FromBytes(b)
		g.blobs[d.String()], g.types[d.String()] = b, mt
		return imagespec.Descriptor{MediaType: mt, Digest: d, Size: int64(len(b))}
	}
	js := func(v any) []byte { b, _ := json.Marshal(v); return b }
	m := blob(imagespec.MediaTypeImageManifest, js(imagespec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest,
		Config: blob(imagespec.MediaTypeImageConfig, enginetest.ConfigOf(imagespec.ImageConfig{Cmd: []string{"/a"}}, layer1, layer2)),
		Layers: []imagespec.Descriptor{blob(imagespec.MediaTypeImageLayer, layer1), blob(imagespec.MediaTypeImageLayer, layer2)}}))
	m.Platform = &platform
	other := m
	other.Platform = &imagespec.Platform{OS: "plan9", Architecture: "mips"}
	g.tag = blob(imagespec.MediaTypeImageIndex, js(imagespec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageIndex, Manifests: []imagespec.Descriptor{other, m}})).Digest
	return g
}

func (g *registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.requests.Add(1)
	if g.fault != nil && g.fault(w, r) {
		return
	}
	i := strings.LastIndexByte(r.URL.Path, '/')
	d := r.URL.Path[i+1:]
	if d == "v1" {
		d = g.tag.String()
	}
	b, ok := g.blobs[d]
	if !ok {
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", g.types[d])
	w.Header().Set("Docker-Content-Digest", d)
	w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	if r.Method != http.MethodHead {
		w.Write(b)
	}
}

func isLayer(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, digest.FromBytes(layer2).String()) && r.Method == http.MethodGet
}

func TestPullFaults(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool { http.Error(w, "no", code); return true }
	}
	for name, c := range map[string]struct {
		ref    string
		fault  func(http.ResponseWriter, *http.Request) bool
		reason engine.PullReason
	}{
		"unknown tag":  {"app:v2", nil, engine.PullNotFound},
		"401":          {"app:v1", status(401), engine.PullUnauthorized},
		"403":          {"app:v1", status(403), engine.PullUnauthorized},
		"404":          {"app:v1", status(404), engine.PullNotFound},
		"500":          {"app:v1", status(500), engine.PullUnreachable},
		"invalid name": {"App//:", nil, engine.PullInvalidName},
		"cut off": {"app:v1", func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(layer2)))
			w.Write(layer2[:100])
			return true
		}, engine.PullUnreachable},
		"wrong digest": {"app:v1", func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) {
				return false
			}
			w.Write(bytes.Replace(layer2, []byte("two"), []byte("2wo"), 1))
			return true
		}, engine.PullCorrupt},
		"manifest garbage": {"app:v1", func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			b := []byte(`{"mediaType":`)
			w.Header().Set("Content-Type", imagespec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digest.FromBytes(b).String())
			w.Write(b)
			return true
		}, engine.PullCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRegistry(imagespec.Platform{OS: "linux", Architecture: "amd64"})
			g.fault = c.fault
			srv := httptest.NewServer(g)
			defer srv.Close()
			s := openStore(t, t.TempDir(), used{})
			_, err := s.Pull(t.Context(), strings.TrimPrefix(srv.URL, "http://")+"/"+c.ref, engine.PullOptions{})
			var pe *engine.PullError
			if !errors.As(err, &pe) || pe.Reason != c.reason {
				t.Errorf("%v, want %s", err, c.reason)
			}
			t.Log(err)
			if n := files(t, s); n != 0 {
				t.Errorf("%d files stay", n)
			}
		})
	}
	t.Run("no server", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		srv.Close()
		_, err := openStore(t, t.TempDir(), used{}).Pull(t.Context(), strings.TrimPrefix(srv.URL, "http://")+"/app", engine.PullOptions{})
		var pe *engine.PullError
		if !errors.As(err, &pe) || pe.Reason != engine.PullUnreachable {
			t.Error(err)
		}
	})
	t.Run("platform", func(t *testing.T) {
		srv := httptest.NewServer(newRegistry(imagespec.Platform{OS: "windows", Architecture: "amd64"}))
		defer srv.Close()
		_, err := openStore(t, t.TempDir(), used{}).Pull(t.Context(), strings.TrimPrefix(srv.URL, "http://")+"/app:v1", engine.PullOptions{})
		var pe *engine.PullError
		if !errors.As(err, &pe) || pe.Reason != engine.PullPlatform {
			t.Error(err)
		}
	})
}

func TestPullConcurrently(t *testing.T) {
	g := newRegistry(imagespec.Platform{OS: "linux", Architecture: "amd64"})
	hold, arrived := make(chan struct{}), make(chan struct{})
	var once sync.Once
	g.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if isLayer(r) {
			once.Do(func() { close(arrived) })
			<-hold
		}
		return false
	}
	srv := httptest.NewServer(g)
	defer srv.Close()
	s := openStore(t, t.TempDir(), used{})
	ref := strings.TrimPrefix(srv.URL, "http://") + "/app:v1"
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if img, err := s.Pull(t.Context(), ref, engine.PullOptions{Progress: func(engine.PullProgress) {}}); err != nil || len(img.Names) != 1 {
				t.Errorf("%+v %v", img, err)
			}
		})
	}
	<-arrived
	// One that gives up does not take the work from the others.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := s.Pull(ctx, ref, engine.PullOptions{})
		gone <- err
	}()
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(hold)
	wg.Wait()
	if n := g.requests.Load(); n > 7 {
		t.Errorf("%d requests for one pull", n)
	}
	if got := names(t, s); got != ref {
		t.Error(got)
	}
}

func TestPullCredentials(t *testing.T) {
	g := newRegistry(imagespec.Platform{OS: "linux", Architecture: "amd64"})
	g.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "user" && p == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		http.Error(w, "no", http.StatusUnauthorized)
		return true
	}
	srv := httptest.NewTLSServer(g)
	defer srv.Close()
	s := openStore(t, t.TempDir(), used{})
	ref := strings.TrimPrefix(srv.URL, "https://") + "/app:v1"
	pull := func(secret string, insecure bool) error {
		_, err := s.Pull(t.Context(), ref, engine.PullOptions{Insecure: insecure, Credentials: func(string) (string, string, error) { return "user", secret, nil }})
		return err
	}
	var pe *engine.PullError
	if err := pull("wrong", true); !errors.As(err, &pe) || pe.Reason != engine.PullUnauthorized {
		t.Error(err)
	}
	if err := pull("secret", true); err != nil {
		t.Error(err)
	}
}

// TestOrigin: the store knows, also after a restart, which names were loaded and
// which pulled; what came last counts.
func TestOrigin(t *testing.T) {
	srv := httptest.NewServer(newRegistry(imagespec.Platform{OS: "linux", Architecture: "amd64"}))
	defer srv.Close()
	ref := strings.TrimPrefix(srv.URL, "http://") + "/app:v1"
	root := t.TempDir()
	s := openStore(t, root, used{})
	check := func(ref string, want bool) {
		t.Helper()
		img, err := s.Get(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := img.IsLoaded(ref); got != want {
			t.Errorf("%s: loaded is %v", ref, got)
		}
	}
	pull := func() {
		t.Helper()
		if _, err := s.Pull(t.Context(), ref, engine.PullOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pull()
	check(ref, false)
	mustLoad(t, s, archiveOf(ref, "other:v1"), "")
	check(ref, true)
	pull()
	check(ref, false)
	check("other:v1", true)
	s.Close()
	s = openStore(t, root, used{})
	check(ref, false)
	check("docker.io/library/other:v1", true)
	// Taken from the registry and given the same name again: the label alone changes.
	pull()
	check(ref, false)
}
