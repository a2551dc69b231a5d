package rules

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// List collects errors in the order in which they are found.
type List field.ErrorList

// Errors is what was collected; nil if nothing.
func (l *List) Errors() field.ErrorList { return field.ErrorList(*l) }

// Add appends errors found elsewhere.
func (l *List) Add(errs ...*field.Error) {
	if len(errs) > 0 {
		*l = append(*l, errs...)
	}
}

// Required says that a field has no value.
func (l *List) Required(path *field.Path, detail string) {
	*l = append(*l, field.Required(path, detail))
}

// Invalid says what is wrong with a value.
func (l *List) Invalid(path *field.Path, value any, detail string) {
	*l = append(*l, field.Invalid(path, value, detail))
}

// Forbidden says that a field may not be as it is here.
func (l *List) Forbidden(path *field.Path, detail string) {
	*l = append(*l, field.Forbidden(path, detail))
}

// Duplicate says that a value stands there twice.
func (l *List) Duplicate(path *field.Path, value any) { *l = append(*l, field.Duplicate(path, value)) }

// NotFound says that what a value names is not there.
func (l *List) NotFound(path *field.Path, value any) { *l = append(*l, field.NotFound(path, value)) }

// TooLong says that a value is longer than max.
func (l *List) TooLong(path *field.Path, max int) { *l = append(*l, field.TooLong(path, "", max)) }

// Messages adds an Invalid error for each text that a check gave of a value.
func (l *List) Messages(path *field.Path, value any, msgs []string) {
	for _, msg := range msgs {
		l.Invalid(path, value, msg)
	}
}

// Name adds what is wrong with a field's child that is a name.
func (l *List) Name(path *field.Path, name string, rule func(string, bool) []string) {
	l.Messages(path, name, rule(name, false))
}

// Need adds a Required error for the child of path unless value is set.
func (l *List) Need(path *field.Path, child, value string) {
	if value == "" {
		l.Required(path.Child(child), "")
	}
}

// Range adds an Invalid error for a number outside of [low, high].
func Range[N ~int | ~int32 | ~int64](l *List, path *field.Path, value, low, high N, detail string) {
	if value < low || value > high {
		l.Invalid(path, value, detail)
	}
}

// Supported adds a NotSupported error unless value is one of supported, which the
// message lists in the order given.
func Supported[T ~string](l *List, path *field.Path, value T, supported ...T) {
	if !slices.Contains(supported, value) {
		l.Add(field.NotSupported(path, value, supported))
	}
}

// SupportedOrRequired is Supported for a field that may not be empty.
func SupportedOrRequired[T ~string](l *List, path *field.Path, value T, supported ...T) {
	if value == "" {
		l.Required(path, "")
		return
	}
	Supported(l, path, value, supported...)
}
