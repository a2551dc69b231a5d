// Package endpointset holds what the controllers of Endpoints and EndpointSlices
// share, all of it pure: which pods stand behind a service, at which ports, and how
// endpoints are packed into slices.
package endpointset

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff.dev/skiff/controllers/loop"
)

// Selects tells whether a service's endpoints are the pods it selects; else
// somebody else writes them or it has none.
func Selects(svc *corev1.Service) bool {
	return svc.Spec.Selector != nil && svc.Spec.Type != corev1.ServiceTypeExternalName
}

// Belongs tells whether a pod may stand behind a service at all.
func Belongs(p *corev1.Pod, terminating bool) bool {
	return !loop.Finished(p) && p.Status.PodIP != "" && (terminating || p.DeletionTimestamp == nil)
}

// Headless services have no address of their own.
func Headless(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP == "" || svc.Spec.ClusterIP == corev1.ClusterIPNone
}

// HasHostname tells whether a pod has a DNS name of its own under the service.
func HasHostname(p *corev1.Pod, svc *corev1.Service) bool {
	return p.Spec.Hostname != "" && p.Spec.Subdomain == svc.Name && p.Namespace == svc.Namespace
}

// Port finds the number that a service port means on a pod; a name may mean
// another number on another pod.
func Port(p *corev1.Pod, port *corev1.ServicePort) (int32, error) {
	if port.TargetPort.Type == intstr.Int {
		return port.TargetPort.IntVal, nil
	}
	find := func(c *corev1.Container) (int32, bool) {
		for _, cp := range c.Ports {
			if cp.Name == port.TargetPort.StrVal && cp.Protocol == port.Protocol {
				return cp.ContainerPort, true
			}
		}
		return 0, false
	}
	for i := range p.Spec.Containers {
		if n, ok := find(&p.Spec.Containers[i]); ok {
			return n, nil
		}
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		if n, ok := find(c); ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no suitable port for manifest: %s", p.UID)
}

// Address is the pod's address of a family; "" if it has none.
func Address(p *corev1.Pod, v6 bool) string {
	ips := p.Status.PodIPs
	if len(ips) == 0 {
		ips = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Unmap().Is6() == v6 {
			return a.Unmap().String()
		}
	}
	return ""
}

// Families are the address families of a service, of which true means IPv6.
func Families(svc *corev1.Service, pods []*corev1.Pod) []bool {
	var out []bool
	for _, f := range svc.Spec.IPFamilies {
		out = append(out, f == corev1.IPv6Protocol)
	}
	if len(out) > 0 {
		return out
	}
	probe := svc.Spec.ClusterIP
	if Headless(svc) && len(pods) > 0 {
		probe = pods[0].Status.PodIP
	}
	return []bool{strings.Contains(probe, ":")}
}

// Changed tells whether a pod's change can matter to any service.
func Changed(old, pod *corev1.Pod) bool {
	if old == nil || pod == nil {
		return true
	}
	return loop.Ready(old) != loop.Ready(pod) ||
		loop.Finished(old) != loop.Finished(pod) ||
		(old.DeletionTimestamp == nil) != (pod.DeletionTimestamp == nil) ||
		old.Status.PodIP != pod.Status.PodIP ||
		!slices.Equal(old.Status.PodIPs, pod.Status.PodIPs) ||
		old.Spec.NodeName != pod.Spec.NodeName ||
		old.Spec.Hostname != pod.Spec.Hostname || old.Spec.Subdomain != pod.Spec.Subdomain ||
		!labels.Equals(old.Labels, pod.Labels)
}

// TriggerTime is when what a service's endpoints are made of last changed, as far
// as the objects tell; "" if they do not.
func TriggerTime(svc *corev1.Service, pods []*corev1.Pod) string {
	last := svc.CreationTimestamp.Time
	for _, p := range pods {
		if c := loop.Condition(p, corev1.PodReady); c != nil && c.LastTransitionTime.After(last) {
			last = c.LastTransitionTime.Time
		}
	}
	if last.IsZero() {
		return ""
	}
	return last.UTC().Format(time.RFC3339Nano)
}

// PodRef points at a pod.
func PodRef(p *corev1.Pod) *corev1.ObjectReference {
	return &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID}
}

// Owned makes the controller reference of slices.
func Owned(owner metav1.Object, kind string) metav1.OwnerReference {
	return *metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind(kind))
}

// Plan is what to do about the slices of one owner.
type Plan struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
}

// Empty plans change nothing.
func (p Plan) Empty() bool { return len(p.Create)+len(p.Update)+len(p.Delete) == 0 }
