package node

import (
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/node/lifecycle"
)

// sandboxGone tells the pod whose sandbox is of no use any more.
func (n *Node) sandboxGone(id string) {
	i := strings.LastIndexByte(id, '_')
	if i < 0 {
		return
	}
	n.mu.Lock()
	w := n.workers[types.UID(id[:i])]
	n.mu.Unlock()
	if w != nil {
		w.sandboxGone(id)
	}
}

func (w *worker) sandboxGone(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sandbox != id || w.lostSandbox == id || w.closed || w.ending || w.obs.TornDown || w.pod.DeletionTimestamp != nil || w.obs.Gone || w.obs.Failure != nil {
		return
	}
	if !w.anew() {
		return
	}
	w.lostSandbox = id
	w.n.event(w.pod, v1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	w.kickLocked()
}

// anew marks everything as belonging to a sandbox that is gone, so that the pod is
// set up again, its init containers included; it reports whether that is to be: a
// pod that has finished, or whose containers never restart, only ends
// (computePodActions in pkg/kubelet/kuberuntime of Kubernetes). w.mu is held.
func (w *worker) anew() bool {
	if lifecycle.Finished(w.pod, &w.obs) {
		return false
	}
	if w.pod.Spec.RestartPolicy == v1.RestartPolicyNever {
		for _, c := range w.obs.Containers {
			if c.State != lifecycle.None || c.Last != nil {
				return false
			}
		}
	}
	w.obs.SandboxReady = false
	for _, c := range w.obs.Containers {
		c.Stale = c.State != lifecycle.None || c.Last != nil
		if c.Waiting != nil && c.Waiting.Reason == reasonCreateError {
			// It was to be made in that sandbox.
			c.Waiting, c.NotBefore, c.Crash = nil, time.Time{}, c.CrashBefore
		}
	}
	return true
}
