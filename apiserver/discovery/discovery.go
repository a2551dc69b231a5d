// Package discovery tells clients which groups, versions and resources the API
// has: /api, /apis and the documents below them, in the form of one document a
// group version and in the aggregated form (apidiscovery.k8s.io). It reads the
// kinds table and the kinds added at run time; the API server routes to Handler.
// Documents are made when first asked for and kept as bytes.
package discovery

import (
	"net/http"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"skiff.dev/skiff/kinds"
)

// Options say what is told.
type Options struct {
	Table *kinds.Table
	// HideOld leaves out the versions that Kubernetes no longer serves.
	HideOld bool
	// ServerAddress is told by /api: host and port as clients reach the server.
	ServerAddress string
}

// Handler serves the discovery documents. It is safe for concurrent use.
type Handler struct {
	options Options
	mu      sync.Mutex // serializes changes of extra
	extra   []*kinds.Kind
	remote  []Remote
	current atomic.Pointer[documents]
}

// New returns a handler for the table's kinds.
func New(o Options) *Handler {
	return &Handler{options: o}
}

// SetExtra replaces the kinds that were added at run time.
func (h *Handler) SetExtra(rows []*kinds.Kind) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.extra = slices.Clone(rows)
	h.current.Store(nil)
}

func (h *Handler) documents() *documents {
	if d := h.current.Load(); d != nil {
		return d
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.current.Load(); d != nil {
		return d
	}
	groups := groupsOf(append(slices.Clone(h.options.Table.All()), h.extra...), h.options.HideOld)
	d := &documents{groups: merge(groups, h.remote), address: h.options.ServerAddress}
	h.current.Store(d)
	return d
}

// group is an API group with its versions, the preferred one first.
type group struct {
	name     string
	versions []groupVersion
}

type groupVersion struct {
	version string
	forms   []form  // sorted by resource
	remote  *Remote // of another server; nil: this one's
}

// form is a kind as one version serves it.
type form struct {
	*kinds.Kind
	kind string
	// short and categories are the kind's, save in a group that it has left: there
	// they would make kubectl ask for everything twice and warn of two meanings.
	short, categories []string
}

// order is that of /apis in Kubernetes: clients that find a resource in two groups
// take the first. Groups that are not listed follow by name.
var order = []string{
	"", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling",
	"batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
	"admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
	"discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io", "extensions", "settings.k8s.io",
}

func groupsOf(rows []*kinds.Kind, hideOld bool) []group {
	found := map[string]map[string][]form{}
	for _, k := range rows {
		for _, v := range k.Served {
			if v.Old && hideOld {
				continue
			}
			kind := k.Kind
			if v.Kind != "" {
				kind = v.Kind
			}
			if found[v.Group] == nil {
				found[v.Group] = map[string][]form{}
			}
			f := form{Kind: k, kind: kind}
			if !v.Old || v.Group == k.Group {
				f.short, f.categories = k.ShortNames, k.Categories
			}
			found[v.Group][v.Version] = append(found[v.Group][v.Version], f)
		}
	}
	var out []group
	for name, versions := range found {
		g := group{name: name}
		for v, forms := range versions {
			sort.Slice(forms, func(i, j int) bool { return forms[i].Resource < forms[j].Resource })
			g.versions = append(g.versions, groupVersion{version: v, forms: forms})
		}
		sort.Slice(g.versions, func(i, j int) bool {
			return version.CompareKubeAwareVersionStrings(g.versions[i].version, g.versions[j].version) > 0
		})
		out = append(out, g)
	}
	rank := func(name string) int {
		if i := slices.Index(order, name); i >= 0 {
			return i
		}
		return len(order)
	}
	sort.Slice(out, func(i, j int) bool {
		if a, b := rank(out[i].name), rank(out[j].name); a != b {
			return a < b
		}
		return out[i].name < out[j].name
	})
	return out
}

// Handles tells whether a path is a discovery document's, of a group and version
// that may exist or not.
func Handles(path string) bool {
	_, ok := split(path)
	return ok
}

// split takes /api, /api/v1, /apis, /apis/GROUP or /apis/GROUP/VERSION apart.
func split(path string) (parts []string, ok bool) {
	parts = strings.Split(strings.Trim(path, "/"), "/")
	switch parts[0] {
	case "api":
		return parts, len(parts) <= 2
	case "apis":
		return parts, len(parts) <= 3
	}
	return nil, false
}

// ServeHTTP answers the paths that Handles knows.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts, ok := split(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	root := len(parts) == 1
	if root && parts[0] == "api" && !reads(w, r) {
		return
	}
	d := h.documents()
	if root {
		if form, _ := negotiate(r.Header.Values("Accept"), true); strings.HasSuffix(form, aggregatedForm) {
			d.serveAggregated(w, r, parts[0], form)
			return
		}
	}
	d.serve(w, r, parts)
}

// reads tells whether the method is GET; it answers the others. The documents of
// /apis and of groups are answered to any method, as they are in Kubernetes.
func reads(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	writeStatus(w, r, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource")
	return false
}
