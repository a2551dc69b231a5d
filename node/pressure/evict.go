package pressure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
)

// critical is the priority from which on a pod is not evicted
// (scheduling.SystemCriticalPriority).
const critical = 2000000000

// Pod is a running pod with what it uses.
type Pod struct {
	Pod        *v1.Pod
	Static     bool // of this node's own, not asked for through the API
	Containers []Container
	Volumes    []Volume // of the kind emptyDir, as far as they were measured
	Disk       int64    // bytes: writable layers, logs, emptyDirs on disk
}

// Container is what a container of a pod uses.
type Container struct {
	Name         string
	Memory, Disk int64 // bytes; Disk is the writable layer with the logs
}

// Volume is what an emptyDir uses.
type Volume struct {
	Name string
	Used int64
}

func (p *Pod) memory() (sum int64) {
	for _, c := range p.Containers {
		sum += c.Memory
	}
	return sum
}

// Evictable tells whether a pod may be evicted: static pods and those critical to
// the cluster may not.
func Evictable(p *v1.Pod, static bool) bool {
	return !static && (p.Spec.Priority == nil || *p.Spec.Priority < critical)
}

// Victim chooses the pod to evict for a threshold that is met, and says why: first
// those that use more than they requested, of these the lowest priority, of these
// the one that is over its request by most. nil where none may be evicted.
func Victim(t Threshold, pods []Pod) (victim *Pod, message string) {
	name, usage := v1.ResourceMemory, (*Pod).memory
	switch t.Signal {
	case Memory:
	case Disk, Inodes:
		name, usage = v1.ResourceEphemeralStorage, func(p *Pod) int64 { return p.Disk }
	default:
		return nil, ""
	}
	over := func(p *Pod) int64 {
		q := podresource.PodRequests(p.Pod, podresource.PodResourcesOptions{})[name]
		return usage(p) - q.Value()
	}
	candidates := make([]*Pod, 0, len(pods))
	for i := range pods {
		if Evictable(pods[i].Pod, pods[i].Static) {
			candidates = append(candidates, &pods[i])
		}
	}
	if len(candidates) == 0 {
		return nil, ""
	}
	exceeds := func(p *Pod) int {
		if over(p) > 0 {
			return 0
		}
		return 1
	}
	victim = slices.MinFunc(candidates, func(a, b *Pod) int {
		return cmp.Or(cmp.Compare(exceeds(a), exceeds(b)), cmp.Compare(priority(a.Pod), priority(b.Pod)), cmp.Compare(over(b), over(a)))
	})
	return victim, t.message() + consumption(victim, name)
}

func priority(p *v1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// consumption names the containers that use more than they requested.
func consumption(p *Pod, name v1.ResourceName) string {
	var b strings.Builder
	for _, c := range p.Containers {
		used := c.Memory
		if name == v1.ResourceEphemeralStorage {
			used = c.Disk
		}
		request := resource.Quantity{}
		for i := range p.Pod.Spec.Containers {
			if p.Pod.Spec.Containers[i].Name == c.Name {
				request = p.Pod.Spec.Containers[i].Resources.Requests[name]
			}
		}
		if used > request.Value() {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %v. ",
				c.Name, kibi(used, resource.BinarySI), request.String(), name)
		}
	}
	return b.String()
}

// Limited tells whether anything of the pod's use of the disk is limited, so that it
// has to be measured.
func Limited(p *v1.Pod) bool {
	for i := range p.Spec.Volumes {
		if SizeLimit(&p.Spec.Volumes[i]) > 0 {
			return true
		}
	}
	for i := range p.Spec.Containers {
		if !p.Spec.Containers[i].Resources.Limits.StorageEphemeral().IsZero() {
			return true
		}
	}
	return false
}

// SizeLimit is the limit of an emptyDir on disk, or 0. One in memory is limited by
// its filesystem.
func SizeLimit(v *v1.Volume) int64 {
	if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.Medium == v1.StorageMediumMemory {
		return 0
	}
	return v.EmptyDir.SizeLimit.Value()
}

// OverLimit says why a pod is to be evicted for its own limits of local storage, or
// "": an emptyDir over its sizeLimit, the pod over the limits of all of its
// containers, one container over its own.
func OverLimit(p *Pod) string {
	for _, v := range p.Volumes {
		for i := range p.Pod.Spec.Volumes {
			spec := &p.Pod.Spec.Volumes[i]
			if limit := SizeLimit(spec); spec.Name == v.Name && limit > 0 && v.Used > limit {
				return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, spec.EmptyDir.SizeLimit.String())
			}
		}
	}
	limits := podresource.PodLimits(p.Pod, podresource.PodResourcesOptions{})
	if all := limits[v1.ResourceEphemeralStorage]; !all.IsZero() && p.Disk > all.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", all.String())
	}
	for _, c := range p.Containers {
		for i := range p.Pod.Spec.Containers {
			spec := &p.Pod.Spec.Containers[i]
			limit := spec.Resources.Limits[v1.ResourceEphemeralStorage]
			if spec.Name == c.Name && !limit.IsZero() && c.Disk > limit.Value() {
				return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String())
			}
		}
	}
	return ""
}
