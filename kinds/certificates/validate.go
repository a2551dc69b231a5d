package certificates

import (
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

func oldRequest() []kinds.Version { return nil }

func validateRequest(r *request) field.ErrorList            { return nil }
func validateRequestUpdate(r, old *request) field.ErrorList { return nil }
func validateRequestStatus(r, old *request) field.ErrorList { return nil }
func validateApproval(r, old *request) field.ErrorList      { return nil }
