package containers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

func TestParseBind(t *testing.T) {
	for text, want := range map[string]string{
		"/h:/c":            "bind /h:/c rw rprivate",
		"/h:/c/:ro,slave":  "bind /h:/c ro slave",
		"vol:/c":           "volume vol:/c rw ",
		"vol:/c:ro,nocopy": "volume vol:/c ro ",
		"/c":               "volume :/c rw ",
	} {
		m, err := parseBind(text, "")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		mode := "rw"
		if !m.RW {
			mode = "ro"
		}
		if got := string(m.Type) + " " + m.Name + m.Source + ":" + m.Destination + " " + mode + " " + string(m.Propagation); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	for _, bad := range []string{"", "a", "/h:c", "/h:/", ":/c", "/h:/c:odd", "v:/c:slave", "a:b:c:d", "/h:/c:ro,rw", "/h:/c:nocopy", "/h:ro", "v:/c:z,Z"} {
		if _, err := parseBind(bad, ""); err == nil || route.Status(err) != 500 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestDetachKeys(t *testing.T) {
	left := false
	in := &clientInput{r: strings.NewReader("a\x10b\x10\x11more"), keys: defaultKeys, gone: func() { left = true }}
	b, err := io.ReadAll(in)
	if string(b) != "a\x10b" || !errors.Is(err, errDetached) || !left {
		t.Errorf("%q %v %v", b, err, left)
	}
	if k, err := detachKeys("ctrl-a,x,ctrl-@"); err != nil || !bytes.Equal(k, []byte{1, 'x', 0}) {
		t.Errorf("%v %v", k, err)
	}
	if _, err := detachKeys("bogus-keys-x"); err == nil {
		t.Error("bogus keys are keys")
	}
}

func TestRestart(t *testing.T) {
	for _, c := range []struct {
		policy      container.RestartPolicyMode
		retries     int
		done, code  int
		manual      bool
		again, boot bool
	}{
		{"no", 0, 0, 1, false, false, false},
		{"always", 0, 9, 0, false, true, true},
		{"always", 0, 0, 0, true, false, true},
		{"unless-stopped", 0, 0, 0, true, false, false},
		{"on-failure", 2, 1, 1, false, true, true},
		{"on-failure", 2, 2, 1, false, false, true},
		{"on-failure", 0, 9, 0, false, false, false},
	} {
		r := &record{WasStarted: true, Manual: c.manual, ExitCode: c.code, RestartCount: c.done, HostConfig: &container.HostConfig{}}
		r.HostConfig.RestartPolicy = container.RestartPolicy{Name: c.policy, MaximumRetryCount: c.retries}
		if got := shouldRestart(r); got != c.again {
			t.Errorf("%+v: again %v", c, got)
		}
		if got := restartAtBoot(r); got != c.boot {
			t.Errorf("%+v: at boot %v", c, got)
		}
	}
}

func TestStartFailure(t *testing.T) {
	code, err := startFailure("x", &engine.StartError{ExitCode: 127, Message: "x"})
	if code != 127 || route.Status(err) != 400 || err.Error() != runtimePreamble+"x" {
		t.Errorf("%d %v", code, err)
	}
	if code, err := startFailure("x", errors.New("y")); code != 128 || route.Status(err) != 500 {
		t.Errorf("%d %v", code, err)
	}
}

func TestStamps(t *testing.T) {
	if at, err := parseStamp("since", "12.5"); err != nil || !at.Equal(time.Unix(12, 5e8)) {
		t.Errorf("%v %v", at, err)
	}
	if _, err := parseStamp("since", "x"); route.Status(err) != 400 {
		t.Error(err)
	}
}

func TestPS(t *testing.T) {
	top, err := parsePS("PID COMMAND\n1 init\n20 sh -c x y\n", []int{20})
	if err != nil || len(top.Processes) != 1 || top.Processes[0][1] != "sh -c x y" {
		t.Errorf("%+v %v", top, err)
	}
	if _, err := parsePS("COMMAND\n", nil); err == nil {
		t.Error("no PID is no error")
	}
}

func archiveOf(t testing.TB, headers ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return b.Bytes()
}

// Nothing that an archive says leads out of the directory.
func TestExtractStaysInside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	outside := filepath.Join(t.TempDir(), "outside")
	for name, headers := range map[string][]tar.Header{
		"dots":     {{Name: "../x", Typeflag: tar.TypeReg}},
		"link":     {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: outside}, {Name: "l/x", Typeflag: tar.TypeReg}},
		"relative": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../.."}, {Name: "l/x", Typeflag: tar.TypeReg}},
		"hard":     {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}},
	} {
		dir := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := extract(context.Background(), dir, bytes.NewReader(archiveOf(t, headers...)), extractOptions{}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Lstat(outside); err == nil {
			t.Errorf("%s: something is outside", name)
		}
		if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) != 1 {
			t.Errorf("%s: something is beside it", name)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(archiveOf(f, tar.Header{Name: "a/b", Typeflag: tar.TypeReg}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/"}, tar.Header{Name: "l/x", Typeflag: tar.TypeDir}))
	f.Fuzz(func(t *testing.T, b []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = extract(context.Background(), dir, bytes.NewReader(b), extractOptions{owner: &owner{os.Getuid(), os.Getgid()}})
		if entries, _ := os.ReadDir(top); len(entries) != 1 {
			t.Errorf("something is outside: %v", entries)
		}
	})
}

func FuzzParseBind(f *testing.F) {
	f.Add("/a:/b:ro")
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := parseBind(s, ""); err == nil && (!filepath.IsAbs(m.Destination) || m.Destination == "/") {
			t.Errorf("%q is mounted at %q", s, m.Destination)
		}
	})
}
