package builds

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg && h.Size == 0 {
			h.Size = 1
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hostile are archives that want out of the context.
func hostile(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"parent":              archive(t, tar.Header{Name: "../out", Typeflag: tar.TypeReg}),
		"inner parent":        archive(t, tar.Header{Name: "a/../../out", Typeflag: tar.TypeReg}),
		"through a link":      archive(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "l/out", Typeflag: tar.TypeReg}),
		"through an absolute": archive(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, tar.Header{Name: "l/out", Typeflag: tar.TypeReg}),
		"hard link":           archive(t, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "../secret"}),
		"hard link in link":   archive(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "l/secret"}),
		"device":              archive(t, tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}),
		"pipe":                archive(t, tar.Header{Name: "p", Typeflag: tar.TypeFifo}),
	}
}

// inside unpacks an archive and fails where something outside of the context changes.
func inside(t testing.TB, b []byte) error {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := filepath.Join(dir, "context")
	if err := os.Mkdir(in, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(in)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	got := unpackContext(root, bytes.NewReader(b), 1<<20, 100)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("outside of the context there is %v, %v", entries, err)
	}
	if s, err := os.ReadFile(filepath.Join(dir, "secret")); err != nil || string(s) != "secret" {
		t.Fatalf("what is outside of the context was changed: %q %v", s, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "secret")); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("what is outside of the context was changed: %v %v", st.Mode(), err)
	}
	return got
}

func TestHostileContexts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners")
	}
	for name, b := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			if err := inside(t, b); err == nil {
				t.Error("it is taken")
			}
		})
	}
	if _, err := os.Lstat("/tmp/out"); err == nil {
		t.Error("/tmp/out was written")
	}
}

func TestContextLimits(t *testing.T) {
	many := make([]tar.Header, 101)
	for i := range many {
		many[i] = tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755}
	}
	for name, b := range map[string][]byte{
		"bytes":   archive(t, tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: 2 << 20}),
		"entries": archive(t, many...),
	} {
		if err := inside(t, b); err == nil {
			t.Errorf("too many %s are taken", name)
		}
	}
}

func TestContextModes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners")
	}
	dir := t.TempDir()
	b := archive(t, tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o1777}, tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 7, Gid: 8})
	if err := receive(dir, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, "d/f"))
	if err != nil || st.Mode() != 0o755|fs.ModeSetuid {
		t.Errorf("d/f: %v %v", st.Mode(), err)
	}
	if st, err = os.Stat(filepath.Join(dir, "d")); err != nil || st.Mode()&fs.ModeSticky == 0 {
		t.Errorf("d: %v %v", st.Mode(), err)
	}
}

func FuzzContext(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: owners")
	}
	for _, b := range hostile(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { inside(t, b) }) //nolint:errcheck // taken or not
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte("FROM a AS b\nRUN x\nCOPY --from=b /a /b\nEXPOSE 1-2/tcp\n"))
	f.Add([]byte("ARG A=1\nFROM $A\nHEALTHCHECK NONE\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		newPlan(b, &params{}) //nolint:errcheck // must not panic
	})
}
