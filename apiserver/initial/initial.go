// Package initial lists the objects that a new cluster has besides its namespaces,
// its kubernetes service and RBAC's policy: the APIService of each
// group version, the range of service addresses. The API server
// writes those that are missing when it starts.
package initial

import (
	"cmp"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"skiff.dev/skiff/kinds"
)

// Objects lists them for a table of kinds and a range of service addresses. The
// caller owns what it gets.
func Objects(table *kinds.Table, services netip.Prefix) []kinds.Object {
	return append(apiServices(table), &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{services.String()}},
	})
}

// priority ranks a group version among the others (apiServicePriorities in
// Kubernetes' pkg/controlplane).
type priority struct{ group, version int32 }

// groupPriorities rank the groups; a version that is not told apart has rank 15.
var groupPriorities = map[string]int32{
	"": 18000, "apps": 17800, "events.k8s.io": 17750, "authentication.k8s.io": 17700, "authorization.k8s.io": 17600,
	"autoscaling": 17500, "batch": 17400, "certificates.k8s.io": 17300, "networking.k8s.io": 17200, "policy": 17100,
	"rbac.authorization.k8s.io": 17000, "storage.k8s.io": 16800, "apiextensions.k8s.io": 16700, "admissionregistration.k8s.io": 16700,
	"scheduling.k8s.io": 16600, "coordination.k8s.io": 16500, "node.k8s.io": 16300, "discovery.k8s.io": 16200, "resource.k8s.io": 16200,
	"flowcontrol.apiserver.k8s.io": 16100,
}

var versionPriorities = map[metav1.GroupVersion]int32{
	{Version: "v1"}: 1, {Group: "autoscaling", Version: "v2"}: 30, {Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: 21,
}

// apiServices are one for each group version that Kubernetes serves itself. The
// group apiregistration.k8s.io has none: it is the aggregator's own.
func apiServices(table *kinds.Table) []kinds.Object {
	found := map[metav1.GroupVersion]priority{}
	for _, k := range table.All() {
		for i := range k.Served {
			gv := metav1.GroupVersion{Group: k.Served[i].Group, Version: k.Served[i].Version}
			group, known := groupPriorities[gv.Group]
			if k.Served[i].Old || !known {
				continue
			}
			found[gv] = priority{group, cmp.Or(versionPriorities[gv], 15)}
		}
	}
	var out []kinds.Object
	for gv, p := range found {
		out = append(out, &apiregistrationv1.APIService{
			ObjectMeta: metav1.ObjectMeta{
				Name:   gv.Version + "." + gv.Group,
				Labels: map[string]string{"kube-aggregator.kubernetes.io/automanaged": "onstart"},
			},
			Spec: apiregistrationv1.APIServiceSpec{Group: gv.Group, Version: gv.Version, GroupPriorityMinimum: p.group, VersionPriority: p.version},
		})
	}
	slices.SortFunc(out, func(a, b kinds.Object) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out
}

// Address is the record of an address that a service has.
func Address(ip netip.Addr, namespace, service string) *networkingv1.IPAddress {
	family := "IPv4"
	if ip.Is6() {
		family = "IPv6"
	}
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: family, networkingv1.LabelManagedBy: "ipallocator.k8s.io",
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: namespace, Name: service}},
	}
}
