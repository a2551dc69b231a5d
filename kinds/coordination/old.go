package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

func oldLease() []kinds.Version {
	return []kinds.Version{convert.Old[coordinationv1.Lease, coordinationv1beta1.Lease, coordinationv1beta1.LeaseList](
		convert.New(), coordinationv1beta1.SchemeGroupVersion, "Lease", nil)}
}
