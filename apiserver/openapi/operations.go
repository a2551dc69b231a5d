package openapi

import (
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

// operation is one method of one path, before it is written in a version's form.
type operation struct {
	method      string // "get", ...
	id          string
	description string
	action      string // x-kubernetes-action
	tag         string
	gvk         schema.GroupVersionKind
	query       []*parameter
	body        string // schema name; "" for none
	bodyNeeded  bool
	consumes    []string
	produces    []string
	response    string // schema name, or "string"
	codes       []code
}

type code struct{ number, text string }

var (
	ok       = []code{{"200", "OK"}}
	created  = []code{{"200", "OK"}, {"201", "Created"}}
	posted   = []code{{"200", "OK"}, {"201", "Created"}, {"202", "Accepted"}}
	deletion = []code{{"200", "OK"}, {"202", "Accepted"}}
)

var (
	object  = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	streams = append(object[:3:3], "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
	patches = []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
	anyType = []string{"*/*"}
)

// route is one path with its operations.
type route struct {
	path       string
	params     []*parameter // of every operation
	operations []operation
}

// form is a kind as one group version serves it.
type form struct {
	*kinds.Kind
	kind   string
	schema string // name of the object's schema
	list   string // name of the list's schema
	custom bool
}

// builder collects the paths of one group version.
type builder struct {
	gv     schema.GroupVersion
	prefix string // /api/v1
	id     string // AppsV1
	tag    string // apps_v1
	paths  []*route
}

func newBuilder(gv schema.GroupVersion) *builder {
	b := &builder{gv: gv, prefix: "/apis/" + gv.String()}
	group := gv.Group
	if group == "" {
		group, b.prefix = "core", "/api/"+gv.Version
	}
	words := strings.FieldsFunc(strings.TrimSuffix(group, ".k8s.io"), func(r rune) bool { return r == '.' || r == '-' })
	for i, w := range words {
		b.id += title(w)
		if i == 0 {
			b.tag = w
		} else {
			b.tag += title(w)
		}
	}
	b.id += title(gv.Version)
	b.tag += "_" + gv.Version
	b.add(b.prefix+"/", nil, operation{method: "get", id: "get" + b.id + "APIResources", description: "get available resources",
		produces: object, consumes: object, response: "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList", codes: ok})
	return b
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// article puts "a" or "an" before a word as Kubernetes does.
func article(s string) string {
	if s != "" && strings.ContainsRune("AEIOUaeiou", rune(s[0])) {
		return "an " + s
	}
	return "a " + s
}

func (b *builder) add(p string, params []*parameter, ops ...operation) {
	for i := range ops {
		if ops[i].tag == "" {
			ops[i].tag = b.tag
		}
	}
	if len(ops) > 0 {
		b.paths = append(b.paths, &route{p, params, ops})
	}
}

// kind adds all paths of one kind.
func (b *builder) kind(f form) {
	gvk := b.gv.WithKind(f.kind)
	scope, base := "", b.prefix+"/"+f.Resource
	var params []*parameter
	if f.Namespaced {
		scope, base = "Namespaced", b.prefix+"/namespaces/{namespace}/"+f.Resource
		params = append(params, paramNamespace)
	}
	id := func(verb string) string { return verb + b.id + scope + f.kind }
	produces, consumes := object, []string(nil)
	watchable := streams
	if f.custom {
		produces, watchable = object[:2], object[:2]
	}
	var ops []operation
	has := f.HasVerb
	if has("list") {
		ops = append(ops, operation{method: "get", id: id("list"), description: "list or watch objects of kind " + f.kind, action: "list",
			query: listParams, produces: watchable, response: f.list, codes: ok})
	}
	if has("create") {
		ops = append(ops, operation{method: "post", id: id("create"), description: "create " + article(f.kind), action: "post",
			query: writeParams, body: f.schema, bodyNeeded: true, produces: produces, consumes: consumes, response: f.schema, codes: posted})
	}
	if has("deletecollection") {
		ops = append(ops, operation{method: "delete", id: "delete" + b.id + "Collection" + scope + f.kind, description: "delete collection of " + f.kind,
			action: "deletecollection", query: deleteCollectionParams, body: deleteOptions, produces: produces, response: status, codes: ok})
	}
	b.add(base, with(params, paramPretty), kindOf(gvk, ops)...)

	named := with(params, nameParam(f.kind))
	ops = nil
	if has("get") {
		ops = append(ops, operation{method: "get", id: id("read"), description: "read the specified " + f.kind, action: "get", produces: produces, response: f.schema, codes: ok})
	}
	if has("update") {
		ops = append(ops, operation{method: "put", id: id("replace"), description: "replace the specified " + f.kind, action: "put",
			query: writeParams, body: f.schema, bodyNeeded: true, produces: produces, response: f.schema, codes: created})
	}
	if has("patch") {
		ops = append(ops, b.patch(f, id("patch"), "partially update the specified "+f.kind, produces, f.schema))
	}
	if has("delete") {
		ops = append(ops, operation{method: "delete", id: id("delete"), description: "delete " + article(f.kind), action: "delete",
			query: deleteParams, body: deleteOptions, produces: produces, response: status, codes: deletion})
	}
	b.add(base+"/{name}", with(named, paramPretty), kindOf(gvk, ops)...)
	b.subresources(f, base, id, named)
	if f.Namespaced && has("list") {
		b.add(b.prefix+"/"+f.Resource, with(listParams, paramPretty), kindOf(gvk, []operation{{method: "get", id: "list" + b.id + f.kind + "ForAllNamespaces",
			description: "list or watch objects of kind " + f.kind, action: "list", produces: watchable, response: f.list, codes: ok}})...)
	}
	if has("watch") && !f.custom {
		b.watches(f, gvk, id, params, named)
	}
}

// watches adds the paths of the old way to watch.
func (b *builder) watches(f form, gvk schema.GroupVersionKind, id func(string) string, params, named []*parameter) {
	at := "/" + f.Resource
	if f.Namespaced {
		b.add(b.prefix+"/watch"+at, with(listParams, paramPretty), kindOf(gvk, []operation{watch("watch"+b.id+f.kind+"ListForAllNamespaces",
			"watch individual changes to a list of "+f.kind, "watchlist")})...)
		at = "/namespaces/{namespace}" + at
	}
	b.add(b.prefix+"/watch"+at, with(with(params, listParams...), paramPretty), kindOf(gvk, []operation{watch(id("watch")+"List",
		"watch individual changes to a list of "+f.kind, "watchlist")})...)
	if f.HasVerb("get") {
		b.add(b.prefix+"/watch"+at+"/{name}", with(with(named, listParams...), paramPretty), kindOf(gvk, []operation{watch(id("watch"),
			"watch changes to an object of kind "+f.kind, "watch")})...)
	}
}

// watch is an operation of the old way to watch; action is watch or watchlist.
func watch(id, description, action string) operation {
	description += ". deprecated: use the 'watch' parameter with a list operation instead"
	if action == "watch" {
		description += ", filtered to a single item with the 'fieldSelector' parameter"
	}
	return operation{method: "get", id: id, description: description + ".", action: action, produces: streams,
		response: "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent", codes: ok}
}

func (b *builder) patch(f form, id, description string, produces []string, response string) operation {
	consumes := patches
	if f.custom {
		consumes = []string{patches[0], patches[1], patches[3]}
	}
	return operation{method: "patch", id: id, description: description, action: "patch", query: patchParams,
		body: "io.k8s.apimachinery.pkg.apis.meta.v1.Patch", bodyNeeded: true, consumes: consumes, produces: produces, response: response, codes: created}
}

func (b *builder) subresources(f form, base string, id func(string) string, named []*parameter) {
	names := make([]string, 0, len(f.Subresources))
	for n := range f.Subresources {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, name := range names {
		s := f.Subresources[name]
		gvk, model := b.gv.WithKind(f.kind), f.schema
		if s.Kind.Kind != "" {
			gvk, model = s.Kind, schemaName(s.Kind)
		}
		at := base + "/{name}/" + name
		if strings.HasSuffix(gvk.Kind, "Options") {
			b.connect(f, gvk, name, at, named, s.Verbs)
			continue
		}
		suffix, produces := title(name), object
		if f.custom {
			produces = object[:2]
		}
		if name == "ephemeralcontainers" {
			suffix = "Ephemeralcontainers"
		}
		var ops []operation
		for _, v := range sortedVerbs(s.Verbs) {
			o := operation{produces: produces, response: model, codes: ok}
			what := name + " of the specified " + f.kind
			switch v {
			case "get":
				o.method, o.id, o.description, o.action = "get", id("read")+suffix, "read "+what, "get"
				if name == "log" {
					o.response, o.produces, o.query = "string", []string{"text/plain", object[0], object[1], object[2]}, logParams
				}
			case "update":
				o.method, o.id, o.description, o.action = "put", id("replace")+suffix, "replace "+what, "put"
				o.query, o.body, o.bodyNeeded, o.codes = writeParams, model, true, created
			case "patch":
				o = b.patch(f, id("patch")+suffix, "partially update "+what, produces, model)
			case "create":
				o.method, o.id, o.description, o.action = "post", id("create")+suffix, "create "+name+" of "+article(f.kind), "post"
				o.query, o.body, o.bodyNeeded, o.codes = writeParams, model, true, posted
			default:
				continue
			}
			ops = append(ops, o)
		}
		b.add(at, with(named, paramPretty), kindOf(gvk, ops)...)
	}
}

// connect adds the paths that lead to a node or through it.
func (b *builder) connect(f form, gvk schema.GroupVersionKind, name, at string, named []*parameter, verbs []string) {
	methods := []string{"get", "post"}
	if name == "proxy" {
		methods = []string{"get", "put", "post", "delete", "options", "head", "patch"}
	}
	scope := ""
	if f.Namespaced {
		scope = "Namespaced"
	}
	ops := func(suffix string) (out []operation) {
		for _, m := range methods {
			out = append(out, operation{method: m, id: "connect" + b.id + title(m) + scope + f.kind + title(name) + suffix,
				description: "connect " + strings.ToUpper(m) + " requests to " + name + " of " + f.kind, action: "connect",
				produces: anyType, response: "string", codes: ok, gvk: gvk})
		}
		return out
	}
	query := connectParams[gvk.Kind]
	b.add(at, with(named, query...), ops("")...)
	if name == "proxy" {
		b.add(at+"/{path}", with(with(named, paramPath), query...), ops("WithPath")...)
	}
}

func sortedVerbs(in []string) []string {
	out := append([]string(nil), in...)
	sort.Strings(out)
	return out
}

func kindOf(gvk schema.GroupVersionKind, ops []operation) []operation {
	for i := range ops {
		ops[i].gvk = gvk
	}
	return ops
}

// schemaName guesses the schema name of a built-in kind by its group: those that
// subresources read and write.
func schemaName(gvk schema.GroupVersionKind) string {
	group := strings.TrimSuffix(gvk.Group, ".k8s.io")
	if group == "" {
		group = "core"
	}
	return "io.k8s.api." + group + "." + gvk.Version + "." + gvk.Kind
}

// formOf is how version v of kind k is described.
func formOf(k *kinds.Kind, v *kinds.Version) form {
	f := form{Kind: k, kind: k.Kind}
	if v.Kind != "" {
		f.kind = v.Kind
	}
	var obj, list runtime.Object
	switch {
	case v.New != nil:
		obj = v.New()
	case k.New != nil:
		obj = k.New()
	}
	switch {
	case v.NewList != nil:
		list = v.NewList()
	case v.New == nil && k.NewList != nil:
		list = k.NewList()
	}
	if obj != nil {
		f.schema = nameOf(obj)
	}
	if list != nil {
		f.list = nameOf(list)
	}
	// Types of our own, for versions that Kubernetes' libraries have forgotten, are
	// told by the names that they had.
	if !strings.HasPrefix(f.schema, "io.k8s.") {
		f.schema = schemaName(schema.GroupVersionKind{Group: v.Group, Version: v.Version, Kind: f.kind})
		f.list = f.schema + "List"
	}
	if f.list == "" {
		f.list = f.schema + "List"
	}
	return f
}
