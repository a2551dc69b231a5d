package build_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/engine/imagestore"
)

// TestLanguage builds what the Dockerfile language has, and looks at what came out.
func TestLanguage(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	type files map[string]string
	secret := secretsprovider.FromMap(map[string][]byte{"key": []byte("hidden")})
	for _, c := range []struct {
		name, dockerfile string
		q                build.Request
		files            []string
		want             files  // of the image
		says             string // in the output
		fails            string // in the error
	}{
		{name: "heredoc", dockerfile: "FROM BASE\nRUN <<EOF\necho a > /a\necho b > /b\nEOF\nCOPY <<EOF /c\ntext\nEOF\n", want: files{"a": "a\n", "b": "b\n", "c": "text\n"}},
		{name: "arg", dockerfile: "ARG V=1\nFROM BASE\nARG V\nARG W=2\nRUN echo $V $W > /a\n", q: build.Request{Args: map[string]string{"V": "9"}}, want: files{"a": "9 2\n"}},
		{name: "platform args", dockerfile: "FROM BASE\nARG TARGETARCH\nARG TARGETOS\nRUN echo $TARGETOS/$TARGETARCH > /a\n", want: files{"a": "linux/amd64\n"}},
		{name: "target", dockerfile: "FROM BASE AS one\nRUN echo 1 > /a\nFROM BASE AS two\nRUN exit 3\n", q: build.Request{Target: "one"}, want: files{"a": "1\n"}},
		{name: "secret", dockerfile: "FROM BASE\nRUN --mount=type=secret,id=key cat /run/secrets/key | wc -c > /a\nRUN ls /run/secrets 2>/dev/null | wc -l > /b\n", q: build.Request{Session: []session.Attachable{secret}}, want: files{"a": "6\n", "b": "0\n"}},
		{name: "cache mount", dockerfile: "FROM BASE\nRUN --mount=type=cache,target=/k echo kept > /k/f\nRUN --mount=type=cache,target=/k cat /k/f > /a\n", want: files{"a": "kept\n"}},
		{name: "bind mount", dockerfile: "FROM BASE\nRUN --mount=type=bind,target=/ctx cat /ctx/f > /a\n", files: []string{"f", "bound"}, want: files{"a": "bound"}},
		{name: "tmpfs mount", dockerfile: "FROM BASE\nRUN --mount=type=tmpfs,target=/t echo x > /t/x\nRUN ls /t | wc -l > /a\n", want: files{"a": "0\n"}},
		{name: "dockerignore", dockerfile: "FROM BASE\nCOPY . /c/\nRUN ls /c > /a\n", files: []string{".dockerignore", "no*\nDockerfile\n.dockerignore\n", "nothing", "", "yes", ""}, want: files{"a": "yes\n"}},
		{name: "workdir and user", dockerfile: "FROM BASE\nWORKDIR /w\nUSER app\nWORKDIR sub\nUSER root\nRUN echo $PWD > /a\n", want: files{"a": "/w/sub\n"}},
		{name: "shell", dockerfile: "FROM BASE\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo x > /a; true\n", want: files{"a": "x\n"}},
		{name: "network none", dockerfile: "FROM BASE\nRUN ls /sys/class/net > /a\n", q: build.Request{Network: "none"}, want: files{"a": "lo\n"}},
		{name: "extra host", dockerfile: "FROM BASE\nRUN cat /etc/hosts\n", q: build.Request{ExtraHosts: []string{"other:10.9.8.7"}}, says: "10.9.8.7\tother"},
		{name: "syntax line", dockerfile: "# syntax=docker/dockerfile:1.4\nFROM BASE\nRUN echo x > /a\n", want: files{"a": "x\n"}},
		{name: "copy chown and chmod", dockerfile: "FROM BASE\nCOPY --chown=1000:1000 --chmod=600 f /f\nRUN stat -c '%u %g %a' /f > /a\n", files: []string{"f", ""}, want: files{"a": "1000 1000 600\n"}},
		{name: "copy link", dockerfile: "FROM BASE\nCOPY --link f /f\nRUN cat /f > /a\n", files: []string{"f", "linked"}, want: files{"a": "linked", "f": "linked"}},
		{name: "numbered stage", dockerfile: "FROM BASE\nRUN echo x > /x\nFROM scratch\nCOPY --from=0 /x /a\n", want: files{"a": "x\n"}},

		{name: "line of an error", dockerfile: "FROM BASE\n\nBOGUS\n", fails: "dockerfile parse error on line 3: unknown instruction: BOGUS"},
		{name: "exit code", dockerfile: "FROM BASE\nRUN exit 7\n", fails: "exit code: 7"},
		{name: "escape from the context", dockerfile: "FROM BASE\nCOPY ../../../../etc/shadow /a\n", fails: "not found"},
		{name: "no base", dockerfile: "FROM 127.0.0.1:1/none\n", fails: "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := map[string]string{"Dockerfile": strings.ReplaceAll(c.dockerfile, "BASE", busybox)}
			for i := 0; i < len(c.files); i += 2 {
				all[c.files[i]] = c.files[i+1]
			}
			c.q.Tags = []string{"language:1"}
			r := &rig{TB: t, dir: r.dir, store: r.store, builder: r.builder}
			out, _, err := r.build(all, c.q)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("error %v, want one with %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out.text.String())
			}
			for name, want := range c.want {
				if got := r.file("language:1", name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if !strings.Contains(out.text.String(), c.says) {
				t.Errorf("output %q has no %q", out.text.String(), c.says)
			}
		})
	}
}

// TestOnBuildAndHealth holds instructions that are only configuration.
func TestOnBuildAndHealth(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	r.must("FROM "+busybox+"\nONBUILD RUN echo triggered > /t\nHEALTHCHECK --interval=5s CMD true\nEXPOSE 80\nVOLUME /v\nSTOPSIGNAL SIGINT\n", build.Request{Tags: []string{"parent:1"}})
	r.must("FROM parent:1\n", build.Request{Tags: []string{"child:1"}})
	if got := r.file("child:1", "t"); got != "triggered\n" {
		t.Errorf("/t is %q", got)
	}
	img, err := r.store.Get(t.Context(), "child:1")
	if err != nil {
		t.Fatal(err)
	}
	if c := img.Config.Config; c.StopSignal != "SIGINT" || len(c.ExposedPorts) != 1 || len(c.Volumes) != 1 {
		t.Errorf("config %+v", c)
	}
}

// TestCache holds what is done again and what is not.
func TestCache(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	files := map[string]string{"Dockerfile": "FROM " + busybox + "\nRUN echo $RANDOM > /a\nCOPY f /f\n", "f": "1"}
	q := build.Request{Tags: []string{"cached:1"}}
	name := "[2/3] RUN echo $RANDOM > /a"
	step := func(q build.Request) (cached bool, id string) {
		out, res, err := r.build(files, q)
		if err != nil {
			t.Fatal(err)
		}
		return out.cached[name], res.Digest.String()
	}
	if cached, _ := step(q); cached {
		t.Error("the first build is from the cache")
	}
	cached, first := step(q)
	if !cached {
		t.Error("the second build is not from the cache")
	}
	if _, again := step(q); again != first {
		t.Errorf("the same build makes %s, then %s", first, again)
	}
	q.NoCache = true
	if cached, _ := step(q); cached {
		t.Error("a build without cache is from the cache")
	}
}

// TestPrune holds that the cache can go and images stay, and the other way round.
func TestPrune(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	files := map[string]string{"Dockerfile": "FROM " + busybox + "\nRUN echo kept > /a\n"}
	if _, _, err := r.build(files, build.Request{Tags: []string{"pruned:1"}}); err != nil {
		t.Fatal(err)
	}
	gone, err := r.builder.Prune(t.Context(), client.PruneInfo{All: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(gone) == 0 {
		t.Error("nothing was pruned")
	}
	left, err := r.builder.DiskUsage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range left {
		if !u.Shared && !u.InUse {
			t.Errorf("%s (%s) is left", u.ID, u.Description)
		}
	}
	if got := r.file("pruned:1", "a"); got != "kept\n" {
		t.Errorf("/a is %q after the cache was pruned", got)
	}
	// Removing the image leaves a cache that is whole.
	if _, _, err := r.build(files, build.Request{Tags: []string{"pruned:1"}}); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Remove(t.Context(), "pruned:1"); err != nil {
		t.Fatal(err)
	}
	out, _, err := r.build(files, build.Request{Tags: []string{"pruned:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if !out.cached["[2/2] RUN echo kept > /a"] {
		t.Error("the cache went with the image")
	}
	if got := r.file("pruned:1", "a"); got != "kept\n" {
		t.Errorf("/a is %q after the image was removed and built again", got)
	}
	r.emptied()
}

// emptied takes cache and images away and holds that nothing of them stays.
func (r *rig) emptied() {
	r.Helper()
	all, err := r.store.List(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	for _, img := range all {
		for _, ref := range append(img.Names, img.ID) {
			if err := r.store.Remove(r.Context(), ref); err != nil && !errors.Is(err, engine.ErrNotFound) {
				r.Fatal(err)
			}
		}
	}
	if _, err := r.builder.Prune(r.Context(), client.PruneInfo{All: true}); err != nil {
		r.Fatal(err)
	}
	dirs, err := os.ReadDir(r.store.Layers())
	if err != nil {
		r.Fatal(err)
	}
	if len(dirs) > 0 {
		r.Errorf("%d directories of snapshots are left", len(dirs))
	}
	blobs, err := filepath.Glob(filepath.Join(r.dir, "images", "content", "blobs", "*", "*"))
	if err != nil {
		r.Fatal(err)
	}
	// BuildKit remembers what builds have said for some time, as content.
	for _, b := range blobs {
		if st, err := os.Stat(b); err == nil && st.Size() > 64<<10 {
			r.Errorf("content %s of %d bytes is left", filepath.Base(b), st.Size())
		}
	}
}

// TestSharedLayers holds that layers of a base image are used where they are.
func TestSharedLayers(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	before, err := os.ReadDir(r.store.Layers())
	if err != nil {
		t.Fatal(err)
	}
	r.must("FROM "+busybox+"\nRUN echo x > /a\n", build.Request{Tags: []string{"shared:1"}})
	layers := 0
	err = r.store.Use(t.Context(), "shared:1", func(u imagestore.Run) error {
		layers = len(u.Lower)
		for _, d := range before {
			if d.Name()+"/fs" == u.Lower[layers-1] {
				return nil
			}
		}
		t.Errorf("the lowest layer %s is not that of the base image, %v", u.Lower[layers-1], before)
		return nil
	})
	if err != nil || layers != 2 {
		t.Errorf("%d layers, %v", layers, err)
	}
}

// TestCancel holds that a build ends with its caller, and takes its container along.
func TestCancel(t *testing.T) {
	r := newRig(t)
	r.loadBusybox()
	ctx, cancel := context.WithCancel(t.Context())
	q := build.Request{Context: r.context(map[string]string{"Dockerfile": "FROM " + busybox + "\nRUN echo begun; sleep 1000\n"})}
	_, err := r.builder.Build(ctx, q, func(s *client.SolveStatus) {
		for _, l := range s.Logs {
			if strings.Contains(string(l.Data), "begun") {
				cancel()
			}
		}
	})
	if err == nil {
		t.Fatal("the build did not fail")
	}
	// The caller does not wait for the container, which is being killed.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		entries, err := filepath.Glob(filepath.Join(r.dir, "build", "executor", "*", "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("containers are left: %v", entries)
		}
	}
}
