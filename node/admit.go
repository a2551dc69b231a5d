package node

import (
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	podresource "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/podspec"
	"skiff.dev/skiff/node/pressure"
)

// resourceView is the part of the Node object that admission reads; it is kept by
// register.go.
type resourceView struct {
	name        string
	uid         types.UID
	allocatable v1.ResourceList
	labels      map[string]string
	pressure    pressure.Conditions
}

// admit decides once whether this node runs the pod at all, as the kubelet's
// predicate admission does. w.mu is held.
func (w *worker) admit(now time.Time) {
	if w.obs.StartTime.IsZero() {
		w.obs.StartTime = now.Truncate(time.Second)
		if t := w.pod.Status.StartTime; t != nil {
			w.obs.StartTime = t.Time
		}
	}
	if w.pod.DeletionTimestamp != nil || w.obs.Gone {
		w.obs.TornDown = true
		return
	}
	reason, message := w.n.claim(w.pod, w.static)
	if reason == "" {
		w.n.classes.set(w.n, w.pod)
		return
	}
	w.obs.Failure = &lifecycle.Failure{Reason: reason, Message: "Pod was rejected: " + message, Rejected: true}
	w.obs.TornDown = true
	w.n.event(w.pod, v1.EventTypeWarning, reason, "%s", message)
}

// claim admits the pod beside those that are active and counts it among them, or
// says why not.
func (n *Node) claim(pod *v1.Pod, static bool) (reason, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	active := make([]*v1.Pod, 0, len(n.active))
	for uid, p := range n.active {
		if uid != pod.UID {
			active = append(active, p)
		}
	}
	if message = pressure.Refuse(pod, static, podspec.QoS(pod) == v1.PodQOSBestEffort, n.resources.pressure); message != "" {
		return "Evicted", message
	}
	if reason, message = fits(pod, active, n.resources); reason == "" {
		n.active[pod.UID] = pod
	}
	return reason, message
}

// release takes the pod off the count of active ones.
func (n *Node) release(uid types.UID) {
	n.mu.Lock()
	delete(n.active, uid)
	n.mu.Unlock()
	n.classes.drop(n, uid)
}

// fits returns the kubelet's reason and message where the pod may not run here
// beside the active ones.
func fits(pod *v1.Pod, active []*v1.Pod, view resourceView) (reason, message string) {
	if !selected(pod, view) {
		return "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	}
	if capacity := view.allocatable.Pods().Value(); capacity > 0 && int64(len(active))+1 > capacity {
		return "OutOfpods", short("pods", 1, int64(len(active)), capacity)
	}
	want := podresource.PodRequests(pod, podresource.PodResourcesOptions{})
	used := v1.ResourceList{}
	for _, p := range active {
		for name, q := range podresource.PodRequests(p, podresource.PodResourcesOptions{}) {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
	}
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage} {
		w, u, c := want[name], used[name], view.allocatable[name]
		if w.IsZero() || c.IsZero() {
			continue
		}
		wn, un, cn := w.Value(), u.Value(), c.Value()
		if name == v1.ResourceCPU {
			wn, un, cn = w.MilliValue(), u.MilliValue(), c.MilliValue()
		}
		if wn > cn-un {
			return "OutOf" + string(name), short(string(name), wn, un, cn)
		}
	}
	for name, w := range want {
		switch name {
		case v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage, v1.ResourcePods:
			continue
		}
		u, c := used[name], view.allocatable[name]
		if w.Value() > c.Value()-u.Value() {
			return "OutOf" + string(name), short(string(name), w.Value(), u.Value(), c.Value())
		}
	}
	if portConflict(pod, active) {
		return "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
	}
	return "", ""
}

func short(name string, want, used, capacity int64) string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, want, used, capacity)
}

func selected(pod *v1.Pod, view resourceView) bool {
	nodeLabels := view.labels
	if len(pod.Spec.NodeSelector) > 0 && !labels.SelectorFromSet(pod.Spec.NodeSelector).Matches(labels.Set(nodeLabels)) {
		return false
	}
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil {
		return true
	}
	node := &v1.Node{}
	node.Labels, node.Name = nodeLabels, view.name
	ok, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node)
	return err == nil && ok
}

func portConflict(pod *v1.Pod, active []*v1.Pod) bool {
	type key struct {
		proto v1.Protocol
		port  int32
	}
	taken := map[key][]string{}
	each := func(p *v1.Pod, f func(key, string)) {
		for i := range p.Spec.Containers {
			for _, cp := range p.Spec.Containers[i].Ports {
				if cp.HostPort == 0 {
					continue
				}
				k := key{cp.Protocol, cp.HostPort}
				if k.proto == "" {
					k.proto = v1.ProtocolTCP
				}
				ip := cp.HostIP
				if ip == "" {
					ip = "0.0.0.0"
				}
				f(k, ip)
			}
		}
	}
	for _, p := range active {
		each(p, func(k key, ip string) { taken[k] = append(taken[k], ip) })
	}
	conflict := false
	each(pod, func(k key, ip string) {
		for _, other := range taken[k] {
			conflict = conflict || other == ip || other == "0.0.0.0" || ip == "0.0.0.0"
		}
	})
	return conflict
}
