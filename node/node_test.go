package node

import (
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func mustQuantity(s string) resource.Quantity { return resource.MustParse(s) }

// bubble runs f with a started node in a bubble of fake time.
func bubble(t *testing.T, f func(r *rig)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dir)
		r.start()
		defer func() { r.stop() }()
		f(r)
	})
}

func one(c v1.Container) v1.PodSpec {
	if c.Name == "" {
		c.Name = "app"
	}
	return v1.PodSpec{Containers: []v1.Container{c}}
}

func TestPodRunsAndIsDeleted(t *testing.T) {
	bubble(t, func(r *rig) {
		r.make("web", one(v1.Container{}))
		r.wait(time.Millisecond)
		r.expect("web", "Running ready=True app:running")
		p := r.pod("web")
		if p.Status.PodIP != "10.244.0.2" || p.Status.HostIP != "192.0.2.1" || p.Status.StartTime == nil {
			t.Errorf("status %+v", p.Status)
		}
		if n := len(r.api.patches); n != 1 {
			t.Errorf("%d status writes, want 1: %v", n, r.api.patches)
		}
		r.hasEvent("web", `Pulled: Container image "busybox" already present on machine and can be accessed by the pod`)
		r.hasEvent("web", "Created: Container created")
		r.hasEvent("web", "Started: Container started")
		r.delete("web")
		r.wait(time.Second)
		r.expect("web", "gone")
		r.hasEvent("web", "Killing: Stopping container app")
		if d := r.engine.Dump(); d != "" {
			t.Errorf("left in the engine: %s", d)
		}
		if len(r.node.Pods()) != 0 {
			t.Error("the pod is still known")
		}
	})
}

func TestForcedDeletionWhileStopping(t *testing.T) {
	bubble(t, func(r *rig) {
		r.engine.Script(func() { r.engine.OnStart = ignoring })
		r.make("web", one(v1.Container{}))
		r.wait(time.Millisecond)
		r.delete("web")
		r.wait(3 * time.Second)
		r.expect("web", "Running ready=True app:running")
		r.delete("web", client.GracePeriodSeconds(0))
		r.expect("web", "gone")
		r.wait(3 * time.Second) // a small grace, then the kill
		if d := r.engine.Dump(); d != "" {
			t.Errorf("left in the engine: %s", d)
		}
	})
}

func TestCrashLoop(t *testing.T) {
	bubble(t, func(r *rig) {
		r.make("web", one(v1.Container{}))
		r.wait(time.Millisecond)
		r.engine.Exit(r.id("app"), 1)
		r.wait(time.Millisecond)
		r.expect("web", "Running ready=True app:runningx1")
		r.engine.Exit(r.id("app"), 1)
		r.wait(time.Second)
		r.expect("web", "Running ready=False app:CrashLoopBackOffx1")
		w := r.pod("web").Status.ContainerStatuses[0].State.Waiting
		if w.Message != "back-off 10s restarting failed container=app pod=web_default(uid-web)" {
			t.Errorf("message %q", w.Message)
		}
		r.hasEvent("web", "BackOff: Back-off restarting failed container app in pod web_default(uid-web)")
		r.wait(10 * time.Second)
		r.expect("web", "Running ready=True app:runningx2")
	})
}
