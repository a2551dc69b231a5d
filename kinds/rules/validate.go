package rules

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NonNegative refuses numbers below zero.
func NonNegative(value int64, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(value, path)
}

// Positive refuses numbers below one.
func Positive(value int64, path *field.Path) field.ErrorList {
	if value > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must be greater than 0").WithOrigin("minimum")}
}

// Port refuses what is no port number.
func Port(port int32, path *field.Path) field.ErrorList {
	return Messages(port, validation.IsValidPortNum(int(port)), path)
}

// Messages makes an Invalid error of each text that a check gave of a value.
func Messages(value any, msgs []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range msgs {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

// DNSLabelField judges a field that must be a DNS label.
func DNSLabelField(value string, path *field.Path) field.ErrorList {
	return Messages(value, validation.IsDNS1123Label(value), path)
}

// DNSSubdomainField judges a field that must be a DNS subdomain.
func DNSSubdomainField(value string, path *field.Path) field.ErrorList {
	return Messages(value, validation.IsDNS1123Subdomain(value), path)
}

// QualifiedName judges a name with an optional prefix, as label keys are.
func QualifiedName(value string, path *field.Path) field.ErrorList {
	return Messages(value, validation.IsQualifiedName(value), path)
}

// Required refuses an empty field.
func Required(value string, path *field.Path) field.ErrorList {
	if value != "" {
		return nil
	}
	return field.ErrorList{field.Required(path, "")}
}

// OneOf refuses what is not among the values that a field may have; the message
// lists them in the order of their text.
func OneOf[T ~string](value T, path *field.Path, supported ...T) field.ErrorList {
	if slices.Contains(supported, value) {
		return nil
	}
	supported = slices.Clone(supported)
	slices.Sort(supported)
	return field.ErrorList{field.NotSupported(path, value, supported)}
}

// Immutable refuses a change of a field.
func Immutable(value, old any, path *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(old, value) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, apivalidation.FieldImmutableErrorMsg).WithOrigin("immutable")}
}

// AtMost refuses numbers above a limit.
func AtMost(value, limit int64, path *field.Path) field.ErrorList {
	if value <= limit {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, fmt.Sprintf("must be less than or equal to %d", limit))}
}
