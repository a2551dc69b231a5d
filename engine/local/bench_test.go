package local

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"skiff.dev/skiff/engine"
)

func benchEngine(b *testing.B) *Local {
	b.Helper()
	l := open(b, options(b))
	load(b, l)
	return l
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCreateStart is the budget's figure: a created, started busybox.
func BenchmarkCreateStart(b *testing.B) {
	l := benchEngine(b)
	ctx := context.Background()
	spec := engine.ContainerSpec{Image: "busybox", Command: []string{"/bin/busybox", "sleep", "1000"}}
	for b.Loop() {
		c, err := l.Create(ctx, spec)
		must(b, err)
		must(b, l.Start(ctx, c.Spec.ID))
		b.StopTimer()
		must(b, l.Remove(ctx, c.Spec.ID, true))
		b.StartTimer()
	}
}

// BenchmarkRunToEnd is create, start, exit and remove of a busybox.
func BenchmarkRunToEnd(b *testing.B) {
	l := benchEngine(b)
	ctx := context.Background()
	events := l.Events(ctx)
	for b.Loop() {
		c, err := l.Create(ctx, engine.ContainerSpec{Image: "busybox", Command: []string{"/bin/busybox", "true"}})
		must(b, err)
		must(b, l.Start(ctx, c.Spec.ID))
		for e := range events {
			if e.Type == engine.EventExited && e.ID == c.Spec.ID {
				break
			}
		}
		must(b, l.Remove(ctx, c.Spec.ID, false))
	}
}

// BenchmarkExec is a `true` in a running container.
func BenchmarkExec(b *testing.B) {
	l := benchEngine(b)
	ctx := context.Background()
	c, err := l.Create(ctx, engine.ContainerSpec{Image: "busybox", Command: []string{"/bin/busybox", "sleep", "1000"}})
	must(b, err)
	must(b, l.Start(ctx, c.Spec.ID))
	for b.Loop() {
		code, err := l.Exec(ctx, c.Spec.ID, engine.ExecSpec{Args: []string{"/bin/busybox", "true"}}, engine.Streams{})
		if must(b, err); code != 0 {
			b.Fatal(code)
		}
	}
}

// BenchmarkFiftyPods starts 50 sandboxes with a container each, at once, and tells
// what the monitor then weighs.
func BenchmarkFiftyPods(b *testing.B) {
	l := benchEngine(b)
	ctx := context.Background()
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				id := fmt.Sprintf("pod%d", i)
				_, err := l.CreateSandbox(ctx, engine.SandboxSpec{ID: id, Hostname: id, CgroupParent: "pods/" + id})
				if err == nil {
					_, err = l.Create(ctx, engine.ContainerSpec{ID: id, Sandbox: id, Image: "busybox", Command: []string{"/bin/busybox", "sleep", "1000"}, LogPath: b.TempDir() + "/" + id + ".log"})
				}
				if err == nil {
					err = l.Start(ctx, id)
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		b.StopTimer()
		h, err := l.mon.Ensure(ctx)
		must(b, err)
		rss, anon := memory(h.PID)
		b.ReportMetric(rss, "monitor-RSS-MB")
		b.ReportMetric(anon, "monitor-anon-MB")
		for i := range 50 {
			wg.Go(func() { l.RemoveSandbox(ctx, fmt.Sprintf("pod%d", i)) })
		}
		wg.Wait()
		b.StartTimer()
	}
}

func memory(pid int) (rss, anon float64) {
	st, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(st)) {
		var kb float64
		if n, _ := fmt.Sscanf(line, "VmRSS: %f", &kb); n == 1 {
			rss = kb / 1024
		}
		if n, _ := fmt.Sscanf(line, "RssAnon: %f", &kb); n == 1 {
			anon = kb / 1024
		}
	}
	return rss, anon
}
