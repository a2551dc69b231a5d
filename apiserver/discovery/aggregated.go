package discovery

import (
	"net/http"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// aggregatedForm is how clients ask for the aggregated form of a root.
const aggregatedForm = ";g=" + apidiscoveryv2.GroupName + ";v=v2;as=APIGroupDiscoveryList"

func (d *documents) serveAggregated(w http.ResponseWriter, r *http.Request, root, media string) {
	d.writeAs(w, r, "/"+root, media, func() runtime.Object {
		list := d.aggregated(root == "api")
		list.APIVersion = apidiscoveryv2.SchemeGroupVersion.String()
		return list
	})
}

func (d *documents) aggregated(core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	out := &apidiscoveryv2.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList"}, Items: []apidiscoveryv2.APIGroupDiscovery{}}
	for _, g := range d.groups {
		if (g.name == "") != core {
			continue
		}
		item := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: g.name}}
		for i := range g.versions {
			if r := g.versions[i].remote; r != nil {
				item.Versions = append(item.Versions, remoteVersion(r))
				continue
			}
			v := apidiscoveryv2.APIVersionDiscovery{Version: g.versions[i].version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
			for _, f := range g.versions[i].forms {
				v.Resources = append(v.Resources, aggregatedResource(g.name, v.Version, f))
			}
			item.Versions = append(item.Versions, v)
		}
		out.Items = append(out.Items, item)
	}
	return out
}

func aggregatedResource(group, version string, f form) apidiscoveryv2.APIResourceDiscovery {
	if f.Custom == nil { // what is served by Kubernetes itself says so once, above
		group, version = "", ""
	}
	r := apidiscoveryv2.APIResourceDiscovery{
		Resource: f.Resource, SingularResource: f.Singular, Scope: apidiscoveryv2.ScopeCluster,
		ResponseKind: &metav1.GroupVersionKind{Group: group, Version: version, Kind: f.kind},
		Verbs:        verbs(f.Kind), ShortNames: f.short, Categories: f.categories,
	}
	if f.Namespaced {
		r.Scope = apidiscoveryv2.ScopeNamespace
	}
	for _, name := range subresources(f.Kind) {
		s := f.Subresources[name]
		kind := metav1.GroupVersionKind{Group: group, Version: version, Kind: f.kind}
		if s.Kind.Kind != "" {
			kind = metav1.GroupVersionKind(s.Kind)
		}
		r.Subresources = append(r.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: name, ResponseKind: &kind, Verbs: sorted(s.Verbs)})
	}
	return r
}
