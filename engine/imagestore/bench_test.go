package imagestore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/engine/registry"
	"skiff.dev/skiff/telemetry"
)

func openStore(t testing.TB, dir string) *imagestore.Store {
	t.Helper()
	s, err := imagestore.Open(t.Context(), dir, telemetry.Discard(), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Skip("needs root, and a filesystem for overlayfs: ", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// serve runs a registry over a store and returns its address.
func serve(t testing.TB, s *imagestore.Store) string {
	t.Helper()
	reg, err := registry.New(t.Context(), registry.Options{Shelf: s.Shelf()})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(reg)
	t.Cleanup(func() {
		srv.Close()
		reg.Close()
	})
	return strings.TrimPrefix(srv.URL, "http://")
}

// text is n bytes that gzip makes about a third of, as it does of programs.
func text(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	words := make([]string, 2000)
	for i := range words {
		words[i] = fmt.Sprintf("%x", r.Uint64()>>(r.IntN(6)*8))
	}
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:n]
}

// send pushes an image of gzipped layers and returns the compressed layers.
func send(t testing.TB, host, repo string, layers [][]byte) (blobs [][]byte) {
	t.Helper()
	put := func(b []byte) digest.Digest {
		sum := sha256.Sum256(b)
		d := digest.Digest("sha256:" + hex.EncodeToString(sum[:]))
		resp, err := http.Post("http://"+host+"/v2/"+repo+"/blobs/uploads/?digest="+d.String(), "application/octet-stream", bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			t.Fatal(resp.Status)
		}
		return d
	}
	cfg := enginetest.ConfigOf(imagespec.ImageConfig{Cmd: []string{"/f"}}, layers...)
	m := imagespec.Manifest{MediaType: imagespec.MediaTypeImageManifest, Config: imagespec.Descriptor{MediaType: imagespec.MediaTypeImageConfig, Digest: put(cfg), Size: int64(len(cfg))}}
	m.SchemaVersion = 2
	for _, l := range layers {
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, 5)
		if err != nil {
			t.Fatal(err)
		}
		z.Write(l)
		z.Close()
		blobs = append(blobs, b.Bytes())
		m.Layers = append(m.Layers, imagespec.Descriptor{MediaType: imagespec.MediaTypeImageLayerGzip, Digest: put(b.Bytes()), Size: int64(b.Len())})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest("PUT", "http://"+host+"/v2/"+repo+"/manifests/v1", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", imagespec.MediaTypeImageManifest)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatal(resp.Status)
	}
	return blobs
}

// BenchmarkPull500MB pulls an image of 500 MB in eight layers from a registry in this
// process, which shares the cores, and tells what part that is of the speed at which
// all cores decompress the layers and do nothing else.
func BenchmarkPull500MB(b *testing.B) {
	const n, size = 8, 500 << 20 / 8
	host := serve(b, openStore(b, b.TempDir()))
	var layers [][]byte
	for i := range n {
		files := []enginetest.File{{Name: fmt.Sprintf("d%d", i), Dir: true}}
		for k := range 16 {
			files = append(files, enginetest.File{Name: fmt.Sprintf("d%d/f%d", i, k), Body: text(uint64(i*100+k), size/16)})
		}
		layers = append(layers, enginetest.Layer(files...))
	}
	blobs := send(b, host, "bench", layers)
	layers = nil
	var pulls, limits time.Duration
	for b.Loop() {
		began := time.Now()
		var wg sync.WaitGroup
		for _, blob := range blobs {
			wg.Go(func() {
				z, err := gzip.NewReader(bytes.NewReader(blob))
				if err == nil {
					_, err = io.Copy(io.Discard, z)
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		limits += time.Since(began)
		s := openStore(b, b.TempDir())
		began = time.Now()
		if _, err := s.Pull(b.Context(), host+"/bench:v1", engine.PullOptions{}); err != nil {
			b.Fatal(err)
		}
		pulls += time.Since(began)
	}
	b.ReportMetric(pulls.Seconds()/float64(b.N), "s/pull")
	b.ReportMetric(limits.Seconds()/float64(b.N), "s/decompression")
	b.ReportMetric(100*limits.Seconds()/pulls.Seconds(), "%of-decompression")
}
