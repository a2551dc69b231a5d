// Package row helps to write a row of the kinds table with funcs of a kind's own
// type: it adapts them to kinds.Object, and names the columns, verbs and
// subresources that most kinds share. The group packages use it; nothing else
// does.
package row

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

// DNSSubdomain is the name rule of most kinds.
func DNSSubdomain(name string, prefix bool) []string {
	return apivalidation.NameIsDNSSubdomain(name, prefix)
}

// PathSegment is the name rule of RBAC's kinds: whatever a URL path can carry.
func PathSegment(name string, prefix bool) []string {
	return path.ValidatePathSegmentName(name, prefix)
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

// Fill adapts Default and PrepareCreate.
func Fill[T kinds.Object](f func(obj T)) func(kinds.Object) {
	return func(obj kinds.Object) { f(obj.(T)) }
}

// Carry adapts PrepareUpdate.
func Carry[T kinds.Object](f func(obj, old T)) func(obj, old kinds.Object) {
	return func(obj, old kinds.Object) { f(obj.(T), old.(T)) }
}

// Differ adapts Generation.
func Differ[T kinds.Object](f func(obj, old T) bool) func(obj, old kinds.Object) bool {
	return func(obj, old kinds.Object) bool { return f(obj.(T), old.(T)) }
}

// Judge adapts Validate.
func Judge[T kinds.Object](f func(obj T) field.ErrorList) func(kinds.Object) field.ErrorList {
	return func(obj kinds.Object) field.ErrorList { return f(obj.(T)) }
}

// JudgeUpdate adapts ValidateUpdate.
func JudgeUpdate[T kinds.Object](f func(obj, old T) field.ErrorList) func(obj, old kinds.Object) field.ErrorList {
	return func(obj, old kinds.Object) field.ErrorList { return f(obj.(T), old.(T)) }
}

// Warn adapts Warnings; old is T's zero on creation.
func Warn[T kinds.Object](f func(obj, old T) []string) func(obj, old kinds.Object) []string {
	return func(obj, old kinds.Object) []string {
		var before T
		if old != nil {
			before = old.(T)
		}
		return f(obj.(T), before)
	}
}

// Print adapts Cells.
func Print[T kinds.Object](f func(obj T, now time.Time) []any) func(kinds.Object, time.Time) []any {
	return func(obj kinds.Object, now time.Time) []any { return f(obj.(T), now) }
}

// Text adapts a selectable field.
func Text[T kinds.Object](f func(obj T) string) func(kinds.Object) string {
	return func(obj kinds.Object) string { return f(obj.(T)) }
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
		PrepareUpdate: Carry(carry),
		Reset:         reset,
	}
	if judge != nil {
		s.ValidateUpdate = JudgeUpdate(judge)
	}
	return s
}

// ResetMeta gives obj the metadata of old except what a status write may touch, as
// metav1.ResetObjectMetaForStatus does.
func ResetMeta(obj, old metav1.Object) { metav1.ResetObjectMetaForStatus(obj, old) }
