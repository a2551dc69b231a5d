// Package typed knows the fields of the built-in kinds as server-side apply sees
// them: which lists are sets or maps and by which keys, what is atomic, which
// defaults keys have. It is made from the same definitions as the OpenAPI documents
// (see ../gen) and is read in a few milliseconds, without OpenAPI.
package typed

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/typed"
)

//go:embed types.gz
var compressed []byte

// Converter makes typed values of the objects that scheme knows.
func Converter(scheme *runtime.Scheme) (managedfields.TypeConverter, error) {
	types, err := Decode(compressed)
	if err != nil {
		return nil, fmt.Errorf("typed: embedded types: %w", err)
	}
	return managedfields.NewSchemeTypeConverter(scheme, &smd.Parser{Schema: schema.Schema{Types: types}}), nil
}

// The forms of structured-merge-diff's schema with names of their own: its types
// embed each other, which JSON cannot tell apart.
type (
	typeDef struct {
		Name string `json:"n"`
		atom
	}
	atom struct {
		Scalar schema.Scalar `json:"s,omitempty"`
		List   *listDef      `json:"l,omitempty"`
		Map    *mapDef       `json:"m,omitempty"`
	}
	ref struct {
		Named        string `json:"n,omitempty"`
		Inlined      *atom  `json:"i,omitempty"`
		Relationship string `json:"r,omitempty"`
		Nullable     bool   `json:"u,omitempty"`
	}
	listDef struct {
		Element      ref      `json:"e"`
		Relationship string   `json:"r,omitempty"`
		Keys         []string `json:"k,omitempty"`
	}
	mapDef struct {
		Fields       []fieldDef `json:"f,omitempty"`
		Element      *ref       `json:"e,omitempty"`
		Relationship string     `json:"r,omitempty"`
	}
	fieldDef struct {
		Name    string `json:"n"`
		Type    ref    `json:"t"`
		Default any    `json:"d,omitempty"`
	}
)

// Encode writes types; Decode reads them.
func Encode(types []schema.TypeDef) ([]byte, error) {
	out := make([]typeDef, len(types))
	for i, t := range types {
		out[i] = typeDef{t.Name, fromAtom(t.Atom)}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Decode reads what Encode wrote.
func Decode(file []byte) ([]schema.TypeDef, error) {
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	var in []typeDef
	if err := json.NewDecoder(z).Decode(&in); err != nil {
		return nil, err
	}
	out := make([]schema.TypeDef, len(in))
	for i, t := range in {
		out[i] = schema.TypeDef{Name: t.Name, Atom: toAtom(t.atom)}
	}
	return out, nil
}

func fromAtom(a schema.Atom) atom {
	var out atom
	if a.Scalar != nil {
		out.Scalar = *a.Scalar
	}
	if l := a.List; l != nil {
		out.List = &listDef{fromRef(l.ElementType), string(l.ElementRelationship), l.Keys}
	}
	if m := a.Map; m != nil {
		out.Map = &mapDef{Relationship: string(m.ElementRelationship)}
		for _, f := range m.Fields {
			out.Map.Fields = append(out.Map.Fields, fieldDef{f.Name, fromRef(f.Type), f.Default})
		}
		if e := fromRef(m.ElementType); e != (ref{}) {
			out.Map.Element = &e
		}
	}
	return out
}

func fromRef(r schema.TypeRef) ref {
	out := ref{Nullable: r.Nullable}
	if r.NamedType != nil {
		out.Named = *r.NamedType
	}
	if r.ElementRelationship != nil {
		out.Relationship = string(*r.ElementRelationship)
	}
	if a := fromAtom(r.Inlined); a != (atom{}) {
		out.Inlined = &a
	}
	return out
}

func toAtom(a atom) schema.Atom {
	var out schema.Atom
	if a.Scalar != "" {
		s := a.Scalar
		out.Scalar = &s
	}
	if l := a.List; l != nil {
		out.List = &schema.List{ElementType: toRef(l.Element), ElementRelationship: schema.ElementRelationship(l.Relationship), Keys: l.Keys}
	}
	if m := a.Map; m != nil {
		out.Map = &schema.Map{ElementRelationship: schema.ElementRelationship(m.Relationship)}
		for _, f := range m.Fields {
			out.Map.Fields = append(out.Map.Fields, schema.StructField{Name: f.Name, Type: toRef(f.Type), Default: f.Default})
		}
		if m.Element != nil {
			out.Map.ElementType = toRef(*m.Element)
		}
	}
	return out
}

func toRef(r ref) schema.TypeRef {
	out := schema.TypeRef{Nullable: r.Nullable}
	if r.Named != "" {
		n := r.Named
		out.NamedType = &n
	}
	if r.Relationship != "" {
		e := schema.ElementRelationship(r.Relationship)
		out.ElementRelationship = &e
	}
	if r.Inlined != nil {
		out.Inlined = toAtom(*r.Inlined)
	}
	return out
}

var closures sync.Map // name to []schema.TypeDef

// Closure are the types that the named one refers to, itself included. They are
// shared: nobody may change them.
func Closure(name string) ([]schema.TypeDef, error) {
	if v, ok := closures.Load(name); ok {
		return v.([]schema.TypeDef), nil
	}
	types, err := Decode(compressed)
	if err != nil {
		return nil, fmt.Errorf("typed: embedded types: %w", err)
	}
	all := make(map[string]schema.TypeDef, len(types))
	for _, t := range types {
		all[t.Name] = t
	}
	var out []schema.TypeDef
	seen := map[string]bool{}
	var visit func(name string)
	ref := func(r schema.TypeRef) {}
	atom := func(a schema.Atom) {
		if a.List != nil {
			ref(a.List.ElementType)
		}
		if a.Map != nil {
			for _, f := range a.Map.Fields {
				ref(f.Type)
			}
			ref(a.Map.ElementType)
		}
	}
	ref = func(r schema.TypeRef) {
		if r.NamedType != nil {
			visit(*r.NamedType)
		}
		atom(r.Inlined)
	}
	visit = func(name string) {
		t, ok := all[name]
		if !ok || seen[name] {
			return
		}
		seen[name] = true
		out = append(out, t)
		atom(t.Atom)
	}
	visit(name)
	if len(out) == 0 {
		return nil, fmt.Errorf("typed: there is no type %s", name)
	}
	closures.Store(name, out)
	return out, nil
}
