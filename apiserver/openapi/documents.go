package openapi

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

// Extra is a kind that was added at run time.
type Extra struct {
	Kind *kinds.Kind // of one version
	// Schema is that of the objects, with apiVersion, kind, metadata and
	// x-kubernetes-group-version-kind, in the words of version 3 or 2. It is asked for
	// when a document is made.
	Schema func(three bool) (json.RawMessage, error)
	// Digest changes with the schema.
	Digest string
}

// state is what documents are made of: the forms by group version.
type state struct {
	versions map[schema.GroupVersion][]form
	custom   map[string]Extra // by schema name
	remotes  []Remote
	digest   [32]byte // of the embedded schemas
	title    tree
	docs     sync.Map // of docKey to *document
}

type docKey struct{ path, media string }

func newState(table *kinds.Table, extra []Extra, hideOld bool, version string) *state {
	s := &state{versions: map[schema.GroupVersion][]form{}, custom: map[string]Extra{},
		title: tree{"title": "Kubernetes", "version": version}}
	add := func(k *kinds.Kind, x *Extra) {
		for i := range k.Served {
			v := &k.Served[i]
			if v.Old && hideOld {
				continue
			}
			f := formOf(k, v)
			if x != nil {
				f.custom = true
				f.schema = customName(v.Group, v.Version, f.kind)
				f.list = customName(v.Group, v.Version, k.List)
				s.custom[f.schema], s.custom[f.list] = *x, *x
			}
			gv := schema.GroupVersion{Group: v.Group, Version: v.Version}
			s.versions[gv] = append(s.versions[gv], f)
		}
	}
	for _, k := range table.All() {
		add(k, nil)
	}
	for i := range extra {
		add(extra[i].Kind, &extra[i])
	}
	s.digest = sha256.Sum256(compressed)
	return s
}

// customName turns example.com, v1, X into com.example.v1.X.
func customName(group, version, kind string) string {
	parts := strings.Split(group, ".")
	slices.Reverse(parts)
	return strings.Join(append(parts, version, kind), ".")
}

// paths lists the documents of the index.
func (s *state) paths() []string {
	seen := map[string]bool{".well-known/openid-configuration": true, "api": true, "apis": true, "openid/v1/jwks": true, "version": true}
	for gv := range s.versions {
		if gv.Group == "" {
			seen["api/"+gv.Version] = true
			continue
		}
		seen["apis/"+gv.Group], seen["apis/"+gv.String()] = true, true
	}
	out := make([]string, 0, len(seen))
	for p := range seen {
		out = append(out, p)
	}
	sort.Strings(out)
	return out
}

// hash names the state of one document, "" for that of version 2, without making
// it: what it is made of.
func (s *state) hash(path string) string {
	h := sha256.New()
	h.Write(s.digest[:])
	fmt.Fprintf(h, "%s %v\n", path, s.title)
	if path == "" {
		for _, p := range s.paths() {
			io.WriteString(h, s.hash(p))
		}
		for i := range s.remotes {
			fmt.Fprintf(h, "%s %s\n", s.remotes[i].path(), s.remotes[i].Hash)
		}
	}
	if gv, ok := versionOf(path); ok {
		for _, f := range sortedForms(s.versions[gv]) {
			fmt.Fprintf(h, "%s %s %s %t %v\n", f.Resource, f.kind, f.schema, f.Namespaced, f.Verbs)
			for _, name := range sortedKeys(f.Subresources) {
				fmt.Fprintf(h, " %s %v %v\n", name, f.Subresources[name].Verbs, f.Subresources[name].Kind)
			}
			if f.custom {
				io.WriteString(h, s.custom[f.schema].Digest)
			}
		}
	}
	return fmt.Sprintf("%X", h.Sum(nil))
}

func sortedForms(in []form) []form {
	out := slices.Clone(in)
	sort.Slice(out, func(i, j int) bool { return out[i].Resource < out[j].Resource })
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// versionOf reads api/v1 or apis/GROUP/VERSION.
func versionOf(path string) (schema.GroupVersion, bool) {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}, true
	case len(parts) == 3 && parts[0] == "apis":
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, true
	}
	return schema.GroupVersion{}, false
}

func (s *state) builder(gv schema.GroupVersion) *builder {
	b := newBuilder(gv)
	for _, f := range sortedForms(s.versions[gv]) {
		b.kind(f)
	}
	return b
}

// v3 makes one document of version 3; ok is false for a path that has none.
func (s *state) v3(path string) (doc []byte, ok bool, err error) {
	var paths []*route
	gv, isVersion := versionOf(path)
	switch {
	case isVersion && s.versions[gv] != nil:
		paths = s.builder(gv).paths
	case slices.Contains(s.paths(), path):
		paths = plainPaths(path)
	default:
		return nil, false, nil
	}
	r := &renderer{prefix: refV3, used: map[string]bool{}}
	rendered := r.pathsV3(paths)
	texts, err := s.texts(r, true)
	if err != nil {
		return nil, true, err
	}
	doc, err = documentV3(s.title, rendered, texts)
	return doc, true, err
}

