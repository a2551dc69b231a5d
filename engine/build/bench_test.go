package build_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/build"
)

const rebuilt = "FROM " + busybox + " AS a\nRUN echo hi > /x\nFROM " + busybox + "\nCOPY --from=a /x /x\nCOPY f /f\nENV A=b\nCMD [\"cat\"]\n"

// BenchmarkRebuild builds again what was built, with nothing changed.
func BenchmarkRebuild(b *testing.B) {
	r := newRig(b)
	r.loadBusybox()
	q := build.Request{Tags: []string{"made:1"}, Context: r.context(map[string]string{"Dockerfile": rebuilt, "f": "f"})}
	for b.Loop() {
		if _, err := r.builder.Build(b.Context(), q, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// big is the size of the context of BenchmarkCopy.
const big = 100 << 20

// BenchmarkCopy builds an image of one file of 100 MB that is another each time.
// BenchmarkDisk is what the disk takes for it.
func BenchmarkCopy(b *testing.B) {
	r := newRig(b)
	dir := filepath.Join(r.dir, "context")
	if err := os.Mkdir(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY big /\n"), 0o644); err != nil {
		b.Fatal(err)
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		writeBig(b, filepath.Join(dir, "big"))
		b.StartTimer()
		if _, err := r.builder.Build(b.Context(), build.Request{Tags: []string{"big:1"}, Context: files}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDisk writes the file of BenchmarkCopy to the disk.
func BenchmarkDisk(b *testing.B) {
	r := newRig(b)
	data := make([]byte, big)
	rand.Read(data)
	for b.Loop() {
		f, err := os.Create(filepath.Join(r.dir, "big"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

func writeBig(b *testing.B, path string) {
	b.Helper()
	data := make([]byte, big)
	rand.Read(data)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		b.Fatal(err)
	}
	unix.Sync()
}
