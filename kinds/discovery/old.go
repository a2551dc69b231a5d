package discovery

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	discoveryv1beta1 "k8s.io/api/discovery/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// In v1beta1 a map of topology held what v1 has fields for
// (pkg/apis/discovery/v1beta1/conversion.go in Kubernetes).

func oldEndpointSlice() []kinds.Version {
	c := convert.New(
		convert.After(func(in *discoveryv1beta1.Endpoint, out *discoveryv1.Endpoint) error {
			toFields(in.Topology, out)
			return nil
		}),
		convert.After(func(in *discoveryv1.Endpoint, out *discoveryv1beta1.Endpoint) error {
			out.Topology = toTopology(in)
			return nil
		}),
	)
	return []kinds.Version{convert.Old[discoveryv1.EndpointSlice, discoveryv1beta1.EndpointSlice, discoveryv1beta1.EndpointSliceList](
		c, discoveryv1beta1.SchemeGroupVersion, "EndpointSlice", nil)}
}

func toFields(topology map[string]string, out *discoveryv1.Endpoint) {
	if topology == nil {
		return
	}
	rest := make(map[string]string, len(topology))
	for k, v := range topology {
		rest[k] = v
	}
	if zone, ok := topology[corev1.LabelTopologyZone]; ok {
		out.Zone = &zone
		delete(rest, corev1.LabelTopologyZone)
	}
	// A host name that differs from the node's name is kept: v1beta1 could say so.
	if host, ok := topology[corev1.LabelHostname]; ok && out.NodeName != nil && host == *out.NodeName {
		delete(rest, corev1.LabelHostname)
	}
	out.DeprecatedTopology = nil
	if len(rest) > 0 {
		out.DeprecatedTopology = rest
	}
}

func toTopology(in *discoveryv1.Endpoint) map[string]string {
	if in.DeprecatedTopology == nil && in.Zone == nil && in.NodeName == nil {
		return nil
	}
	topology := make(map[string]string, len(in.DeprecatedTopology)+2)
	for k, v := range in.DeprecatedTopology {
		topology[k] = v
	}
	if in.Zone != nil {
		topology[corev1.LabelTopologyZone] = *in.Zone
	}
	if in.NodeName != nil && topology[corev1.LabelHostname] == "" {
		topology[corev1.LabelHostname] = *in.NodeName
	}
	return topology
}
