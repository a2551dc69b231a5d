package apiextensions

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

func oldDefinition() []kinds.Version { return nil }

func validateDefinition(d *definition) field.ErrorList            { return nil }
func validateDefinitionUpdate(d, old *definition) field.ErrorList { return nil }
func validateDefinitionStatus(d, old *definition) field.ErrorList { return nil }
