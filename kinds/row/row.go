// Package row helps to write a row of the kinds table: constructors, served forms
// and the subresources that most kinds share. Package kinds/rules, beside it, has
// the adapters for typed funcs, columns and common rules; the group packages use
// both.
package row

import (
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// PathSegment is the name rule of RBAC's kinds: whatever a URL path can carry.
func PathSegment(name string, _ bool) []string {
	return content.IsPathSegmentName(name)
}

// Fill completes a row in which k says what is the kind's own. Its group and version,
// its names and constructors follow from gv and from the Go types of hub and list;
// old are the forms that are served besides the hub.
func Fill[T, L any, P interface {
	*T
	kinds.Object
}, PL interface {
	*L
	runtime.Object
}](gv schema.GroupVersion, k *kinds.Kind, old ...kinds.Version) *kinds.Kind {
	k.Group, k.Version = gv.Group, gv.Version
	k.Kind, k.List = reflect.TypeFor[T]().Name(), reflect.TypeFor[L]().Name()
	k.Singular = strings.ToLower(k.Kind)
	k.New, k.NewList = Make[T, P](), MakeAny[L, PL]()
	if k.EncodeStored == nil {
		k.Settle = rules.Settle(reflect.TypeFor[T]())
	}
	k.Served = append(Hub(gv.Group, gv.Version), old...)
	return k
}

// Hub is the served form of a kind that is its hub.
func Hub(group, version string) []kinds.Version {
	return []kinds.Version{{Group: group, Version: version}}
}

// Make adapts a constructor of a kind.
func Make[T any, P interface {
	*T
	kinds.Object
}]() func() kinds.Object {
	return func() kinds.Object { return P(new(T)) }
}

// MakeAny adapts a constructor of a list, an old form or a view.
func MakeAny[T any, P interface {
	*T
	runtime.Object
}]() func() runtime.Object {
	return func() runtime.Object { return P(new(T)) }
}

// Never is the Generation of kinds whose generation stays 1.
func Never(_, _ kinds.Object) bool { return false }

// Same is Kubernetes' semantic equality: nil and empty are the same, quantities
// and times are compared by value.
func Same(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }

// WithStatus is the subresource that writes status alone. carry restores what such
// a write may not change, judge may be nil; reset are the paths that it may not own.
func WithStatus[T kinds.Object](carry func(obj, old T), judge func(obj, old T) field.ErrorList, reset ...string) map[string]kinds.Subresource {
	return map[string]kinds.Subresource{"status": Part(carry, judge, reset...)}
}

// Part is a subresource that reads and writes the parent itself.
func Part[T kinds.Object](carry func(obj, old T), judge func(obj, old T) field.ErrorList, reset ...string) kinds.Subresource {
	s := kinds.Subresource{
		Verbs:         []string{"get", "patch", "update"},
		PrepareUpdate: rules.Do2(carry),
		Reset:         reset,
	}
	if judge != nil {
		s.ValidateUpdate = rules.Check2(judge)
	}
	return s
}

// ResetMeta gives obj the metadata of old except what a status write may touch, as
// metav1.ResetObjectMetaForStatus does.
func ResetMeta(obj, old metav1.Object) { metav1.ResetObjectMetaForStatus(obj, old) }

// Messages makes an error of each text that a check gave of a value.
func Messages(value any, msgs []string, path *field.Path) field.ErrorList {
	var l rules.List
	l.Messages(path, value, msgs)
	return l.Errors()
}

// Immutable refuses a change of a field whose value Kubernetes shows as its internal
// type.
func Immutable(value, old any, path *field.Path) field.ErrorList {
	if Same(old, value) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, rules.Internal(value), "field is immutable")}
}
