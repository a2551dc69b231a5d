package docker

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/moby/buildkit/client"
)

// request is what a command line of `build` asks for; stdin is text.
func request(t *testing.T, stdin string, args ...string) (client.SolveOpt, error) {
	t.Helper()
	tr := newTestTree(t, "docker", new(bytes.Buffer))
	cmd, _, err := tr.root.Find([]string{"build"})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	b := &buildRequest{flags: cmd.Flags(), context: cmd.Flags().Arg(0), config: configfile.New(""), stdin: strings.NewReader(stdin)}
	so, remove, err := b.solveOpt()
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
	return so, err
}

func TestBuildRequest(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FROMENV", "there")
	args := []string{"-t", "a:1", "-t", "b", "-f", filepath.Join(dir, "sub", "D"), "--build-arg", "K=V", "--build-arg", "FROMENV",
		"--build-arg", "NOWHERE", "--label", "l=1", "--target", "x", "--network", "none", "--no-cache", "--pull", "--add-host", "h:1.2.3.4",
		"--add-host", "six=[::1]", "--shm-size", "64m", "--ulimit", "nofile=10:20", "--cache-from", "type=registry,ref=r/a:c", "--cache-from", "r/b",
		"--cache-to", "type=inline", "--secret", "id=s,src=" + filepath.Join(dir, "secret"), "--platform", "linux/amd64", dir}
	_, err := request(t, "", args...)
	if err == nil || !strings.Contains(err.Error(), "sub") {
		t.Errorf("a Dockerfile in no directory: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	so, err := request(t, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(map[string]any{"attrs": so.FrontendAttrs, "from": so.CacheImports, "to": so.CacheExports, "out": so.Exports[0].Attrs, "type": so.Exports[0].Type, "session": len(so.Session)})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"attrs":{"add-hosts":"h=1.2.3.4,six=::1","build-arg:FROMENV":"there","build-arg:K":"V","filename":"D","force-network-mode":"none","image-resolve-mode":"pull","label:l":"1","no-cache":"","platform":"linux/amd64","shm-size":"67108864","target":"x","ulimit":"nofile=10:20"},"from":[{"Type":"registry","Attrs":{"ref":"r/a:c"}},{"Type":"registry","Attrs":{"ref":"r/b"}}],"out":{"name":"a:1,b"},"session":1,"to":[{"Type":"inline","Attrs":{}}],"type":"moby"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if so.LocalMounts["context"] == nil || so.LocalMounts["dockerfile"] == nil {
		t.Error("directories are missing")
	}
}

// TestBuildSources: where context and Dockerfile come from.
func TestBuildSources(t *testing.T) {
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	if err := tw.WriteHeader(&tar.Header{Name: "Dockerfile", Size: 0, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		stdin           string
		args            []string
		context, mounts string
		err             string
	}{
		{"", []string{t.TempDir()}, "", "context dockerfile", ""},
		{"FROM scratch", []string{"-"}, "", "context dockerfile", ""},
		{"FROM scratch", []string{"-f", "-", t.TempDir()}, "", "context dockerfile", ""},
		{archive.String(), []string{"-"}, "http://buildkit-session/", "", ""},
		{archive.String(), []string{"-f", "D", "-"}, "http://buildkit-session/", "", ""},
		{"", []string{"https://example.com/a.git#main:sub"}, "https://example.com/a.git#main:sub", "", ""},
		{"FROM scratch", []string{"-f", "-", "https://example.com/a.tar"}, "https://example.com/a.tar", "dockerfile", ""},
		{"FROM scratch", []string{"-f", "x", "-"}, "", "", "-f cannot be used"},
		{"", []string{"/nowhere"}, "", "", "unable to prepare context"},
		{"", []string{"--network", "mine", "."}, "", "context dockerfile", "not supported by buildkit"},
		{"", []string{"--secret", "src=a", "."}, "", "context dockerfile", "has no id"},
		{"", []string{"--secret", "id=a,colour=red", "."}, "", "context dockerfile", "is not known"},
		{"", []string{"-o", "type=nonsense", "."}, "", "context dockerfile", "is not known"},
		{"", []string{"--build-context", "a", "."}, "", "context dockerfile", "expected key=value"},
	} {
		so, err := request(t, test.stdin, test.args...)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v", test.args, err)
			}
			continue
		}
		var mounts []string
		for _, name := range []string{"context", "dockerfile"} {
			if so.LocalMounts[name] != nil {
				mounts = append(mounts, name)
			}
		}
		if err != nil || !strings.HasPrefix(so.FrontendAttrs["context"], test.context) || strings.Join(mounts, " ") != test.mounts {
			t.Errorf("%s: context %q, mounts %s, %v", test.args, so.FrontendAttrs["context"], mounts, err)
		}
	}
}

func TestExtraHost(t *testing.T) {
	for in, want := range map[string]string{"a:1.2.3.4": "a=1.2.3.4", "a=::1": "a=::1", "a:[::1]": "a=::1", "a:host-gateway": "a=host-gateway"} {
		if got := extraHost(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzFields(f *testing.F) {
	for _, s := range []string{"id=a,src=b", `type=local,"dest=a,b"`, "=", ",", `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := fields(s); err == nil && len(m) == 0 {
			t.Errorf("%q: nothing, and no error", s)
		}
	})
}

func FuzzArchived(f *testing.F) {
	f.Add([]byte("FROM scratch"))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, in []byte) {
		again, _, err := archived(bytes.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := io.ReadAll(again); err != nil || !bytes.Equal(in, out) {
			t.Errorf("%q became %q, %v", in, out, err)
		}
	})
}
