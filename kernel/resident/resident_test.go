package resident

import (
	"os"
	"strings"
	"testing"
)

const smaps = `00400000-031e8000 r-xp 00000000 fe:00 9978209                            /opt/skiff
Rss:               35936 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
031e8000-06a0d000 r--p 02de8000 fe:00 9978209                            /opt/skiff
Anonymous:             4 kB
06a0d000-06bb1000 rw-p 0660d000 fe:00 9978209                            /opt/skiff
Anonymous:           648 kB
06bb1000-08c0f000 rw-p 00000000 00:00 0
Anonymous:             0 kB
08c0f000-08c10000 r--s 00000000 fe:00 9978209                            /opt/skiff
Anonymous:             0 kB
08c10000-08c11000 r--p 00000000 fe:00 1                            /opt/other
Anonymous:             0 kB
08c11000-08c12000 r--p 00000000 fe:00 9978209                            /opt/skiff
Anonymous:             0 kB
`

func TestUnchanged(t *testing.T) {
	got, err := unchanged(strings.NewReader(smaps), "/opt/skiff")
	if err != nil || len(got) != 2 || got[0] != (mapping{0x400000, 0x31e8000}) || got[1] != (mapping{0x8c11000, 0x8c12000}) {
		t.Errorf("%x, %v", got, err)
	}
	for _, bad := range []string{"z-1 r-xp 0 0:0 1 /opt/skiff\n", "2000-1000 r-xp 0 0:0 1 /opt/skiff\n"} {
		if _, err := unchanged(strings.NewReader(bad), "/opt/skiff"); err == nil {
			t.Errorf("%q is taken for a mapping", bad)
		}
	}
}

// TestDrop drops this very test's pages and goes on.
func TestDrop(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	before := mapped(t, path)
	if err := Drop(); err != nil {
		t.Fatal(err)
	}
	if after := mapped(t, path); after >= before {
		t.Errorf("%d kB of the program were mapped, %d are after", before, after)
	}
}

// mapped is how many kB of the file this process has in memory.
func mapped(t *testing.T, path string) (kB int) {
	b, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			ours = f[len(f)-1] == path
		case ours && f[0] == "Rss:":
			n := 0
			for _, c := range f[1] {
				n = n*10 + int(c-'0')
			}
			kB += n
		}
	}
	return kB
}
