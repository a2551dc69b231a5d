package platform

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTornRecord cuts the store's log at several places inside what was written
// last, as a power cut does: it starts, and has all that was acknowledged before.
func TestTornRecord(t *testing.T) {
	c := begin(t)
	for round := range 4 {
		must(t)(c.up())
		name := fmt.Sprint("kept-", round)
		must(t)(c.kubectl("create", "configmap", name, "--from-literal=a="+strings.Repeat("x", 3000)))
		wal := newest(t, filepath.Join(c.data, "store", "db", "*.log"))
		before := size(t, wal)
		must(t)(c.kubectl("create", "configmap", fmt.Sprint("torn-", round), "--from-literal=a="+strings.Repeat("y", 3000)))
		c.kill(t)
		after := size(t, wal)
		if after <= before {
			t.Fatalf("the log did not grow: %d, %d", before, after)
		}
		cut := before + (after-before)*int64(round+1)/5
		if round == 3 { // not cut off, but never written: zeroes
			f, err := os.OpenFile(wal, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt(make([]byte, after-cut), cut)
				f.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
		} else if err := os.Truncate(wal, cut); err != nil {
			t.Fatal(err)
		}
		must(t)(c.up())
		for kept := range round + 1 {
			must(t)(c.kubectl("get", "configmap", fmt.Sprint("kept-", kept)))
		}
		must(t)(c.kubectl("create", "configmap", fmt.Sprint("next-", round)))
		must(t)(c.skiff("down"))
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// newest is the file whose name, a number, is the highest.
func newest(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return slices.Max(files)
}

// TestCorruptFiles damages what skiff stores: it does not start, names the file and
// what to do, and leaves the file as it is. Mended, it starts.
func TestCorruptFiles(t *testing.T) {
	c := begin(t)
	must(t)(c.up())
	must(t)(c.kubectl("create", "configmap", "kept", "--from-literal=a="+strings.Repeat("x", 3000)))
	must(t)(c.skiff("down"))
	must(t)(c.up()) // what was in the log is in tables now
	must(t)(c.skiff("down"))
	garble := func(b []byte) []byte {
		b = bytes.Clone(b)
		for i := len(b) / 4; i < len(b)*3/4; i++ {
			b[i] ^= 0x55
		}
		return b
	}
	short := func(b []byte) []byte { return b[:len(b)/2] }
	for _, test := range []struct {
		pattern string
		damage  func([]byte) []byte
		want    []string
	}{
		{"config.json", short, []string{"repair it"}},
		{"pki/ca.crt", garble, []string{"certificates", "restore it from a backup", "skiff reset"}},
		{"pki/ca.key", short, []string{"certificates", "restore it from a backup", "skiff reset"}},
		{"pki/sa.key", garble, []string{"certificates", "restore it from a backup", "skiff reset"}},
		{"store/db/MANIFEST-*", garble, []string{"from a backup", "skiff reset"}},
		{"store/db/*.sst", garble, []string{"from a backup", "skiff reset"}},
	} {
		t.Run(test.pattern, func(t *testing.T) {
			saved := t.TempDir()
			if err := os.CopyFS(filepath.Join(saved, "data"), os.DirFS(c.data)); err != nil {
				t.Fatal(err)
			}
			file := newest(t, filepath.Join(c.data, test.pattern))
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			damaged := test.damage(whole)
			if err := os.WriteFile(file, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the first attempt changes nothing for the second
				out, err := c.up()
				if err == nil {
					must(t)(c.skiff("down"))
					t.Fatalf("started:\n%s", out)
				}
				for _, want := range append(test.want, strings.TrimSuffix(filepath.Base(file), ".sst")) {
					if !strings.Contains(out, want) {
						t.Errorf("the message lacks %q:\n%s", want, out)
					}
				}
			}
			if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, damaged) {
				t.Errorf("%s was changed: %v", file, err)
			}
			if left := traces(t, c); len(left) > 0 {
				t.Errorf("left:\n%s", strings.Join(left, "\n"))
			}
			if err := os.RemoveAll(c.data); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(c.data, os.DirFS(filepath.Join(saved, "data"))); err != nil {
				t.Fatal(err)
			}
			must(t)(c.up())
			must(t)(c.kubectl("get", "configmap", "kept"))
			must(t)(c.skiff("down"))
		})
	}
}

// TestFullDiskUnderImages: an image that does not fit is refused as a whole, and
// fits when there is room.
func TestFullDiskUnderImages(t *testing.T) {
	dir, data := smallDisk(t, "256m")
	c := ownIn(t, dir)
	archive, err := imageArchive()
	if err != nil {
		t.Fatal(err)
	}
	before := files(t, filepath.Join(data, "engine"))
	ballast := filepath.Join(data, "ballast")
	fill(t, ballast)
	if err := os.Truncate(ballast, size(t, ballast)-(1<<20)); err != nil {
		t.Fatal(err)
	}
	out, err := c.skiff("image", "load", archive)
	if err == nil || !strings.Contains(out, "no space left") {
		t.Errorf("a full disk gives %v\n%s", err, out)
	}
	if out := must(t)(c.skiff("image", "ls", "-q")); out != "" {
		t.Errorf("images after a load that failed:\n%s", out)
	}
	if after := files(t, filepath.Join(data, "engine")); !slices.Equal(after, before) {
		t.Errorf("files before %q, after a load that failed %q", before, after)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	must(t)(c.skiff("image", "load", archive))
	c.eventually(t, "a pod runs", func() bool {
		_, err := c.kubectl("run", "p", "--image=test/standin:1")
		return err == nil
	})
	must(t)(c.kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=30s"))
}

func countFiles(t *testing.T, dir string) int { return len(files(t, dir)) }

// files lists what is below dir, without directories.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			out = append(out, strings.TrimPrefix(path, dir+"/"))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}
