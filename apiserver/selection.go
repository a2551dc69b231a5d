package apiserver

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	selop "k8s.io/apimachinery/pkg/selection"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/kinds"
)

// selection is what a list or watch selects. Labels and fields are read from the
// typed objects; no encoding is looked at.
type selection struct {
	name   string // of the one object asked for, or ""
	labels labels.Selector
	only   *labelTerm // the labels where they are one equality, the common case
	marks  uint64     // of entries that may be selected: see cache.Mark
	equal  []cache.Label
	fields []fieldTerm
}

type labelTerm struct{ key, value string }

type fieldTerm struct {
	get   func(kinds.Object) string
	equal bool
	value string
}

func newSelection(k *kinds.Kind, v *kinds.Version, ls labels.Selector, fs fields.Selector) (*selection, error) {
	s := &selection{}
	if ls != nil && !ls.Empty() {
		s.labels = ls
		reqs, ok := ls.Requirements()
		for i := range reqs {
			switch reqs[i].Operator() {
			case selop.Equals, selop.DoubleEquals, selop.In:
				if vals := reqs[i].Values(); ok && vals.Len() == 1 {
					only := &labelTerm{reqs[i].Key(), vals.UnsortedList()[0]}
					s.marks |= cache.Mark(only.key, only.value)
					s.equal = append(s.equal, cache.Label{Key: only.key, Value: only.value})
					if len(reqs) == 1 {
						s.only = only
					}
				}
			}
		}
	}
	if fs == nil || fs.Empty() {
		return s, nil
	}
	for _, req := range fs.Requirements() {
		get := fieldGetter(k, v, req.Field)
		if get == nil {
			return nil, unknownField(k, v, req.Field)
		}
		if convert := k.FromCache; convert != nil {
			read := get
			get = func(o kinds.Object) string {
				if form, err := convert(o); err == nil {
					o = form
				}
				return read(o)
			}
		}
		s.fields = append(s.fields, fieldTerm{get: get, equal: req.Operator != selop.NotEquals, value: req.Value})
	}
	return s, nil
}

func fieldGetter(k *kinds.Kind, v *kinds.Version, name string) func(kinds.Object) string {
	switch name {
	case "metadata.name":
		return func(o kinds.Object) string { return o.GetName() }
	case "metadata.namespace":
		if k.Namespaced || !hasFields(k, v) && k.Custom == nil {
			return func(o kinds.Object) string { return o.GetNamespace() }
		}
	}
	if v != nil && v.FieldLabels != nil {
		name = v.FieldLabels[name]
	}
	return k.Fields[name]
}

// hasFields tells whether a form of a kind has field labels of its own.
func hasFields(k *kinds.Kind, v *kinds.Version) bool {
	if v != nil && v.FieldLabels != nil {
		return len(v.FieldLabels) > 0
	}
	return len(k.Fields) > 0
}

// unknownField words the error as Kubernetes does: kinds with field labels of
// their own and those with only the general ones differ.
func unknownField(k *kinds.Kind, v *kinds.Version, name string) error {
	if k.FieldUnknown != nil {
		gvk := k.GVK()
		if v != nil {
			gvk.Group, gvk.Version = v.Group, v.Version
		}
		return apierrors.NewBadRequest(k.FieldUnknown(gvk, name))
	}
	if !hasFields(k, v) && k.Custom == nil {
		return apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", name))
	}
	return apierrors.NewBadRequest("field label not supported: " + name)
}

func (s *selection) everything() bool { return s.name == "" && s.labels == nil && len(s.fields) == 0 }

// ascend calls f for the entries that may be selected, by an index of labels where
// there is one; where there might be, it asks for it.
func (s *selection) ascend(kc *cache.Kind, snap cache.Snapshot, namespace, after string, f func(*cache.Entry) bool) {
	if len(s.equal) > 0 {
		if snap.AscendLabelled(namespace, after, s.equal, f) {
			return
		}
		for _, l := range s.equal {
			kc.WantLabel(l.Key)
		}
	}
	snap.AscendMarked(namespace, after, s.marks, f)
}

// selects tells whether an entry of the cache is selected.
func (s *selection) selects(e *cache.Entry) bool { return e.MayHave(s.marks) && s.matches(e.Object) }

func (s *selection) matches(obj kinds.Object) bool {
	if s.name != "" && obj.GetName() != s.name {
		return false
	}
	for i := range s.fields {
		if f := &s.fields[i]; (f.get(obj) == f.value) != f.equal {
			return false
		}
	}
	if s.only != nil {
		v, ok := obj.GetLabels()[s.only.key]
		return ok && v == s.only.value
	}
	return s.labels == nil || s.labels.Matches(labels.Set(obj.GetLabels()))
}
