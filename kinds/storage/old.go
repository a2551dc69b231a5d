package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	storagev1beta1 "k8s.io/api/storage/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// Old forms say and leave out the same as storage/v1.

var v1beta1 = storagev1beta1.SchemeGroupVersion

func oldStorageClass() []kinds.Version {
	return []kinds.Version{convert.Old[storagev1.StorageClass, storagev1beta1.StorageClass, storagev1beta1.StorageClassList](convert.New(), v1beta1, "StorageClass", nil)}
}

func oldCSIDriver() []kinds.Version {
	return []kinds.Version{convert.Old[storagev1.CSIDriver, storagev1beta1.CSIDriver, storagev1beta1.CSIDriverList](convert.New(), v1beta1, "CSIDriver", nil)}
}

func oldCSINode() []kinds.Version {
	return []kinds.Version{convert.Old[storagev1.CSINode, storagev1beta1.CSINode, storagev1beta1.CSINodeList](convert.New(), v1beta1, "CSINode", nil)}
}

func oldCapacity() []kinds.Version {
	return []kinds.Version{convert.Old[storagev1.CSIStorageCapacity, storagev1beta1.CSIStorageCapacity, storagev1beta1.CSIStorageCapacityList](convert.New(), v1beta1, "CSIStorageCapacity", nil)}
}

func oldAttachment() []kinds.Version {
	return []kinds.Version{convert.Old[storagev1.VolumeAttachment, storagev1beta1.VolumeAttachment, storagev1beta1.VolumeAttachmentList](convert.New(), v1beta1, "VolumeAttachment", nil)}
}

func oldAttributesClass() []kinds.Version {
	return []kinds.Version{convert.Old[storagev1.VolumeAttributesClass, storagev1beta1.VolumeAttributesClass, storagev1beta1.VolumeAttributesClassList](convert.New(), v1beta1, "VolumeAttributesClass", nil)}
}
