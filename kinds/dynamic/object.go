// Package dynamic holds the Go type of objects whose kind is defined at run time:
// metadata as every object has it, and maps for the rest. Unlike apimachinery's
// Unstructured, metadata is read without looking into maps, and a copy of the top
// (codec.Shallow) may be given other metadata.
package dynamic

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
)

// Object is one object. TypeMeta is empty within the server, as for every kind;
// Version says then in which version of the kind the fields are.
type Object struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Version string
	// Fields are the object's but apiVersion, kind and metadata, as apimachinery's
	// JSON has them: map[string]any, []any, string, bool, int64, float64, nil.
	Fields map[string]any
}

// List stands for a list's type; lists are made of their items' encodings.
type List struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []Object
}

// DeepCopyObject implements runtime.Object.
func (o *Object) DeepCopyObject() runtime.Object {
	out := &Object{TypeMeta: o.TypeMeta, Version: o.Version, Fields: runtime.DeepCopyJSON(o.Fields)}
	o.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	return out
}

// DeepCopyObject implements runtime.Object.
func (l *List) DeepCopyObject() runtime.Object {
	out := &List{TypeMeta: l.TypeMeta, ListMeta: l.ListMeta}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].DeepCopyObject().(*Object))
	}
	return out
}

// SetContent takes the fields of a whole document, but for its metadata, which is
// the caller's to read. The map is the object's from then on.
func (o *Object) SetContent(m map[string]any) {
	o.APIVersion, _ = m["apiVersion"].(string)
	o.Kind, _ = m["kind"].(string)
	_, o.Version, _ = strings.Cut(o.APIVersion, "/")
	delete(m, "apiVersion")
	delete(m, "kind")
	delete(m, "metadata")
	o.Fields = m
}

// Content is the whole object as maps, of kind and version as given. Only the
// outermost map and that of metadata are new.
func (o *Object) Content(apiVersion, kind string) (map[string]any, error) {
	meta, err := o.Metadata()
	if err != nil {
		return nil, err
	}
	m := make(map[string]any, len(o.Fields)+3)
	maps.Copy(m, o.Fields)
	m["apiVersion"], m["kind"], m["metadata"] = apiVersion, kind, meta
	return m, nil
}

// Metadata is the metadata as a map.
func (o *Object) Metadata() (map[string]any, error) {
	meta, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&o.ObjectMeta)
	if err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", o.Name, err)
	}
	if meta["creationTimestamp"] == nil {
		delete(meta, "creationTimestamp")
	}
	return meta, nil
}

// MarshalJSON writes the object, with kind and apiVersion if they are set.
func (o *Object) MarshalJSON() ([]byte, error) {
	meta, err := json.Marshal(&o.ObjectMeta)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(meta)+256)
	b = append(b, '{')
	if o.Kind != "" || o.APIVersion != "" {
		typed, err := json.Marshal(o.TypeMeta)
		if err != nil {
			return nil, err
		}
		b = append(b, typed[1:len(typed)-1]...)
		b = append(b, ',')
	}
	b = append(b, `"metadata":`...)
	b = append(b, meta...)
	for _, name := range slices.Sorted(maps.Keys(o.Fields)) {
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(o.Fields[name])
		if err != nil {
			return nil, err
		}
		b = append(b, ',')
		b = append(b, key...)
		b = append(b, ':')
		b = append(b, value...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads a whole object. Metadata must be right.
func (o *Object) UnmarshalJSON(data []byte) error {
	var head struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return err
	}
	m := map[string]any{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &m); err != nil {
		return err
	}
	o.ObjectMeta = head.Metadata
	o.SetContent(m)
	return nil
}
