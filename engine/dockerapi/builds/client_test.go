package builds_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"

	"skiff.dev/skiff/engine/enginetest"
)

// upgraded opens a connection to /grpc or /session as docker's clients do.
func (r *rig) upgraded(ctx context.Context, path, proto string, header map[string][]string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", r.socket)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", proto)
	if err := req.Write(c); err != nil {
		return nil, err
	}
	// The head of the answer, a byte at a time: what follows is not HTTP/1.
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if _, err := c.Read(b); err != nil {
			return nil, err
		}
		head = append(head, b[0])
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
		return nil, fmt.Errorf("%s: %s", path, head)
	}
	return c, nil
}

// TestBuildKitClient builds with BuildKit's own client over /grpc and /session, as
// buildx with the docker driver does.
func TestBuildKitClient(t *testing.T) {
	r := newRig(t)
	c, err := client.New(t.Context(), "",
		client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return r.upgraded(ctx, "/grpc", "h2c", nil)
		}),
		client.WithSessionDialer(func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			return r.upgraded(ctx, "/session", proto, meta)
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"Dockerfile": "FROM " + busybox + "\nCOPY f /f\nRUN cat /f\n", "f": "sent"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan *client.SolveStatus)
	said := make(chan string)
	go func() {
		var b strings.Builder
		for s := range status {
			for _, l := range s.Logs {
				b.Write(l.Data)
			}
		}
		said <- b.String()
	}()
	resp, err := c.Solve(t.Context(), nil, client.SolveOpt{
		Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"image-resolve-mode": "local"},
		LocalMounts: map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports:     []client.ExportEntry{{Type: "moby", Attrs: map[string]string{"name": "buildx:1"}}},
	}, status)
	text := <-said
	if err != nil {
		t.Fatal(err)
	}
	if text != "sent" {
		t.Errorf("output %q", text)
	}
	img, err := r.store.Get(t.Context(), "buildx:1")
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.ExporterResponse["containerimage.digest"]; got != img.Digest {
		t.Errorf("the client was told of %s, the store has %s", got, img.Digest)
	}
	workers, err := c.ListWorkers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Errorf("workers %v %v", workers, err)
	}
}

// classic builds files as a client without BuildKit and returns the messages.
func (r *rig) classic(query string, files ...enginetest.File) (int, []map[string]any) {
	r.Helper()
	resp, err := r.client.Post("http://docker/v1.50/build?version=1&"+query, "application/x-tar", bytes.NewReader(enginetest.Layer(files...)))
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	var out []map[string]any
	for d := json.NewDecoder(resp.Body); ; {
		var m map[string]any
		err := d.Decode(&m)
		if err == io.EOF {
			return resp.StatusCode, out
		}
		if err != nil {
			r.Fatal(err)
		}
		out = append(out, m)
	}
}

// TestClassicStages holds the order of output of several stages, and a cache that is
// used.
func TestClassicStages(t *testing.T) {
	r := newRig(t)
	dockerfile := enginetest.File{Name: "Dockerfile", Mode: 0o644, Body: "ARG V=1\nFROM " + busybox + " AS one\nRUN echo one\nFROM " + busybox + "\nCOPY --from=one /etc/passwd /p\nENV A=b\nRUN echo two >&2\n"}
	for _, want := range []string{
		"Step 1/7 : ARG V=1|Step 2/7 : FROM busybox:test AS one|Step 3/7 : RUN echo one|one|Step 4/7 : FROM busybox:test|Step 5/7 : COPY --from=one /etc/passwd /p|Step 6/7 : ENV A=b|Step 7/7 : RUN echo two >&2|\x1b[91mtwo|\x1b[0m|Successfully tagged stages:1",
		"Step 1/7 : ARG V=1|Step 2/7 : FROM busybox:test AS one|Step 3/7 : RUN echo one| ---> Using cache|Step 4/7 : FROM busybox:test|Step 5/7 : COPY --from=one /etc/passwd /p| ---> Using cache|Step 6/7 : ENV A=b| ---> Using cache|Step 7/7 : RUN echo two >&2| ---> Using cache|Successfully tagged stages:1",
	} {
		status, messages := r.classic("t=stages:1&rm=1", dockerfile)
		if status != http.StatusOK {
			t.Fatalf("status %d: %v", status, messages)
		}
		var text strings.Builder
		for _, m := range messages {
			if s, ok := m["stream"].(string); ok {
				text.WriteString(s)
			}
		}
		var lines []string
		for line := range strings.Lines(text.String()) {
			line = strings.TrimSuffix(line, "\n")
			if keep := !strings.HasPrefix(line, " ---> ") || strings.HasSuffix(line, "cache"); keep && !strings.HasPrefix(line, "Successfully built") {
				// A stream of errors ends its color on the next line.
				if after, ok := strings.CutPrefix(line, "\x1b[0m"); ok {
					lines = append(lines, "\x1b[0m")
					if line = after; strings.HasPrefix(line, " ---> ") {
						continue
					}
				}
				lines = append(lines, line)
			}
		}
		if got := strings.Join(lines, "|"); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	if status, m := r.classic("target=none", dockerfile); status != http.StatusBadRequest {
		t.Errorf("a target that is not there: %d %v", status, m)
	}
}

// BenchmarkClassicRebuild is a client's build again of what was built.
func BenchmarkClassicRebuild(b *testing.B) {
	r := newRig(b)
	for b.Loop() {
		r.classic("t=again:1", enginetest.File{Name: "Dockerfile", Mode: 0o644, Body: "FROM " + busybox + "\nRUN echo x\nCOPY Dockerfile /d\nENV A=b\n"})
	}
}