// v2 makes the document of version 2.
func (s *state) v2() ([]byte, error) {
	r := &renderer{prefix: refV2, used: map[string]bool{}, shared: tree{}}
	paths := tree{}
	for gv := range s.versions {
		r.pathsV2(s.builder(gv).paths, paths)
	}
	for _, p := range s.paths() {
		if _, ok := versionOf(p); !ok {
			r.pathsV2(plainPaths(p), paths)
		}
	}
	texts, err := s.texts(r, false)
	if err != nil {
		return nil, err
	}
	return documentV2(s.title, paths, r.shared, texts)
}

// texts gathers the schemas that a document refers to.
func (s *state) texts(r *renderer, three bool) (map[string]string, error) {
	all, err := load()
	if err != nil {
		return nil, err
	}
	from := all.v2
	if three {
		from = all.v3
	}
	out := map[string]string{}
	names := sortedKeys(r.used)
	for _, n := range names {
		if x, ok := s.custom[n]; ok {
			if out[n], err = customText(x, n, r.prefix, three); err != nil {
				return nil, err
			}
			references(out[n], r.prefix, func(name string) { names = append(names, name) })
		} else if _, ok := from[n]; !ok {
			out[n] = s.unknown(n)
		}
	}
	closure(from, r.prefix, names, out)
	return out, nil
}

// unknown is the schema of a type that there is no other for: an object of its kind.
func (s *state) unknown(name string) string {
	for gv, forms := range s.versions {
		for _, f := range forms {
			kind := f.kind
			if f.list == name {
				kind += "List"
			}
			if f.schema == name || f.list == name {
				return fmt.Sprintf(`{"type":"object","x-kubernetes-group-version-kind":[{"group":%q,"kind":%q,"version":%q}],"x-kubernetes-preserve-unknown-fields":true}`,
					gv.Group, kind, gv.Version)
			}
		}
	}
	return `{"type":"object","x-kubernetes-preserve-unknown-fields":true}`
}

// customText is the schema of a custom resource or of its list.
func customText(x Extra, name, prefix string, three bool) (string, error) {
	k := x.Kind
	object := customName(k.Group, k.Version, k.Kind)
	if name == object {
		text, err := x.Schema(three)
		return string(text), err
	}
	meta := `{"$ref":"` + prefix + `io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta","description":"Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"}`
	if three {
		meta = `{"allOf":[{"$ref":"` + prefix + `io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"}],"description":"Standard list metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"}`
	}
	return `{"description":"` + k.List + ` is a list of ` + k.Kind + `","properties":{"apiVersion":{"description":"APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources","type":"string"},` +
		`"items":{"description":"List of ` + k.Resource + `. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md","items":{"$ref":"` + prefix + object + `"},"type":"array"},` +
		`"kind":{"description":"Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds","type":"string"},` +
		`"metadata":` + meta + `},"required":["items"],"type":"object",` +
		fmt.Sprintf(`"x-kubernetes-group-version-kind":[{"group":%q,"kind":%q,"version":%q}]}`, k.Group, k.List, k.Version), nil
}

// plainPaths are the paths of the documents that belong to no group version.
func plainPaths(doc string) []*route {
	get := func(path, id, description, tag, model string, produces ...string) []*route {
		if len(produces) == 0 {
			produces = object
		}
		return []*route{{path: path, operations: []operation{{method: "get", id: id, description: description, tag: tag, produces: produces, response: model, codes: ok}}}}
	}
	const meta = "io.k8s.apimachinery.pkg.apis.meta.v1."
	switch doc {
	case "version":
		return get("/version/", "getCodeVersion", "get the version information for this server", "version", "io.k8s.apimachinery.pkg.version.Info", object[0])
	case "api":
		return get("/api/", "getCoreAPIVersions", "get available API versions", "core", meta+"APIVersions")
	case "apis":
		return get("/apis/", "getAPIVersions", "get available API versions", "apis", meta+"APIGroupList")
	case ".well-known/openid-configuration":
		return get("/.well-known/openid-configuration/", "getServiceAccountIssuerOpenIDConfiguration", "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'", "WellKnown", "string", object[0])
	case "openid/v1/jwks":
		return get("/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset", "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)", "openid", "string", "application/jwk-set+json")
	}
	group := strings.TrimPrefix(doc, "apis/")
	b := newBuilder(schema.GroupVersion{Group: group})
	return get("/apis/"+group+"/", "get"+b.id+"APIGroup", "get information of a group", strings.TrimSuffix(b.tag, "_"), meta+"APIGroup")
}
