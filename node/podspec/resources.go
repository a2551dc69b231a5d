package podspec

import (
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
)

const (
	minShares   = 2
	maxShares   = 262144
	cpuPeriod   = 100000
	minQuota    = 1000
	criticalMin = 2000000000 // priority from which on a pod is critical to the node
)

// QoS is a pod's class: of the status where the server wrote it, else computed by
// the rules of
// https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
func QoS(pod *v1.Pod) v1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	guaranteed, any := true, false
	if r := pod.Spec.Resources; r != nil {
		look(r, &guaranteed, &any)
	} else {
		for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
			for i := range list {
				look(&list[i].Resources, &guaranteed, &any)
			}
		}
	}
	switch {
	case !any:
		return v1.PodQOSBestEffort
	case guaranteed:
		return v1.PodQOSGuaranteed
	}
	return v1.PodQOSBurstable
}

func look(r *v1.ResourceRequirements, guaranteed, any *bool) {
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		req, limit := r.Requests[name], r.Limits[name]
		if !req.IsZero() || !limit.IsZero() {
			*any = true
		}
		if limit.IsZero() || (!req.IsZero() && req.Cmp(limit) != 0) {
			*guaranteed = false
		}
	}
}

// CgroupParent is the path of a pod's control group below the engine's root.
func CgroupParent(pod *v1.Pod) string {
	p := "kubepods/"
	if q := QoS(pod); q != v1.PodQOSGuaranteed {
		p += strings.ToLower(string(q)) + "/"
	}
	return p + "pod" + string(pod.UID)
}

// Shares converts thousandths of a core into the kernel's CPU shares.
func Shares(milli int64) int64 {
	if milli <= 0 {
		return minShares
	}
	return min(max(milli*1024/1000, minShares), maxShares)
}

func quota(milli int64) int64 {
	if milli <= 0 {
		return 0
	}
	return max(milli*cpuPeriod/1000, minQuota)
}

// ContainerResources are the limits of one container.
func ContainerResources(r *v1.ResourceRequirements) engine.Resources {
	cpu, ok := r.Requests[v1.ResourceCPU]
	if limit, has := r.Limits[v1.ResourceCPU]; !ok && has {
		cpu = limit
	}
	out := engine.Resources{CPUShares: Shares(cpu.MilliValue())}
	if l, ok := r.Limits[v1.ResourceCPU]; ok && !l.IsZero() {
		out.CPUQuota, out.CPUPeriod = quota(l.MilliValue()), cpuPeriod
	}
	if l, ok := r.Limits[v1.ResourceMemory]; ok && !l.IsZero() {
		out.Memory, out.MemorySwap = l.Value(), l.Value()
	}
	for name, q := range r.Limits {
		size, ok := strings.CutPrefix(string(name), v1.ResourceHugePagesPrefix)
		if !ok {
			continue
		}
		if n, err := resource.ParseQuantity(size); err == nil {
			if out.HugePages == nil {
				out.HugePages = map[string]int64{}
			}
			out.HugePages[pageSize(n.Value())] = q.Value()
		}
	}
	return out
}

// pageSize names a huge page size as the kernel does.
func pageSize(n int64) string {
	units := []string{"B", "KB", "MB", "GB"}
	i := 0
	for n >= 1024 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return resource.NewQuantity(n, resource.DecimalSI).String() + units[i]
}

// PodResources are the limits of a pod as a whole: a limit holds only if every
// container has one.
func PodResources(pod *v1.Pod) engine.Resources {
	requests := podresource.PodRequests(pod, podresource.PodResourcesOptions{})
	cpuLimited, memLimited := true, true
	limits := podresource.PodLimits(pod, podresource.PodResourcesOptions{
		ContainerFn: func(l v1.ResourceList, _ podresource.ContainerType) {
			if q := l[v1.ResourceCPU]; q.IsZero() {
				cpuLimited = false
			}
			if q := l[v1.ResourceMemory]; q.IsZero() {
				memLimited = false
			}
		},
	})
	if r := pod.Spec.Resources; r != nil {
		if q := r.Limits[v1.ResourceCPU]; !q.IsZero() {
			cpuLimited = true
		}
		if q := r.Limits[v1.ResourceMemory]; !q.IsZero() {
			memLimited = true
		}
	}
	cpu := requests[v1.ResourceCPU]
	out := engine.Resources{CPUShares: Shares(cpu.MilliValue())}
	if QoS(pod) == v1.PodQOSBestEffort {
		return engine.Resources{CPUShares: minShares}
	}
	if q := limits[v1.ResourceCPU]; cpuLimited && !q.IsZero() {
		out.CPUQuota, out.CPUPeriod = quota(q.MilliValue()), cpuPeriod
	}
	if q := limits[v1.ResourceMemory]; memLimited && !q.IsZero() {
		out.Memory = q.Value()
	}
	return out
}

// OOMScore is how readily the kernel kills a container when memory is short.
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/#node-out-of-memory-behavior
func OOMScore(pod *v1.Pod, c *v1.Container, k lifecycle.Kind, memoryCapacity int64) int {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= criticalMin {
		return -997
	}
	switch QoS(pod) {
	case v1.PodQOSGuaranteed:
		return -997
	case v1.PodQOSBestEffort:
		return 1000
	}
	score := burstableScore(c, memoryCapacity)
	if k == lifecycle.Sidecar {
		// A sidecar is not to die before what it serves.
		for i := range pod.Spec.Containers {
			score = min(score, burstableScore(&pod.Spec.Containers[i], memoryCapacity))
		}
	}
	return score
}

func burstableScore(c *v1.Container, capacity int64) int {
	if capacity <= 0 {
		return 999
	}
	request := c.Resources.Requests[v1.ResourceMemory]
	score := 1000 - (1000*request.Value())/capacity
	if score < 3 {
		return 3
	}
	if score >= 1000 {
		return 999
	}
	return int(score)
}

// The groups above those of pods, below the engine's root.
const (
	GroupPods       = "kubepods"
	GroupBurstable  = GroupPods + "/burstable"
	GroupBestEffort = GroupPods + "/besteffort"
)

// ClassGroups are the limits of the groups above pods that do not depend on pods:
// what the node can give away, and the smallest share for best-effort pods.
func ClassGroups(allocatable v1.ResourceList) map[string]engine.Resources {
	all := engine.Resources{Memory: allocatable.Memory().Value()}
	if cpu := allocatable.Cpu(); !cpu.IsZero() {
		all.CPUShares = Shares(cpu.MilliValue())
	}
	return map[string]engine.Resources{GroupPods: all, GroupBestEffort: {CPUShares: minShares}}
}

// CPURequest is what a pod asks for, in thousandths of a core.
func CPURequest(pod *v1.Pod) int64 {
	requests := podresource.PodRequests(pod, podresource.PodResourcesOptions{})
	return requests.Cpu().MilliValue()
}
