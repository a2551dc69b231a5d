package node

import (
	nodev1 "k8s.io/api/node/v1"
	nodev1beta1 "k8s.io/api/node/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

func oldRuntimeClass() []kinds.Version {
	return []kinds.Version{convert.Old[nodev1.RuntimeClass, nodev1beta1.RuntimeClass, nodev1beta1.RuntimeClassList](
		convert.New(), nodev1beta1.SchemeGroupVersion, "RuntimeClass", nil)}
}
