package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"skiff.dev/skiff/engine"
)

func TestFakeLifecycle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pod", "0.log")
	synctest.Test(t, func(t *testing.T) {
		f := NewFake("busybox")
		f.OnStart = func(s engine.ContainerSpec) (Program, error) {
			if s.Name == "web" {
				return nil, nil
			}
			return func(ctx context.Context, p *Process) int {
				io.WriteString(p.Stdout, "hello\nwor")
				io.WriteString(p.Stderr, "bad\n")
				<-p.Signals
				io.WriteString(p.Stdout, "ld")
				return 3
			}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		events := f.Events(ctx)
		c, err := f.Create(ctx, engine.ContainerSpec{Image: "busybox", LogPath: path})
		if err != nil {
			t.Fatal(err)
		}
		id := c.Spec.ID
		if err := f.Start(ctx, id); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := f.Remove(ctx, id, false); !errors.Is(err, engine.ErrRunning) {
			t.Fatalf("remove of a running container: %v", err)
		}
		if err := f.Stop(ctx, id, time.Second); err != nil {
			t.Fatal(err)
		}
		c, err = f.Get(ctx, id)
		if err != nil || c.State != engine.Exited || c.ExitCode != 3 {
			t.Fatalf("%+v, %v", c, err)
		}
		log, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(log), "stdout F hello\n") || !strings.Contains(string(log), "stdout F world\n") || !strings.Contains(string(log), "stderr F bad\n") {
			t.Fatalf("%s, %v", log, err)
		}
		if _, err := f.Create(ctx, engine.ContainerSpec{Image: "nothing"}); !errors.Is(err, engine.ErrNotFound) {
			t.Fatalf("create without image: %v", err)
		}
		if _, err := f.Create(ctx, engine.ContainerSpec{ID: "w", Name: "web", Image: "busybox"}); err != nil {
			t.Fatal(err)
		}
		if err := f.Start(ctx, "w"); err != nil {
			t.Fatal(err)
		}
		if err := f.Stop(ctx, "web", time.Minute); err != nil {
			t.Fatal(err)
		}
		if c, _ := f.Get(ctx, "w"); c.ExitCode != 143 {
			t.Fatalf("exit code %d after SIGTERM", c.ExitCode)
		}
		if err := f.Remove(ctx, "w", false); err != nil {
			t.Fatal(err)
		}
		var got []string
		cancel()
		for e := range events {
			got = append(got, string(e.Type))
		}
		if s := strings.Join(got, " "); s != "created started exited created started exited removed" {
			t.Fatalf("events: %s", s)
		}
	})
}

func TestFakeKillAfterGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFake("busybox")
		f.OnStart = func(engine.ContainerSpec) (Program, error) { return IgnoresSignals(), nil }
		if _, err := f.Create(t.Context(), engine.ContainerSpec{ID: "a", Image: "busybox"}); err != nil {
			t.Fatal(err)
		}
		if err := f.Start(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := f.Stop(t.Context(), "a", 30*time.Second); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 30*time.Second {
			t.Fatalf("killed after %v", took)
		}
		if c, _ := f.Get(t.Context(), "a"); c.ExitCode != 137 {
			t.Fatalf("exit code %d", c.ExitCode)
		}
	})
}

func TestFakeAttach(t *testing.T) {
	f := NewFake("busybox")
	f.OnStart = func(engine.ContainerSpec) (Program, error) {
		return func(ctx context.Context, p *Process) int {
			io.Copy(p.Stdout, p.Stdin)
			return 0
		}, nil
	}
	ctx := t.Context()
	if _, err := f.Create(ctx, engine.ContainerSpec{ID: "a", Image: "busybox", Stdin: true, StdinOnce: true}); err != nil {
		t.Fatal(err)
	}
	if err := f.Start(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := f.Attach(ctx, "a", engine.Streams{Stdin: strings.NewReader("echo"), Stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "echo" {
		t.Fatalf("got %q", out.String())
	}
}

func TestFakePull(t *testing.T) {
	f := NewFake()
	f.AddRemote("registry.local:5000/app:v1", ImageConfig("/app"))
	img, err := f.Images().Pull(t.Context(), "registry.local:5000/app:v1", engine.PullOptions{})
	if err != nil || len(img.Names) != 1 {
		t.Fatalf("%+v, %v", img, err)
	}
	for _, ref := range []string{img.ID, img.ID[7:19], "registry.local:5000/app@" + img.Digest} {
		if got, err := f.Images().Get(t.Context(), ref); err != nil || got.ID != img.ID {
			t.Errorf("get %s: %v", ref, err)
		}
	}
	_, err = f.Images().Pull(t.Context(), "nope", engine.PullOptions{})
	var pe *engine.PullError
	if !errors.As(err, &pe) || pe.Reason != engine.PullNotFound {
		t.Fatalf("got %v", err)
	}
}
