// Package custom serves the kinds that CustomResourceDefinitions define. A
// definition becomes one row of the kinds table for each served version; its
// schema, rules and columns are compiled when they are first asked for and
// forgotten when nobody asks any more, so that a definition that is only installed
// costs little. Registry follows the definitions, keeps their status and tells the
// rest of the server which kinds there are.
//
// The rules themselves (structural schemas, defaults, pruning, CEL, validation) are
// apiextensions-apiserver's libraries; this package joins them to the server in the
// order in which Kubernetes applies them (pkg/registry/customresource,
// pkg/apiserver/customresource_handler.go).
package custom

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/version"

	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
	"skiff.dev/skiff/kinds/rules"
)

type crd = apiextensionsv1.CustomResourceDefinition

// Definition is one CustomResourceDefinition as it is served.
type Definition struct {
	name     string
	uid      types.UID
	group    string
	accepted apiextensionsv1.CustomResourceDefinitionNames
	// source gives the whole definition; it is kept packed.
	source  func() (*crd, error)
	storage string

	versions map[string]*schemas // by name, served or not
	rows     []*kinds.Kind       // of the served versions
	stored   *kinds.Kind         // the row of the storage version, served or not

	shelf       *shelf // of what is compiled
	convert     converter
	types       lazy[typeConverter]
	terminating atomic.Bool
}

// Rows are the kinds of the served versions.
func (d *Definition) Rows() []*kinds.Kind { return d.rows }

// Stored is the row in whose version new objects are stored.
func (d *Definition) Stored() *kinds.Kind { return d.stored }

// Name is the CustomResourceDefinition's.
func (d *Definition) Name() string { return d.name }

// define makes the rows of c, whose names are accepted; source gives c again.
func define(c *crd, source func() (*crd, error), hooks *callout.Clients, on *shelf) (*Definition, error) {
	d := &Definition{
		name: c.Name, uid: c.UID, group: c.Spec.Group, accepted: *c.Status.AcceptedNames.DeepCopy(),
		source: source, shelf: on, versions: map[string]*schemas{},
	}
	n := &d.accepted
	if n.Plural == "" || n.Singular == "" || n.Kind == "" || n.ListKind == "" {
		return nil, fmt.Errorf("custom: %s has no accepted names", c.Name)
	}
	d.convert = newConverter(d, c.Spec.Conversion, hooks)
	for i := range c.Spec.Versions {
		v := &c.Spec.Versions[i]
		d.versions[v.Name] = &schemas{d: d, version: v.Name}
		if v.Storage {
			d.storage = v.Name
		}
	}
	paths := replicasPaths(c)
	for i := range c.Spec.Versions {
		v := &c.Spec.Versions[i]
		if !v.Served && !v.Storage {
			continue
		}
		k := d.row(c, v, paths)
		if v.Served {
			d.rows = append(d.rows, k)
		}
		if v.Storage {
			d.stored = k
		}
	}
	if d.stored == nil {
		return nil, fmt.Errorf("custom: %s has no storage version", c.Name)
	}
	return d, nil
}

// trim forgets what was compiled and is not used.
func (d *Definition) trim() {
	for _, s := range d.versions {
		s.trim()
	}
	d.types.trim()
}

// describer makes the OpenAPI schema of a row.
func (d *Definition) describer(k *kinds.Kind) func(three bool) (json.RawMessage, error) {
	return func(three bool) (json.RawMessage, error) { return d.openAPI(k, three) }
}

// verbs are in the order in which discovery tells them.
var (
	allVerbs  = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	lastVerbs = []string{"delete", "deletecollection", "get", "list", "watch"}
)

