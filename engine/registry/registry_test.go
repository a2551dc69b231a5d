package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine/enginetest"
	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/engine/registry"
	"skiff.dev/skiff/telemetry"
)

// open opens a registry over a store in dir.
func open(t *testing.T, dir string) (*registry.Server, *imagestore.Store) {
	t.Helper()
	store, err := imagestore.Open(t.Context(), dir, telemetry.Discard(), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Skip("needs a filesystem for overlayfs, and root: ", err)
	}
	s, err := registry.New(t.Context(), registry.Options{Shelf: store.Shelf(), Idle: 200 * time.Millisecond, Unused: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		store.Close()
	})
	return s, store
}

type client struct {
	*testing.T
	h http.Handler
}

// do makes a request and checks the status.
func (c *client) do(method, path string, status int, body []byte, headers ...string) *httptest.ResponseRecorder {
	c.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, path, bytes.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	if w.Code != status {
		c.Errorf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	return w
}

func (c *client) blob(repo string, b []byte) digest.Digest {
	c.Helper()
	d := digest.FromBytes(b)
	c.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), 201, b)
	return d
}

// image pushes an image of one layer and returns its manifest.
func (c *client) image(repo, tag, layer string) []byte {
	c.Helper()
	l := enginetest.Layer(enginetest.File{Name: "f", Body: layer})
	cfg := enginetest.ConfigOf(imagespec.ImageConfig{Cmd: []string{"/f"}}, l)
	m := imagespec.Manifest{MediaType: imagespec.MediaTypeImageManifest,
		Config: imagespec.Descriptor{MediaType: imagespec.MediaTypeImageConfig, Digest: c.blob(repo, cfg), Size: int64(len(cfg))},
		Layers: []imagespec.Descriptor{{MediaType: imagespec.MediaTypeImageLayer, Digest: c.blob(repo, l), Size: int64(len(l))}}}
	m.SchemaVersion = 2
	b, err := json.Marshal(m)
	if err != nil {
		c.Fatal(err)
	}
	c.do("PUT", "/v2/"+repo+"/manifests/"+tag, 201, b, "Content-Type", imagespec.MediaTypeImageManifest)
	return b
}

// files counts what is in the content directory.
func files(t *testing.T, dir, below string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "content", below), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLifeOfARepository(t *testing.T) {
	dir := t.TempDir()
	s, store := open(t, dir)
	c := &client{t, s}
	c.do("GET", "/v2/", 200, nil)
	m := c.image("team/app", "v1", "one")
	d := digest.FromBytes(m)
	if got := c.do("GET", "/v2/team/app/manifests/v1", 200, nil); got.Body.String() != string(m) || got.Header().Get("Docker-Content-Digest") != d.String() {
		t.Errorf("%v %s", got.Header(), got.Body)
	}
	c.image("team/app", "v2", "two")
	if got := c.do("GET", "/v2/team/app/tags/list?n=1", 200, nil); got.Body.String() != `{"name":"team/app","tags":["v1"]}` || got.Header().Get("Link") != `</v2/team/app/tags/list?last=v1&n=1>; rel="next"` {
		t.Errorf("%s %s", got.Body, got.Header().Get("Link"))
	}
	// The next process has it too.
	s.Close()
	store.Close()
	s, _ = open(t, dir)
	c.h = s
	c.do("HEAD", "/v2/team/app/manifests/"+d.String(), 200, nil)
	if got := c.do("GET", "/v2/_catalog", 200, nil).Body.String(); got != `{"repositories":["team/app"]}` {
		t.Error(got)
	}
	var doc imagespec.Manifest
	if err := json.Unmarshal(m, &doc); err != nil {
		t.Fatal(err)
	}
	layer := doc.Layers[0].Digest
	if got := c.do("GET", "/v2/team/app/blobs/"+layer.String(), 206, nil, "Range", "bytes=0-0"); got.Body.Len() != 1 {
		t.Errorf("%d bytes", got.Body.Len())
	}
	// Another repository mounts the layer, and keeps it when the first lets it go.
	c.do("POST", "/v2/other/blobs/uploads/?from=team/app&mount="+layer.String(), 201, nil)
	c.do("DELETE", "/v2/team/app/blobs/"+layer.String(), 202, nil)
	c.do("GET", "/v2/team/app/blobs/"+layer.String(), 404, nil)
	c.do("GET", "/v2/other/blobs/"+layer.String(), 200, nil)
	c.do("DELETE", "/v2/other/blobs/"+layer.String(), 202, nil)
	c.do("DELETE", "/v2/team/app/manifests/v2", 202, nil)
	c.do("GET", "/v2/team/app/manifests/v2", 404, nil)
	c.do("DELETE", "/v2/team/app/manifests/"+d.String(), 202, nil)
	c.do("GET", "/v2/team/app/manifests/v1", 404, nil)
	// What is left is the second image, which lost its tag alone, and the first's config.
	if n := files(t, dir, "blobs"); n != 4 {
		t.Errorf("%d blobs stay", n)
	}
}

