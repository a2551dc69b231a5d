package main

import (
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

func TestMetrics(t *testing.T) {
	out := `goos: linux
BenchmarkOneClient-2   	     500	   1234567 ns/op	       800.0 added-p50-µs	      1500 commit-p50-µs	       700.5 fsync-p50-µs
PASS
`
	m, err := metrics(out, "BenchmarkOneClient")
	if err != nil || m["fsync-p50-µs"] != 700.5 || m["commit-p50-µs"] != 1500 {
		t.Errorf("%v %v", m, err)
	}
	for _, bad := range []string{"", "BenchmarkOneClient-2 1 x ns/op"} {
		if _, err := metrics(bad, "BenchmarkOneClient"); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}

func TestServeLayers(t *testing.T) {
	dir := t.TempDir()
	if err := makePulled(dir, 2, 2*pulledFileSize); err != nil {
		t.Fatal(err)
	}
	if _, err := decompressAll(dir); err != nil {
		t.Fatal(err)
	}
	addr, stop, err := serveLayers(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	get := func(path string) (int, []byte) {
		res, err := http.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, b
	}
	if code, b := get("/v2/bench/large/manifests/1"); code != http.StatusOK || len(b) == 0 {
		t.Errorf("the manifest: %d %q", code, b)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "sha256:*"))
	if err != nil || len(blobs) != 3 {
		t.Fatalf("want two layers and a config: %v %v", blobs, err)
	}
	for _, name := range blobs {
		want := filepath.Base(name)
		if code, b := get("/v2/bench/large/blobs/" + want); code != http.StatusOK || digestOf(b) != want {
			t.Errorf("%s: %d, %s", want, code, digestOf(b))
		}
	}
}

func TestMedian(t *testing.T) {
	if got := median([]time.Duration{9, 1, 5}); got != 5 {
		t.Error(got)
	}
}
