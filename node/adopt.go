package node

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/podspec"
)

// adopt takes over what an earlier process of this node made of the pod. Nothing
// is restarted: state comes from the engine's labels, and readiness from the
// status as it was last written until a probe says otherwise.
func (w *worker) adopt(a *adoption) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortFunc(a.sandboxes, func(x, y *engine.Sandbox) int { return x.CreatedAt.Compare(y.CreatedAt) })
	slices.SortFunc(a.containers, func(x, y *engine.Container) int {
		return cmp.Or(cmp.Compare(attemptOf(x), attemptOf(y)), x.CreatedAt.Compare(y.CreatedAt))
	})
	if n := len(a.sandboxes); n > 0 {
		w.sandbox = a.sandboxes[n-1].Spec.ID
		if i := strings.LastIndexByte(w.sandbox, '_'); i >= 0 {
			w.attempt, _ = strconv.Atoi(w.sandbox[i+1:])
		}
		w.obs.HadSandbox = true
	}
	if t := w.pod.Status.StartTime; t != nil {
		w.obs.StartTime = t.Time
	}
	for _, ip := range w.pod.Status.PodIPs {
		w.obs.IPs = append(w.obs.IPs, ip.IP)
	}
	for _, ec := range a.containers {
		w.adoptContainer(ec)
	}
	for name, c := range w.obs.Containers {
		w.restoreStatus(name, c)
	}
	if phase := w.pod.Status.Phase; phase == v1.PodSucceeded || phase == v1.PodFailed {
		w.obs.Failure = &lifecycle.Failure{Reason: w.pod.Status.Reason, Message: w.pod.Status.Message}
	}
	if w.sandbox == "" && len(a.containers) > 0 && w.obs.Failure == nil {
		w.anew() // the machine has restarted
	}
	if w.sandbox == "" || w.pod.DeletionTimestamp != nil || w.obs.Gone || w.obs.Failure != nil {
		return
	}
	// The pod is as good as set up; volumes and network are only looked up again.
	w.obs.SandboxReady, w.obs.Busy = true, true
	w.effect(w.setup)
}

func (w *worker) adoptContainer(ec *engine.Container) {
	name := ec.Spec.Labels[podspec.LabelContainer]
	c := w.container(name)
	if c.State == lifecycle.Exited {
		c.Last = c.Terminated()
	}
	fresh := lifecycle.Container{
		ID: ec.Spec.ID, State: lifecycle.Created, Attempt: attemptOf(ec), Last: c.Last,
		Image: ec.Spec.Image, ImageID: imageID(ec), Hash: ec.Spec.Labels[podspec.LabelHash],
	}
	*c = fresh
	w.ids[name] = append(w.ids[name], ec.Spec.ID)
	switch ec.State {
	case engine.Running, engine.Exited:
		w.apply(name, c, ec)
	default:
		// It never ran: as if it were not there, save that it is to be removed.
		c.State = lifecycle.None
	}
}

// restoreStatus takes from the last written status what the engine does not know.
func (w *worker) restoreStatus(name string, c *lifecycle.Container) {
	for _, list := range [][]v1.ContainerStatus{w.pod.Status.InitContainerStatuses, w.pod.Status.ContainerStatuses, w.pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			s := &list[i]
			if s.Name != name {
				continue
			}
			c.Attempt = max(c.Attempt, int(s.RestartCount))
			c.Resources, c.User = s.Resources, s.User
			if s.ContainerID == "containerd://"+c.ID {
				c.Image, c.ImageID = s.Image, s.ImageID
				if c.State == lifecycle.Running {
					c.Ready = s.Ready
					c.Started = s.Started != nil && *s.Started
				}
				if c.Last == nil {
					c.Last = s.LastTerminationState.Terminated
				}
			}
		}
	}
	if c.State == lifecycle.Running {
		w.startProbes(name, c)
	}
}

// pod describes an orphan well enough to end it.
func (a *adoption) pod(uid types.UID) *v1.Pod {
	pod := &v1.Pod{}
	pod.UID = uid
	labels := map[string]string{}
	if len(a.sandboxes) > 0 {
		labels = a.sandboxes[0].Spec.Labels
	}
	for _, c := range a.containers {
		labels = c.Spec.Labels
		name := labels[podspec.LabelContainer]
		if !slices.ContainsFunc(pod.Spec.Containers, func(c v1.Container) bool { return c.Name == name }) {
			pod.Spec.Containers = append(pod.Spec.Containers, v1.Container{Name: name, Image: c.Spec.Image})
		}
		if g, err := strconv.ParseInt(labels[podspec.LabelGrace], 10, 64); err == nil {
			pod.Spec.TerminationGracePeriodSeconds = &g
		}
	}
	pod.Name, pod.Namespace = labels[podspec.LabelPod], labels[podspec.LabelNamespace]
	pod.CreationTimestamp.Time = time.Time{}
	return pod
}

func imageID(c *engine.Container) string {
	if c.ImageRef != "" {
		return c.ImageRef
	}
	return c.ImageID
}
