package node

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

func TestSandboxLost(t *testing.T) {
	lose := func(r *rig) {
		t.Helper()
		all, err := r.engine.Sandboxes(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if err := r.engine.RemoveSandbox(t.Context(), all[0].Spec.ID); err != nil {
			t.Fatal(err)
		}
		r.wait(time.Second)
	}
	withInit := func() v1.PodSpec {
		return v1.PodSpec{InitContainers: []v1.Container{{Name: "init"}}, Containers: []v1.Container{{Name: "app"}}}
	}
	t.Run("always", func(t *testing.T) {
		bubble(t, func(r *rig) {
			r.make("web", withInit())
			r.wait(time.Second)
			r.engine.Exit(r.id("init"), 0)
			r.wait(time.Second)
			r.expect("web", "Running ready=True init:Completed(0) app:running")
			lose(r)
			r.hasEvent("web", "SandboxChanged: Pod sandbox changed, it will be killed and re-created.")
			r.expect("web", "Pending ready=False init:runningx1 app:Error(137)")
			r.engine.Exit(r.id("init"), 0)
			r.wait(time.Second)
			r.expect("web", "Running ready=True init:Completed(0)x1 app:runningx1")
			all, _ := r.engine.Sandboxes(t.Context())
			if len(all) != 1 || all[0].Spec.ID != "uid-web_1" {
				t.Errorf("%+v", all)
			}
			// And once more, by a restart of the machine.
			r.stop()
			r.engine.Reboot()
			r.start()
			r.wait(time.Second)
			r.engine.Exit(r.id("init"), 0)
			r.wait(time.Second)
			r.expect("web", "Running ready=True init:Completed(0)x2 app:runningx2")
		})
	})
	t.Run("never", func(t *testing.T) {
		bubble(t, func(r *rig) {
			spec := one(v1.Container{})
			spec.RestartPolicy = v1.RestartPolicyNever
			r.make("job", spec)
			r.wait(time.Second)
			lose(r)
			r.expect("job", "Failed ready=False app:Error(137)")
			if all, _ := r.engine.Sandboxes(t.Context()); len(all) != 0 {
				t.Errorf("%+v", all)
			}
		})
	})
}
