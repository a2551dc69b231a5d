package discovery

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"sort"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"skiff.dev/skiff/kinds"
)

// documents are those of one state of the kinds; bytes are kept once made.
type documents struct {
	groups  []group
	address string
	cache   sync.Map // of key to *encoded
}

type key struct{ path, media string }

type encoded struct {
	body []byte
	etag string
}

// serve answers with a document of the old form.
func (d *documents) serve(w http.ResponseWriter, r *http.Request, parts []string) {
	name, path := "", "/api"
	if parts[0] == "apis" {
		if len(parts) == 1 {
			d.write(w, r, "/apis", func() runtime.Object { return d.groupList() })
			return
		}
		name, path = parts[1], "/apis/"+parts[1]
		parts = parts[1:]
	}
	g := d.group(name)
	if g == nil {
		http.NotFound(w, r)
		return
	}
	if len(parts) == 1 {
		if name == "" {
			d.write(w, r, path, func() runtime.Object { return d.versions(g) })
			return
		}
		d.write(w, r, path, func() runtime.Object { return g.object() })
		return
	}
	for i := range g.versions {
		if v := &g.versions[i]; v.version == parts[1] {
			if !reads(w, r) {
				return
			}
			d.write(w, r, path+"/"+v.version, func() runtime.Object { return resourceList(name, v) })
			return
		}
	}
	writeStatus(w, r, http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
}

func (d *documents) group(name string) *group {
	for i := range d.groups {
		if d.groups[i].name == name {
			return &d.groups[i]
		}
	}
	return nil
}

func (d *documents) versions(g *group) *metav1.APIVersions {
	out := &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: d.address}}}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, v.version)
	}
	return out
}

func (d *documents) groupList() *metav1.APIGroupList {
	out := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	for i := range d.groups {
		if d.groups[i].name == "" {
			continue
		}
		o := d.groups[i].object()
		o.TypeMeta = metav1.TypeMeta{}
		out.Groups = append(out.Groups, *o)
	}
	return out
}

func (g *group) object() *metav1.APIGroup {
	out := &metav1.APIGroup{TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: g.name}
	for _, v := range g.versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: g.name + "/" + v.version, Version: v.version})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func resourceList(group string, v *groupVersion) *metav1.APIResourceList {
	gv := metav1.GroupVersion{Group: group, Version: v.version}
	out := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String(), APIResources: []metav1.APIResource{}}
	if group == "" {
		out.APIVersion = ""
	}
	for _, f := range v.forms {
		r := metav1.APIResource{Name: f.Resource, SingularName: f.Singular, Namespaced: f.Namespaced, Kind: f.kind,
			Verbs: verbs(f.Kind), ShortNames: f.short, Categories: f.categories}
		if !f.Virtual {
			r.StorageVersionHash = storageHash(f.Kind)
		}
		out.APIResources = append(out.APIResources, r)
		for _, name := range subresources(f.Kind) {
			s := f.Subresources[name]
			r := metav1.APIResource{Name: f.Resource + "/" + name, Namespaced: f.Namespaced, Kind: f.kind, Verbs: sorted(s.Verbs)}
			if s.Kind.Kind != "" {
				r.Kind = s.Kind.Kind
				if s.Kind.Group != group || s.Kind.Version != v.version {
					r.Group, r.Version = s.Kind.Group, s.Kind.Version
				}
			}
			out.APIResources = append(out.APIResources, r)
		}
	}
	return out
}

var allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

func verbs(k *kinds.Kind) []string {
	if k.Verbs == nil {
		return allVerbs
	}
	if k.Custom != nil {
		return k.Verbs // in an order of their own
	}
	return sorted(k.Verbs)
}

func sorted(in []string) []string {
	out := slices.Clone(in)
	sort.Strings(out)
	return out
}

func subresources(k *kinds.Kind) []string {
	out := make([]string, 0, len(k.Subresources))
	for name := range k.Subresources {
		out = append(out, name)
	}
	sort.Strings(out)
	if k.Custom != nil {
		slices.Reverse(out) // status, scale
	}
	return out
}

// storageHash tells clients that an object is stored in another version than
// before: a hash of the name of the version stored.
func storageHash(k *kinds.Kind) string {
	version := k.Version
	if k.Custom != nil {
		version = k.Custom.StorageVersion
	}
	sum := sha256.Sum256([]byte(k.Group + "/" + version + "/" + k.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}
