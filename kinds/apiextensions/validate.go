package apiextensions

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateDefinition(d *definition) field.ErrorList            { return nil }
func validateDefinitionUpdate(d, old *definition) field.ErrorList { return nil }
func validateDefinitionStatus(d, old *definition) field.ErrorList { return nil }
