package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"skiff.dev/skiff/store"
)

// flipped is a store's directory with some tables and a log, as a crash leaves it, of
// which one byte is changed. It returns what had been acknowledged, in which file the
// change is, and how many bytes from its end.
func flipped(t testing.TB, pick, at uint64, bit byte) (fs *vfs.MemFS, acked map[string]string, name string, left int) {
	t.Helper()
	mem := memory()
	s := open(t, "/var/data", Options{fs: mem, Logger: quiet})
	acked = map[string]string{}
	write := func(from, to int) {
		for i := from; i < to; i++ {
			key, value := fmt.Sprintf("k%02d", i%40), fmt.Sprintf("%d-%s", i, noise(200))
			if _, err := put(s, key, value); err != nil {
				t.Fatal(err)
			}
			acked[key] = value
		}
	}
	write(0, 60)
	s.Close()
	s = open(t, "/var/data", Options{fs: mem, Logger: quiet}) // in tables now
	write(60, 90)
	cut := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
	cut.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40})
	names, err := cut.List("/var/data/db")
	if err != nil {
		t.Fatal(err)
	}
	name = names[pick%uint64(len(names))]
	path := "/var/data/db/" + name
	f, err := cut.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 0 {
		i := at % uint64(len(raw))
		raw[i] ^= bit
		left = len(raw) - int(i)
		g, err := cut.Create(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = g.Write(raw); err == nil {
			err = g.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
		g.Close()
	}
	return cut, acked, name, left
}

// FuzzFlip: with one byte of any file changed, the store either says so or has all
// that it had acknowledged: nothing is left out in silence. The last record, which
// might be torn, is told of in the log.
func FuzzFlip(f *testing.F) {
	for i := range uint64(12) {
		for j := range uint64(4) {
			f.Add(i, j*1777+i*31, byte(1)<<j)
		}
	}
	f.Fuzz(func(t *testing.T, pick, at uint64, bit byte) {
		fs, acked, name, left := flipped(t, pick, at, bit)
		var log bytes.Buffer
		s, err := Open("/var/data", Options{fs: fs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			return
		}
		defer s.Close()
		if strings.Contains(log.String(), "/var/data/db/"+name) {
			return
		}
		for key, want := range acked {
			res, err := s.Range(context.Background(), store.Range{Start: key})
			var bad *store.CorruptError
			if errors.As(err, &bad) {
				return
			}
			if err != nil {
				t.Fatalf("%s changed %d bytes from its end: %s: %v", name, left, key, err)
			}
			if len(res.KVs) != 1 || string(res.KVs[0].Value) != want {
				t.Fatalf("%s changed %d bytes from its end: %s is not what was acknowledged, and nothing is said", name, left, key)
			}
		}
	})
}

// TestNamesTheFile: what is wrong with a store that does not open is told with the
// file and the place; a clean end, of a new log or of one that was another, is no
// fault.
func TestNamesTheFile(t *testing.T) {
	for pick := range uint64(8) {
		fs, _, name, left := flipped(t, pick, 7, 0x10)
		_, err := Open("/var/data", Options{fs: fs, Logger: quiet})
		var bad *store.CorruptError
		if newest(t, fs, name) {
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s damaged %d bytes from its end: %v", name, left, err)
			}
		} else if err != nil && errors.As(err, &bad) && !strings.Contains(err.Error(), strings.TrimSuffix(name, ".sst")) {
			t.Errorf("%s damaged: %v", name, err)
		}
	}
	var log bytes.Buffer
	fs := memory()
	for range 6 { // logs of some lives, used again
		s := open(t, "/var/data", Options{fs: fs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for i := range 300 {
			if _, err := put(s, fmt.Sprint("k", i), noise(5000)); err != nil {
				t.Fatal(err)
			}
		}
		cut := fs.CrashClone(vfs.CrashCloneCfg{})
		cut.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 40})
		s.Close()
		fs = cut
	}
	if log.Len() > 0 {
		t.Errorf("crashes without damage are told as damage:\n%s", log.String())
	}
}

// newest tells whether a log or manifest is the one in use.
func newest(t *testing.T, fs vfs.FS, name string) bool {
	t.Helper()
	names, err := fs.List("/var/data/db")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if n > name && (strings.HasSuffix(n, ".log") && strings.HasSuffix(name, ".log") || strings.HasPrefix(n, "MANIFEST") && strings.HasPrefix(name, "MANIFEST")) {
			return false
		}
	}
	return strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "MANIFEST")
}
