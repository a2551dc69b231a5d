package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const tokenWarning = "spec.tokenRequests"

func validateStorageClass(c *storagev1.StorageClass) field.ErrorList             { return nil }
func validateStorageClassUpdate(c, old *storagev1.StorageClass) field.ErrorList  { return nil }
func validateAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList { return nil }
func validateAttributesClassUpdate(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
	return nil
}
func validateCSIDriver(c *storagev1.CSIDriver) field.ErrorList                    { return nil }
func validateCSIDriverUpdate(c, old *storagev1.CSIDriver) field.ErrorList         { return nil }
func validateCSINode(c *storagev1.CSINode) field.ErrorList                        { return nil }
func validateCSINodeUpdate(c, old *storagev1.CSINode) field.ErrorList             { return nil }
func validateCapacity(c *storagev1.CSIStorageCapacity) field.ErrorList            { return nil }
func validateCapacityUpdate(c, old *storagev1.CSIStorageCapacity) field.ErrorList { return nil }
func validateAttachment(c *storagev1.VolumeAttachment) field.ErrorList            { return nil }
func validateAttachmentUpdate(c, old *storagev1.VolumeAttachment) field.ErrorList { return nil }
