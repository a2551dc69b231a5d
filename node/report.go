package node

import (
	"context"
	"encoding/json"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/node/lifecycle"
)

// quickStart is how long what a set-up or a start passes through stays unwritten:
// most end sooner, and one write then says it all.
const quickStart = 150 * time.Millisecond

// report writes the pod's status where it differs from what the API has. w.mu is
// held, and let go during the write.
func (w *worker) report(now time.Time) {
	if w.obs.Gone || w.static && w.mirror == "" {
		return
	}
	status := lifecycle.Status(w.pod, &w.obs, now)
	base := w.written
	if base == nil {
		base = &w.pod.Status
	}
	if equality.Semantic.DeepEqual(&status, base) {
		w.written = &status
		return
	}
	if w.soon(now) {
		return
	}
	pod := w.pod
	if w.static {
		shown := *pod
		shown.UID = w.mirror
		pod = &shown
	}
	w.mu.Unlock()
	err := w.n.writeStatus(w.ctx, pod, base, &status)
	w.mu.Lock()
	switch {
	case err == nil:
		w.written = &status
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err) && w.ctx.Err() == nil:
		// The informer tells what became of it.
		w.n.log.Debug("pod status not written", "pod", pod.Name, "namespace", pod.Namespace, "error", err)
	case w.ctx.Err() != nil:
	default:
		w.n.log.Warn("cannot write pod status; trying again", "pod", pod.Name, "namespace", pod.Namespace, "error", err)
		time.AfterFunc(time.Second, w.kick)
	}
}

// soon tells that a set-up or a start has begun just now and that its end is worth
// waiting for; it sees to it that nobody waits long.
func (w *worker) soon(now time.Time) bool {
	if !w.obs.Busy {
		return false
	}
	left := quickStart - now.Sub(w.busySince)
	if left <= 0 {
		return false
	}
	if w.timer == nil {
		w.wakeAt(now.Add(left), now)
	}
	return true
}

// writeStatus patches the status subresource with the difference alone.
func (n *Node) writeStatus(ctx context.Context, pod *v1.Pod, old, status *v1.PodStatus) error {
	patch, err := statusPatch(pod, old, status)
	if err != nil || patch == nil {
		return err
	}
	target := &v1.Pod{}
	target.Namespace, target.Name = pod.Namespace, pod.Name
	return n.o.Client.Status().Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, patch))
}

// statusPatch is a strategic merge patch that holds only if the pod is still the
// same one; nil where there is nothing to say.
func statusPatch(pod *v1.Pod, old, status *v1.PodStatus) ([]byte, error) {
	before, err := json.Marshal(v1.Pod{Status: *old})
	if err != nil {
		return nil, err
	}
	after, err := json.Marshal(v1.Pod{Status: *status})
	if err != nil {
		return nil, err
	}
	diff, err := strategicpatch.CreateTwoWayMergePatch(before, after, v1.Pod{})
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := json.Unmarshal(diff, &m); err != nil {
		return nil, err
	}
	if len(m) == 0 {
		return nil, nil
	}
	m["metadata"] = map[string]any{"uid": pod.UID}
	return json.Marshal(m)
}
