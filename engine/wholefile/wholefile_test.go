package wholefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"skiff.dev/skiff/engine/wholefile"
)

func TestReplaces(t *testing.T) {
	for name, write := range map[string]func(string, []byte, fs.FileMode) error{"replace": wholefile.Replace, "keep": wholefile.Keep} {
		dir := t.TempDir()
		path := filepath.Join(dir, "record")
		for _, text := range []string{"one, which is long", "two"} {
			if err := write(path, []byte(text), 0o600); err != nil {
				t.Fatal(name, err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != text {
				t.Errorf("%s: %q %v", name, b, err)
			}
		}
		if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v %v", name, st, err)
		}
		only(t, dir, "record")
	}
}

// TestFailureLeavesWhatWasThere has the rename fail: a directory is in the way.
func TestFailureLeavesWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record")
	if err := os.MkdirAll(filepath.Join(path, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := wholefile.Keep(path, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	only(t, dir, "record")
	if err := wholefile.Replace(filepath.Join(dir, "no", "where"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func only(t *testing.T, dir, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != want {
		t.Errorf("%v %v", entries, err)
	}
}
