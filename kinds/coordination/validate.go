package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type errorList = field.ErrorList

func validateLease(l *coordinationv1.Lease) field.ErrorList { return nil }
