package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"
)

// The image that is pulled: 500 MB in layers of files whose content compresses as
// programs do, to some two fifths.
const (
	pulledLayers   = 6
	pulledSize     = 500_000_000
	pulledFileSize = 200_000
	pulledName     = "bench/large:1"
)

// pull is an image of 500 MB from a registry on this machine, beside what the cores
// need to decompress its layers and do nothing else.
func (b *dockerBench) pull(ctx context.Context) error {
	dir := filepath.Join(b.dir, "registry")
	if err := makePulled(dir, pulledLayers, pulledSize/pulledLayers); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	took := make([][]time.Duration, len(b.engines)+1)
	for range 3 {
		d, err := decompressAll(dir)
		if err != nil {
			return err
		}
		took[len(b.engines)] = append(took[len(b.engines)], d)
		for i, e := range b.engines {
			d, err := e.pullFrom(ctx, dir)
			if err != nil {
				return err
			}
			took[i] = append(took[i], d)
		}
	}
	bare := median(took[len(b.engines)])
	rate := func(d time.Duration) float64 { return pulledSize / 1e6 / d.Seconds() }
	b.t.row("decompression alone of 500 MB on all cores", rate(bare), 0, "MB/s", true)
	for i, e := range b.engines {
		b.row(e, "pull of 500 MB from a local registry", rate(median(took[i])), 0.7*rate(bare), "MB/s", true)
	}
	return nil
}

// pullFrom pulls once and removes the image again.
func (e *dockerEngine) pullFrom(ctx context.Context, dir string) (time.Duration, error) {
	addr, stop, err := e.served(dir)
	if err != nil {
		return 0, err
	}
	defer stop()
	d, err := e.timed(ctx, "pull", "-q", addr+"/"+pulledName)
	if err != nil {
		return 0, err
	}
	_, err = e.docker(ctx, "rmi", addr+"/"+pulledName)
	return d, err
}

// makePulled writes the blobs of an image of so many layers by digest, and its
// manifest, to dir.
func makePulled(dir string, count, size int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	layers, diffIDs := make([]descriptor, count), make([]string, count)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range layers {
		g.Go(func() error {
			plain, err := pulledLayer(i, size)
			if err != nil {
				return err
			}
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			if _, err := z.Write(plain); err != nil {
				return err
			}
			if err := z.Close(); err != nil {
				return err
			}
			diffIDs[i] = digestOf(plain)
			layers[i] = descriptor{"application/vnd.oci.image.layer.v1.tar+gzip", digestOf(packed.Bytes()), packed.Len()}
			return os.WriteFile(filepath.Join(dir, layers[i].Digest), packed.Bytes(), 0o644)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"/none"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, digestOf(config)), config, 0o644); err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "layers": layers,
		"config": descriptor{"application/vnd.oci.image.config.v1+json", digestOf(config), len(config)},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "manifest"), manifest, 0o644)
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// pulledLayer is the tar of one layer.
func pulledLayer(seed, total int) ([]byte, error) {
	rng := rand.New(rand.NewPCG(uint64(seed), 1))
	words := make([][]byte, 2048)
	for i := range words {
		words[i] = make([]byte, 4+rng.IntN(16))
		for j := range words[i] {
			words[i][j] = byte(rng.Uint32())
		}
	}
	files := map[string][]byte{}
	for size := 0; size < total; size += pulledFileSize {
		var b bytes.Buffer
		for b.Len() < pulledFileSize {
			b.Write(words[min(rng.IntN(len(words)), rng.IntN(len(words)))])
			b.WriteByte(byte(rng.Uint32() & 15))
		}
		files[fmt.Sprintf("layer%d-%04d", seed, len(files))] = b.Bytes()[:pulledFileSize]
	}
	return tarOf(files, 0o644)
}

// decompressAll is how long all cores together take for the layers, one a core at a
// time, by the decompressor that the engine uses.
func decompressAll(dir string) (time.Duration, error) {
	names, err := filepath.Glob(filepath.Join(dir, "sha256:*"))
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, name := range names {
		g.Go(func() error {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			defer f.Close()
			magic := make([]byte, 2)
			if _, err := f.ReadAt(magic, 0); err != nil || magic[0] != 0x1f {
				return err // the config is no layer
			}
			z, err := gzip.NewReader(f)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, z)
			return err
		})
	}
	err = g.Wait()
	return time.Since(begin), err
}

// serveLayers is a registry of what makePulled has written, on loopback.
func serveLayers(dir string) (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return l.Addr().String(), serveRegistry(l, dir), nil
}

func serveRegistry(l net.Listener, dir string) (stop func()) {
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/v2/bench/large/manifests/", func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(filepath.Join(dir, "manifest"))
		if ref := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; err != nil || ref != "1" && ref != digestOf(b) {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digestOf(b))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	})
	mux.HandleFunc("/v2/bench/large/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeFile(w, r, filepath.Join(dir, filepath.Base(r.PathValue("digest"))))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go srv.Serve(l) //nolint:errcheck // ends with ErrServerClosed
	return func() { srv.Close() }
}
