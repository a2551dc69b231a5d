package rules

import (
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

// The adapters turn a func over a kind's own type into the func over any object
// that a row of the table holds. A row is only ever given its own type.

// Do adapts Default and PrepareCreate.
func Do[T kinds.Object](f func(obj T)) func(kinds.Object) {
	return func(obj kinds.Object) { f(obj.(T)) }
}

// Do2 adapts PrepareUpdate.
func Do2[T kinds.Object](f func(obj, old T)) func(obj, old kinds.Object) {
	return func(obj, old kinds.Object) { f(obj.(T), old.(T)) }
}

// Differ adapts Generation.
func Differ[T kinds.Object](f func(obj, old T) bool) func(obj, old kinds.Object) bool {
	return func(obj, old kinds.Object) bool { return f(obj.(T), old.(T)) }
}

// Check adapts Validate.
func Check[T kinds.Object](f func(obj T) field.ErrorList) func(kinds.Object) field.ErrorList {
	return func(obj kinds.Object) field.ErrorList { return f(obj.(T)) }
}

// Check2 adapts ValidateUpdate.
func Check2[T kinds.Object](f func(obj, old T) field.ErrorList) func(obj, old kinds.Object) field.ErrorList {
	return func(obj, old kinds.Object) field.ErrorList { return f(obj.(T), old.(T)) }
}

// Warn adapts Warnings; f gets the zero T for old on creation.
func Warn[T kinds.Object](f func(obj, old T) []string) func(obj, old kinds.Object) []string {
	return func(obj, old kinds.Object) []string {
		o, _ := old.(T)
		return f(obj.(T), o)
	}
}

// Field adapts a selectable field.
func Field[T kinds.Object](f func(obj T) string) func(kinds.Object) string {
	return func(obj kinds.Object) string { return f(obj.(T)) }
}

// Cells adapts Cells.
func Cells[T kinds.Object](f func(obj T, now time.Time) []any) func(kinds.Object, time.Time) []any {
	return func(obj kinds.Object, now time.Time) []any { return f(obj.(T), now) }
}
