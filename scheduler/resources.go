package scheduler

import (
	"maps"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// amounts are quantities of resources in the units of the scheduler: milli CPUs,
// bytes, and whole numbers of anything else.
type amounts struct {
	cpu, memory, storage int64
	other                map[v1.ResourceName]int64 // nil if there is none
}

func amountsOf(list v1.ResourceList) amounts {
	var a amounts
	for name, q := range list {
		switch name {
		case v1.ResourceCPU:
			a.cpu = q.MilliValue()
		case v1.ResourceMemory:
			a.memory = q.Value()
		case v1.ResourceEphemeralStorage:
			a.storage = q.Value()
		case v1.ResourcePods:
		default:
			if a.other == nil {
				a.other = map[v1.ResourceName]int64{}
			}
			a.other[name] = q.Value()
		}
	}
	return a
}

// plus adds b, n times.
func (a *amounts) plus(b *amounts, n int64) {
	a.cpu += n * b.cpu
	a.memory += n * b.memory
	a.storage += n * b.storage
	if len(b.other) == 0 {
		return
	}
	a.other = maps.Clone(a.other)
	if a.other == nil {
		a.other = map[v1.ResourceName]int64{}
	}
	for name, v := range b.other {
		if a.other[name] += n * v; a.other[name] == 0 {
			delete(a.other, name)
		}
	}
}

func (a *amounts) none() bool {
	return a.cpu == 0 && a.memory == 0 && a.storage == 0 && len(a.other) == 0
}

// demand is what a pod takes of a node.
type demand struct {
	requests amounts // as asked, with overhead, init containers and sidecars
	// cpu and memory with the least that a container without requests is counted as
	// when nodes are compared (not when they are judged).
	leastCPU, leastMemory int64
	ports                 []hostPort
}

var leastContainer = v1.ResourceList{
	v1.ResourceCPU:    *resource.NewMilliQuantity(100, resource.DecimalSI),
	v1.ResourceMemory: *resource.NewQuantity(200<<20, resource.BinarySI),
}

func demandOf(p *v1.Pod) demand {
	d := demand{
		requests: amountsOf(resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{UseStatusResources: true})),
		ports:    hostPorts(p),
	}
	least := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{
		UseStatusResources: true, NonMissingContainerRequests: leastContainer,
	})
	d.leastCPU, d.leastMemory = least.Cpu().MilliValue(), least.Memory().Value()
	return d
}

// hostPort is a port of the node itself.
type hostPort struct {
	ip       string // "0.0.0.0" is every address
	protocol v1.Protocol
	port     int32
}

const anyIP = "0.0.0.0"

func hostPorts(p *v1.Pod) []hostPort {
	var out []hostPort
	add := func(c *v1.Container) {
		for _, cp := range c.Ports {
			if cp.HostPort <= 0 {
				continue
			}
			hp := hostPort{cp.HostIP, cp.Protocol, cp.HostPort}
			if hp.ip == "" {
				hp.ip = anyIP
			}
			if hp.protocol == "" {
				hp.protocol = v1.ProtocolTCP
			}
			out = append(out, hp)
		}
	}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i])
	}
	return out
}