func TestUploads(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	c := &client{t, s}
	b := bytes.Repeat([]byte("0123456789"), 100)
	d := digest.FromBytes(b)
	at := c.do("POST", "/v2/r/blobs/uploads/", 202, nil).Header().Get("Location")
	c.do("PATCH", at, 202, b[:300], "Content-Range", "0-299")
	if got := c.do("PATCH", at, 416, b[:300], "Content-Range", "0-299"); got.Header().Get("Range") != "0-299" {
		t.Error(got.Header())
	}
	if got := c.do("GET", at, 204, nil); got.Header().Get("Range") != "0-299" {
		t.Error(got.Header())
	}
	c.do("PATCH", strings.Replace(at, "/v2/r/", "/v2/s/", 1), 404, nil)
	c.do("PUT", at+"?digest="+d.String(), 201, b[300:])
	c.do("PUT", at+"?digest="+d.String(), 404, b[300:])
	if got := c.do("GET", "/v2/r/blobs/"+d.String(), 200, nil); !bytes.Equal(got.Body.Bytes(), b) {
		t.Error("other content")
	}
	// Content that is not what it says, uploads that are given up or forgotten: nothing
	// of them stays.
	lie := digest.FromString("other")
	c.do("POST", "/v2/r/blobs/uploads/?digest="+lie.String(), 400, b)
	c.do("GET", "/v2/r/blobs/"+lie.String(), 404, nil)
	at = c.do("POST", "/v2/r/blobs/uploads/", 202, nil).Header().Get("Location")
	c.do("PATCH", at, 202, b)
	c.do("DELETE", at, 204, nil)
	c.do("GET", at, 404, nil)
	at = c.do("POST", "/v2/r/blobs/uploads/", 202, nil).Header().Get("Location")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if files(t, dir, "ingest") == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an upload that nobody goes on with stays")
		}
	}
	c.do("PATCH", at, 404, b)
	// A body that is cut off can be gone on with.
	at = c.do("POST", "/v2/r/blobs/uploads/", 202, nil).Header().Get("Location")
	r := httptest.NewRequestWithContext(t.Context(), "PATCH", at, io.MultiReader(bytes.NewReader(b[:10]), broken{}))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code < 500 {
		t.Errorf("%d", w.Code)
	}
	if got := c.do("GET", at, 204, nil); got.Header().Get("Range") != "0-9" {
		t.Error(got.Header())
	}
	c.do("PUT", at+"?digest="+d.String(), 201, b[10:], "Content-Range", "10-999")
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestWrongRequests(t *testing.T) {
	s, _ := open(t, t.TempDir())
	c := &client{t, s}
	c.image("r", "v1", "one")
	d := digest.FromString("none").String()
	for _, x := range []struct {
		method, path string
		status       int
		body, code   string
	}{
		{"GET", "/v1/", 404, "", "UNSUPPORTED"},
		{"GET", "/v2/r/nothing", 404, "", "UNSUPPORTED"},
		{"GET", "/v2/UPPER/tags/list", 400, "", "NAME_INVALID"},
		{"GET", "/v2/../r/tags/list", 400, "", "NAME_INVALID"},
		{"GET", "/v2/none/tags/list", 404, "", "NAME_UNKNOWN"},
		{"GET", "/v2/r/tags/list?n=x", 400, "", "PAGINATION_NUMBER_INVALID"},
		{"POST", "/v2/r/tags/list", 405, "", "UNSUPPORTED"},
		{"GET", "/v2/r/blobs/sha256:abc", 400, "", "DIGEST_INVALID"},
		{"GET", "/v2/r/blobs/" + d, 404, "", "BLOB_UNKNOWN"},
		{"GET", "/v2/r/manifests/none", 404, "", "MANIFEST_UNKNOWN"},
		{"PUT", "/v2/r/manifests/v1", 400, "{", "MANIFEST_INVALID"},
		{"PUT", "/v2/r/manifests/-v1", 400, "{}", "TAG_INVALID"},
		{"PUT", "/v2/r/manifests/" + d, 400, "{}", "DIGEST_INVALID"},
		{"PUT", "/v2/r/manifests/v1", 400, `{"config":{"digest":"../../x"}}`, "MANIFEST_INVALID"},
		{"PUT", "/v2/r/manifests/v1", 404, `{"config":{"digest":"` + d + `"}}`, "MANIFEST_BLOB_UNKNOWN"},
		{"PUT", "/v2/r/manifests/v1", 413, strings.Repeat(" ", 5<<20), "SIZE_INVALID"},
		{"POST", "/v2/r/blobs/uploads/?mount=x", 400, "", "DIGEST_INVALID"},
		{"PATCH", "/v2/r/blobs/uploads/none", 404, "", "BLOB_UPLOAD_UNKNOWN"},
		{"DELETE", "/v2/r/blobs/" + d, 404, "", "BLOB_UNKNOWN"},
		{"DELETE", "/v2/r/manifests/" + d, 404, "", "MANIFEST_UNKNOWN"},
	} {
		if got := c.do(x.method, x.path, x.status, []byte(x.body)).Body.String(); !strings.Contains(got, fmt.Sprintf("%q", x.code)) {
			t.Errorf("%s %s: %s", x.method, x.path, got)
		}
	}
}

// FuzzServe: whatever a client asks for, it gets an answer.
func FuzzServe(f *testing.F) {
	f.Add("PUT", "/v2/r/manifests/v1", "", []byte(`{"layers":[{"digest":"x"}]}`))
	f.Add("PATCH", "/v2/r/blobs/uploads/x", "0-3", []byte("abcd"))
	f.Add("GET", "/v2/r/tags/list?n=-1&last=%00", "", []byte(nil))
	f.Fuzz(func(t *testing.T, method, path, contentRange string, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://r"+path, bytes.NewReader(body))
		if err != nil {
			return
		}
		s, _ := open(t, t.TempDir())
		r.Header.Set("Content-Range", contentRange)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
