package storage

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
)

func storageClass() *kinds.Kind {
	doc := storagev1.StorageClass{}.SwaggerDoc()
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "StorageClass", List: "StorageClassList",
		Resource: "storageclasses", Singular: "storageclass", ShortNames: []string{"sc"},
		Served:         append(row.Hub(group, "v1"), oldStorageClass()...),
		New:            row.Make[storagev1.StorageClass](),
		NewList:        row.MakeAny[storagev1.StorageClassList](),
		Name:           row.DNSSubdomain,
		Default:        row.Fill(defaultStorageClass),
		Validate:       row.Judge(validateStorageClass),
		ValidateUpdate: row.JudgeUpdate(validateStorageClassUpdate),
		Columns: []metav1.TableColumnDefinition{
			row.NameColumn(),
			row.Column("Provisioner", doc["provisioner"]),
			row.Column("ReclaimPolicy", doc["reclaimPolicy"]),
			row.Column("VolumeBindingMode", doc["volumeBindingMode"]),
			row.Column("AllowVolumeExpansion", doc["allowVolumeExpansion"]),
			row.AgeColumn(),
		},
		Cells: row.Print(storageClassCells),
	}
}

func defaultStorageClass(c *storagev1.StorageClass) {
	if c.ReclaimPolicy == nil {
		c.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimDelete)
	}
	if c.VolumeBindingMode == nil {
		c.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate)
	}
}

func storageClassCells(c *storagev1.StorageClass, now time.Time) []any {
	name := c.Name
	if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
		c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
		name += " (default)"
	}
	return []any{
		name, c.Provisioner, string(ptr.Deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
		string(ptr.Deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)),
		ptr.Deref(c.AllowVolumeExpansion, false), row.Age(c, now),
	}
}

func volumeAttributesClass() *kinds.Kind {
	type T = *storagev1.VolumeAttributesClass
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "VolumeAttributesClass", List: "VolumeAttributesClassList",
		Resource: "volumeattributesclasses", Singular: "volumeattributesclass", ShortNames: []string{"vac"},
		Served:         row.Hub(group, "v1"),
		New:            row.Make[storagev1.VolumeAttributesClass](),
		NewList:        row.MakeAny[storagev1.VolumeAttributesClassList](),
		Name:           row.DNSSubdomain,
		Validate:       row.Judge(validateAttributesClass),
		ValidateUpdate: row.JudgeUpdate(validateAttributesClassUpdate),
		Columns: []metav1.TableColumnDefinition{
			row.NameColumn(),
			row.Column("DriverName", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"]),
			row.AgeColumn(),
		},
		Cells: row.Print(func(c T, now time.Time) []any { return []any{c.Name, c.DriverName, row.Age(c, now)} }),
	}
}
