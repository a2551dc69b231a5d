package node

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/podspec"
)

// resize applies changed resources to running instances, in place. w.mu is held.
func (w *worker) resize(pod *v1.Pod) {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		st := w.container(c.Name)
		if st.State != lifecycle.Running || st.Resources == nil || equality.Semantic.DeepEqual(*st.Resources, c.Resources) {
			continue
		}
		id, name, want := st.ID, c.Name, c.Resources.DeepCopy()
		w.effect(func() {
			err := w.n.o.Engine.Update(w.ctx, id, podspec.ContainerResources(want))
			if err != nil {
				w.n.containerEvent(pod, name, v1.EventTypeWarning, "ResizeError", "Error resizing container: %v", err)
				return
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if st := w.container(name); st.ID == id {
				st.Resources = want
			}
		})
	}
}
