package node

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/podspec"
)

// resizing is one container whose resources have changed.
type resizing struct {
	name, id string
	want     *v1.ResourceRequirements
}

// resize applies changed resources to running instances, in place. w.mu is held.
func (w *worker) resize(pod *v1.Pod) {
	if !w.obs.TornDown && w.obs.Failure == nil {
		w.n.classes.set(w.n, pod)
	}
	var changed []resizing
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		st := w.container(c.Name)
		if st.State != lifecycle.Running || st.Resources == nil || equality.Semantic.DeepEqual(*st.Resources, c.Resources) {
			continue
		}
		changed = append(changed, resizing{c.Name, st.ID, c.Resources.DeepCopy()})
	}
	if len(changed) > 0 {
		w.effect(func() { w.applyResize(pod, changed) })
	}
}

// applyResize changes the pod's group before its containers', for limits that grow,
// and again after them, for limits that the kernel refuses to make smaller than
// those below.
func (w *worker) applyResize(pod *v1.Pod, changed []resizing) {
	whole := func() error { return nil }
	if g := w.n.classes.groups; g != nil {
		whole = func() error { return g.SetGroup(w.ctx, podspec.CgroupParent(pod), podspec.PodResources(pod)) }
	}
	first := whole()
	for _, c := range changed {
		if err := w.n.o.Engine.Update(w.ctx, c.id, podspec.ContainerResources(c.want)); err != nil {
			w.n.containerEvent(pod, c.name, v1.EventTypeWarning, "ResizeError", "Error resizing container: %v", err)
			continue
		}
		w.mu.Lock()
		if st := w.container(c.name); st.ID == c.id {
			st.Resources = c.want
		}
		w.mu.Unlock()
	}
	if first == nil {
		return
	}
	if err := whole(); err != nil && w.ctx.Err() == nil {
		w.n.event(pod, v1.EventTypeWarning, "ResizeError", "Error resizing pod: %v", err)
	}
}
