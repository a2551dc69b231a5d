package discovery

import (
	"slices"
	"sort"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Remote is a group version that another server answers.
type Remote struct {
	Group, Version                 string
	GroupPriority, VersionPriority int32
	Resources                      []metav1.APIResource // as its server told
	// Stale says that the server does not answer now.
	Stale bool
}

// SetRemote replaces the group versions of other servers.
func (h *Handler) SetRemote(list []Remote) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remote = slices.Clone(list)
	h.current.Store(nil)
}

// customPriority is that of the groups of custom resources.
const customPriority = 1000

// merge puts other servers' group versions among this server's. Groups of other
// servers come after the built-in ones: those with a higher priority than custom
// resources before these, the others behind. Within a group the higher version
// priority comes first.
func merge(groups []group, list []Remote) []group {
	list = slices.Clone(list)
	sort.SliceStable(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		if a.GroupPriority != b.GroupPriority {
			return a.GroupPriority > b.GroupPriority
		}
		if a.Group != b.Group {
			return a.Group < b.Group
		}
		return a.VersionPriority > b.VersionPriority
	})
	for i := range list {
		r := &list[i]
		v := groupVersion{version: r.Version, remote: r}
		at := slices.IndexFunc(groups, func(g group) bool { return g.name == r.Group })
		if at >= 0 {
			g := &groups[at]
			g.versions = slices.DeleteFunc(slices.Clone(g.versions), func(x groupVersion) bool { return x.version == r.Version })
			g.versions = append(g.versions, v)
			continue
		}
		g := group{name: r.Group, versions: []groupVersion{v}}
		at = len(groups)
		if r.GroupPriority > customPriority {
			if i := slices.IndexFunc(groups, func(g group) bool { return !slices.Contains(order, g.name) && g.versions[0].remote == nil }); i >= 0 {
				at = i
			}
		}
		groups = slices.Insert(groups, at, g)
	}
	return groups
}

// remoteVersion is the aggregated form of another server's group version.
func remoteVersion(r *Remote) apidiscoveryv2.APIVersionDiscovery {
	out := apidiscoveryv2.APIVersionDiscovery{Version: r.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
	if r.Stale {
		out.Freshness = apidiscoveryv2.DiscoveryFreshnessStale
	}
	kind := func(x *metav1.APIResource) *metav1.GroupVersionKind {
		k := metav1.GroupVersionKind{Group: x.Group, Version: x.Version, Kind: x.Kind}
		if k.Group == "" && k.Version == "" {
			k.Group = r.Group
		}
		if k.Version == "" {
			k.Version = r.Version
		}
		return &k
	}
	for i := range r.Resources {
		x := &r.Resources[i]
		name, sub, isSub := strings.Cut(x.Name, "/")
		if !isSub {
			y := apidiscoveryv2.APIResourceDiscovery{Resource: x.Name, SingularResource: x.SingularName, Scope: apidiscoveryv2.ScopeCluster,
				ResponseKind: kind(x), Verbs: x.Verbs, ShortNames: x.ShortNames, Categories: x.Categories}
			if x.Namespaced {
				y.Scope = apidiscoveryv2.ScopeNamespace
			}
			out.Resources = append(out.Resources, y)
			continue
		}
		for j := range out.Resources {
			if out.Resources[j].Resource == name {
				out.Resources[j].Subresources = append(out.Resources[j].Subresources,
					apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: kind(x), Verbs: x.Verbs})
			}
		}
	}
	return out
}
