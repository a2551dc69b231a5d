package node

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
	"skiff.dev/skiff/node/pressure"
)

func TestEvictionForMemory(t *testing.T) {
	bubble(t, func(r *rig) {
		var free atomic.Int64
		free.Store(8 << 30)
		r.setMeasure(func() pressure.Measured {
			return pressure.Measured{MemoryFree: free.Load(), MemoryTotal: 8 << 30}
		})
		r.engine.Script(func() {
			r.engine.OnStats = func(s engine.ContainerSpec) (*engine.Stats, error) {
				if s.Labels["io.kubernetes.pod.name"] == "big" {
					return &engine.Stats{MemoryWorkingSet: 3 << 30}, nil
				}
				return &engine.Stats{MemoryWorkingSet: 1 << 20}, nil
			}
		})
		r.make("big", one(v1.Container{Name: "big"}))
		r.make("small", one(v1.Container{Name: "small"}))
		r.wait(time.Second)
		r.expect("big", "Running ready=True big:running")
		free.Store(50 << 20)
		r.wait(leaseInterval + time.Second)
		r.expect("big", "Failed(Evicted) ready=False big:Error(143)")
		r.expect("small", "Running ready=True small:running")
		r.hasEvent("n1", "Starting: Starting kubelet.")
		r.hasEvent("n1", "NodeReady: Node n1 status is now: NodeReady")
		r.hasEvent("n1", "NodeHasInsufficientMemory: Node n1 status is now: NodeHasInsufficientMemory")
		const why = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. Container big was using 3145728Ki, request is 0, has larger consumption of memory. "
		if m := r.pod("big").Status.Message; m != why {
			t.Errorf("message %q", m)
		}
		r.hasEvent("big", "Evicted: "+why)
		var disrupted *v1.PodCondition
		for _, c := range r.pod("big").Status.Conditions {
			if c.Type == v1.DisruptionTarget {
				disrupted = &c
			}
		}
		if disrupted == nil || disrupted.Status != v1.ConditionTrue || disrupted.Reason != "TerminationByKubelet" {
			t.Errorf("%+v", disrupted)
		}
		free.Store(8 << 30)
		r.wait(leaseInterval)
		r.make("late", one(v1.Container{Name: "late"}))
		r.wait(time.Second)
		r.expect("late", "Failed(Evicted) ready=False")
		if m := r.pod("late").Status.Message; m != "Pod was rejected: The node had condition: [MemoryPressure]. " {
			t.Errorf("%q", m)
		}
		r.wait(pressure.Transition + leaseInterval)
		r.make("later", one(v1.Container{Name: "later"}))
		r.wait(time.Second)
		r.expect("later", "Running ready=True later:running")
	})
}

func TestEvictionForSizeLimit(t *testing.T) {
	bubble(t, func(r *rig) {
		r.vols.dir = t.TempDir()
		limit := mustQuantity("64Ki")
		spec := one(v1.Container{})
		spec.Volumes = []v1.Volume{{Name: "scratch", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		r.make("web", spec)
		r.wait(leaseInterval * 2)
		r.expect("web", "Running ready=True app:running")
		dir := filepath.Join(r.vols.dir, "volumes", "scratch")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(strings.Repeat("x", 100<<10)), 0o644); err != nil {
			t.Fatal(err)
		}
		r.wait(leaseInterval + time.Second)
		r.expect("web", "Failed(Evicted) ready=False app:Error(143)")
		r.hasEvent("web", `Evicted: Usage of EmptyDir volume "scratch" exceeds the limit "64Ki". `)
	})
}

func TestImagesAreDeletedWhenTheDiskIsFull(t *testing.T) {
	bubble(t, func(r *rig) {
		pull := func(names ...string) {
			for _, n := range names {
				r.engine.AddRemote(n, enginetest.ImageConfig("/"+n))
				if _, err := r.engine.Images().Pull(t.Context(), n, engine.PullOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		pull("used", "old")
		var free atomic.Int64
		free.Store(90 << 30)
		r.setMeasure(func() pressure.Measured {
			return pressure.Measured{DiskFree: free.Load(), DiskTotal: 100 << 30}
		})
		r.make("web", one(v1.Container{Image: "used"}))
		r.wait(imagePeriod + leaseInterval)
		free.Store(10 << 30)
		r.wait(imagePeriod + leaseInterval)
		for name, want := range map[string]bool{"used": true, "old": false} {
			if _, err := r.engine.Images().Get(t.Context(), name); (err == nil) != want {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
