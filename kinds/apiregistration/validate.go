package apiregistration

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateService(s *service) field.ErrorList            { return nil }
func validateServiceUpdate(s, old *service) field.ErrorList { return nil }
func validateServiceStatus(s, old *service) field.ErrorList { return nil }
