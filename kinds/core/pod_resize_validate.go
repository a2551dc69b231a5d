package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validatePodResize judges a write of requests and limits through resize: cpu and
// memory may change, nothing may go.
func validatePodResize(p, old *v1.Pod) field.ErrorList {
	c := updateCheck(p, old)
	c.metadataAndSpec(p)
	if isMirror(&old.ObjectMeta) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == v1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	spec := field.NewPath("spec")
	was := old.Status.QOSClass
	if was == "" {
		was = QOSClass(old)
	}
	if was != QOSClass(p) {
		c.Invalid(spec, p.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	if !nodeCanResize(old) {
		c.Forbidden(spec, "Pod running on node without support for resize")
	}
	rest := p.Spec.DeepCopy()
	if podLevel(p) || podLevel(old) {
		c.resizePod(rest, old, spec)
	}
	if len(old.Status.NodeAllocatableResourceClaimStatuses) > 0 {
		c.Forbidden(spec, "pods with node allocatable resource claims cannot be resized")
	}
	ordered := c.sameNames(p.Spec.Containers, old.Spec.Containers, "containers", spec)
	if !c.sameNames(p.Spec.InitContainers, old.Spec.InitContainers, "initContainers", spec) || !ordered {
		return c.Errors()
	}
	for i := range old.Spec.InitContainers {
		c.nothingRemoved(&p.Spec.InitContainers[i].Resources, &old.Spec.InitContainers[i].Resources, spec.Child("initContainers").Index(i).Child("resources"))
	}
	for i := range old.Spec.Containers {
		c.nothingRemoved(&p.Spec.Containers[i].Resources, &old.Spec.Containers[i].Resources, spec.Child("containers").Index(i).Child("resources"))
	}
	c.resizeContainers(rest, &old.Spec, spec)
	if len(c.List) == 0 && !equality.Semantic.DeepEqual(*rest, old.Spec) {
		c.Forbidden(spec, "only cpu and memory resources are mutable")
	}
	return c.Errors()
}

// resizeContainers wants rest to differ from old in cpu and memory alone, and takes
// these differences out of rest.
func (c *podCheck) resizeContainers(rest, old *v1.PodSpec, spec *field.Path) {
	for i := range rest.Containers {
		ctr, was := &rest.Containers[i], &old.Containers[i]
		ctr.Resources = keepCompute(ctr.Resources, was.Resources)
		if !equality.Semantic.DeepEqual(ctr, was) {
			c.Forbidden(spec, "only cpu and memory resources are mutable")
		}
	}
	for i := range rest.InitContainers {
		ctr, was := &rest.InitContainers[i], &old.InitContainers[i]
		at := spec.Child("initContainers").Index(i)
		changed := !equality.Semantic.DeepEqual(ctr, was)
		ctr.Resources = keepCompute(ctr.Resources, was.Resources)
		if !equality.Semantic.DeepEqual(ctr, was) {
			c.Forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable")
		}
		if !changed || isSidecar(ctr) {
			continue
		}
		for _, policy := range ctr.ResizePolicy {
			if policy.RestartPolicy == v1.RestartContainer {
				c.Forbidden(at, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized")
			}
		}
	}
}

// keepCompute gives back old's cpu and memory to r. Claims cannot be kept.
func keepCompute(r, old v1.ResourceRequirements) v1.ResourceRequirements {
	return v1.ResourceRequirements{Limits: computeOf(r.Limits, old.Limits), Requests: computeOf(r.Requests, old.Requests)}
}

func computeOf(list, old v1.ResourceList) v1.ResourceList {
	if list == nil && old == nil {
		return nil
	}
	out := v1.ResourceList{}
	for name, q := range list {
		if name != v1.ResourceCPU && name != v1.ResourceMemory {
			out[name] = q
		}
	}
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		if q, ok := old[name]; ok {
			out[name] = q
		}
	}
	return out
}

func podLevel(p *v1.Pod) bool {
	r := p.Spec.Resources
	return r != nil && len(r.Requests)+len(r.Limits) > 0
}

// resizePod judges a change of the whole pod's resources and takes it out of rest.
func (c *podCheck) resizePod(rest *v1.PodSpec, old *v1.Pod, spec *field.Path) {
	is, was := c.spec.Resources, old.Spec.Resources
	path := spec.Child("resources")
	if was != nil {
		if is == nil {
			c.Forbidden(path, "pod-level resources cannot be removed")
			return
		}
		if removed(is.Requests, was.Requests) {
			c.Forbidden(path.Child("requests"), "pod-level resource requests cannot be removed")
		}
		if removed(is.Limits, was.Limits) {
			c.Forbidden(path.Child("limits"), "pod-level resource limits cannot be removed")
		}
	}
	if rest.Resources != nil {
		var before v1.ResourceRequirements
		if was != nil {
			before = *was
		}
		kept := keepCompute(*rest.Resources, before)
		kept.Claims = rest.Resources.Claims
		rest.Resources = &kept
		if was == nil && len(kept.Requests)+len(kept.Limits)+len(kept.Claims) == 0 {
			rest.Resources = nil
		}
	}
	if !equality.Semantic.DeepEqual(rest.Resources, was) {
		c.Forbidden(spec, "only cpu and memory resources are mutable at pod-level")
	}
}

// nodeCanResize says whether the pod's node reports resources of running
// containers, as those do that can change them.
func nodeCanResize(p *v1.Pod) bool {
	for i := range p.Status.ContainerStatuses {
		if s := &p.Status.ContainerStatuses[i]; s.State.Running != nil {
			return s.Resources != nil
		}
	}
	return true
}

func (c *podCheck) sameNames(list, old []v1.Container, what string, spec *field.Path) bool {
	path := spec.Child(what)
	if len(list) != len(old) {
		c.Forbidden(path, what+" may not be added or removed on resize")
		return false
	}
	same := true
	for i := range old {
		if list[i].Name != old[i].Name {
			c.Forbidden(path.Index(i).Child("name"), what+" may not be renamed or reordered on resize")
			same = false
		}
	}
	return same
}

func (c *podCheck) nothingRemoved(r, old *v1.ResourceRequirements, path *field.Path) {
	if removed(r.Requests, old.Requests) {
		c.Forbidden(path.Child("requests"), "resource requests cannot be removed")
	}
	if removed(r.Limits, old.Limits) {
		c.Forbidden(path.Child("limits"), "resource limits cannot be removed")
	}
}

func removed(list, old v1.ResourceList) bool {
	for name := range old {
		if _, ok := list[name]; !ok {
			return true
		}
	}
	return false
}
