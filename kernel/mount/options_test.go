package mount

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]struct {
		flags uintptr
		data  string
	}{
		"":                         {0, ""},
		"ro,size=1m,,uid=1000":     {unix.MS_RDONLY, "size=1m,uid=1000"},
		"ro,rw":                    {0, ""},
		"rbind,nosuid,defaults":    {unix.MS_BIND | unix.MS_REC | unix.MS_NOSUID, ""},
		"addr=10.0.0.1,noatime,ro": {unix.MS_NOATIME | unix.MS_RDONLY, "addr=10.0.0.1"},
	} {
		if flags, data := parse(in); flags != want.flags || data != want.data {
			t.Errorf("%q: %x %q", in, flags, data)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("ro,size=1m")
	f.Fuzz(func(t *testing.T, s string) {
		_, data := parse(s)
		for _, word := range strings.Split(data, ",") {
			if _, ok := words[word]; ok {
				t.Errorf("%q left %q among the data", s, word)
			}
		}
	})
}

func TestFilesystem(t *testing.T) {
	inNamespace(t, func() {
		dir := t.TempDir()
		source, target := filepath.Join(dir, "s"), filepath.Join(dir, "t")
		for _, d := range []string{source, target} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Error(err)
				return
			}
		}
		if err := Filesystem("tmpfs", source, "tmpfs", "size=1m,mode=700,noexec"); err != nil {
			t.Error(err)
			return
		}
		defer UnmountBelow(dir)
		if err := os.WriteFile(filepath.Join(source, "f"), []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
		if err := Filesystem(source, target, "none", "bind,ro,rprivate"); err != nil {
			t.Error(err)
			return
		}
		if _, err := os.ReadFile(filepath.Join(target, "f")); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(target, "g"), nil, 0o600); err == nil {
			t.Error("a read-only mount was written to")
		}
		if err := Filesystem(filepath.Join(dir, "none"), target, "none", "bind"); err == nil {
			t.Error("what is not there was mounted")
		}
	})
}
