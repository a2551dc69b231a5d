package certificates

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateRequest(r *request) field.ErrorList            { return nil }
func validateRequestUpdate(r, old *request) field.ErrorList { return nil }
func validateRequestStatus(r, old *request) field.ErrorList { return nil }
func validateApproval(r, old *request) field.ErrorList      { return nil }