// row is the kind of one version.
func (d *Definition) row(c *crd, v *apiextensionsv1.CustomResourceDefinitionVersion, paths map[string][]string) *kinds.Kind {
	s := d.versions[v.Name]
	made := func() *dynamic.Object { return &dynamic.Object{Version: v.Name, Fields: map[string]any{}} }
	k := &kinds.Kind{
		Group: d.group, Version: v.Name, Kind: d.accepted.Kind, List: d.accepted.ListKind,
		Resource: d.accepted.Plural, Singular: d.accepted.Singular,
		ShortNames: d.accepted.ShortNames, Categories: d.accepted.Categories,
		Namespaced: c.Spec.Scope == apiextensionsv1.NamespaceScoped,
		Verbs:      allVerbs,
		Served: []kinds.Version{{
			Group: d.group, Version: v.Name,
			New:     func() runtime.Object { return made() },
			NewList: func() runtime.Object { return &dynamic.List{} },
			ToHub: func(in runtime.Object) (kinds.Object, error) {
				o, ok := in.(*dynamic.Object)
				if !ok {
					return nil, fmt.Errorf("custom: %T is no object of %s", in, d.name)
				}
				return o, nil
			},
			FromHub: func(in kinds.Object) (runtime.Object, error) { return d.to(in, v.Name) },
		}},
		New:             func() kinds.Object { return made() },
		NewList:         func() runtime.Object { return &dynamic.List{} },
		Name:            rules.DNSSubdomain,
		RequireRevision: true,
		FromCache:       func(o kinds.Object) (kinds.Object, error) { return d.to(o, v.Name) },
		ToCache:         d.toCache,
		Default:         func(o kinds.Object) { s.defaults(fieldsOf(o)) },
		Restored:        d.restored,
		Warnings:        finalizerWarnings,
		Generation:      rowChanged,
		Custom: &kinds.Custom{
			Coerce:         func(o kinds.Object, report bool) ([]string, error) { return s.coerce(o, report) },
			StorageVersion: d.storage,
			Terminating:    d.terminating.Load,
			Types:          func() (any, error) { return d.typeConverter() },
			ReplicasPaths:  paths,
			Trim:           d.trim,
			Rows:           d.Rows,
			Convert:        func(o kinds.Object, version string) (kinds.Object, error) { return d.convertTo(o, version) },
		},
	}
	if v.Deprecated {
		k.Served[0].Deprecated = deprecation(c, v)
	}
	judge := &judge{s: s, kind: k.GVK(), namespaced: k.Namespaced}
	if v.Subresources != nil {
		judge.scale = v.Subresources.Scale
		judge.status = v.Subresources.Status != nil
	}
	k.PrepareCreate, k.PrepareUpdate = judge.prepareCreate, judge.prepareUpdate
	k.Validate = judge.create
	k.ValidateUpdate = func(o, old kinds.Object) field.ErrorList { return judge.update(o, old, nil) }
	k.Custom.ValidateUpdate = func(sub string, o, old kinds.Object, warn func(string)) field.ErrorList {
		if sub == "status" {
			return judge.updateStatus(o, old, warn)
		}
		return judge.update(o, old, warn)
	}
	k.Subresources = map[string]kinds.Subresource{}
	if judge.status {
		k.Subresources["status"] = kinds.Subresource{
			Verbs:          []string{"get", "patch", "update"},
			PrepareUpdate:  judge.prepareStatus,
			ValidateUpdate: func(o, old kinds.Object) field.ErrorList { return judge.updateStatus(o, old, nil) },
			Reset:          []string{"metadata", "spec"},
		}
	}
	if judge.scale != nil {
		k.Subresources["scale"] = scaleRow(judge)
	}
	k.Columns, k.Cells = columns(v)
	k.Fields = selectable(v)
	return k
}

// deprecation is the warning of a deprecated version (customresource_handler.go,
// defaultDeprecationWarning).
func deprecation(c *crd, v *apiextensionsv1.CustomResourceDefinitionVersion) string {
	if v.DeprecationWarning != nil {
		return *v.DeprecationWarning
	}
	text := fmt.Sprintf("%s/%s %s is deprecated", c.Spec.Group, v.Name, c.Spec.Names.Kind)
	best := ""
	for _, o := range c.Spec.Versions {
		if o.Served && !o.Deprecated && version.CompareKubeAwareVersionStrings(v.Name, o.Name) < 0 &&
			(best == "" || version.CompareKubeAwareVersionStrings(o.Name, best) > 0) {
			best = o.Name
		}
	}
	if best == "" {
		return text
	}
	return text + fmt.Sprintf("; use %s/%s %s", c.Spec.Group, best, c.Spec.Names.Kind)
}

func replicasPaths(c *crd) map[string][]string {
	out := map[string][]string{}
	for _, v := range c.Spec.Versions {
		gv := schema.GroupVersion{Group: c.Spec.Group, Version: v.Name}.String()
		if v.Subresources == nil || v.Subresources.Scale == nil {
			out[gv] = nil
			continue
		}
		out[gv] = splitPath(v.Subresources.Scale.SpecReplicasPath)
	}
	return out
}

// splitPath cuts a simple JSON path, with its leading period ignored.
func splitPath(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

func fieldsOf(o kinds.Object) map[string]any {
	d, ok := o.(*dynamic.Object)
	if !ok {
		return nil
	}
	if d.Fields == nil {
		d.Fields = map[string]any{}
	}
	return d.Fields
}

// versionOf finds a version of c.
func versionOf(c *crd, name string) *apiextensionsv1.CustomResourceDefinitionVersion {
	i := slices.IndexFunc(c.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Spec.Versions[i]
}
