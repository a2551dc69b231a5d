package storage

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func storageClass() *kinds.Kind {
	doc := storagev1.StorageClass{}.SwaggerDoc()
	return row.Fill[storagev1.StorageClass, storagev1.StorageClassList](storagev1.SchemeGroupVersion, &kinds.Kind{
		Resource: "storageclasses", ShortNames: []string{"sc"},
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultStorageClass),
		Validate:       rules.Check(validateStorageClass),
		ValidateUpdate: rules.Check2(validateStorageClassUpdate),
		Warnings:       rules.Warn(func(c, _ *storagev1.StorageClass) []string { return warnStorageClass(c) }),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Provisioner", doc["provisioner"]),
			rules.Column("ReclaimPolicy", doc["reclaimPolicy"]),
			rules.Column("VolumeBindingMode", doc["volumeBindingMode"]),
			rules.Column("AllowVolumeExpansion", doc["allowVolumeExpansion"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(storageClassCells),
	}, oldStorageClass()...)
}

func defaultStorageClass(c *storagev1.StorageClass) {
	if c.ReclaimPolicy == nil {
		c.ReclaimPolicy = ptr.To(corev1.PersistentVolumeReclaimDelete)
	}
	if c.VolumeBindingMode == nil {
		c.VolumeBindingMode = ptr.To(storagev1.VolumeBindingImmediate)
	}
}

func warnStorageClass(c *storagev1.StorageClass) []string {
	var out []string
	for i, t := range c.AllowedTopologies {
		for k, e := range t.MatchLabelExpressions {
			if text := core.NodeLabelWarning(e.Key); text != "" {
				at := field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(k).Child("key")
				out = append(out, at.String()+": "+text)
			}
		}
	}
	return out
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
		ptr.Deref(c.AllowVolumeExpansion, false), rules.Age(c.CreationTimestamp, now),
	}
}

func volumeAttributesClass() *kinds.Kind {
	type T = *storagev1.VolumeAttributesClass
	return row.Fill[storagev1.VolumeAttributesClass, storagev1.VolumeAttributesClassList](storagev1.SchemeGroupVersion, &kinds.Kind{
		Resource: "volumeattributesclasses", ShortNames: []string{"vac"},
		Name:           rules.DNSSubdomain,
		Validate:       rules.Check(validateAttributesClass),
		ValidateUpdate: rules.Check2(validateAttributesClassUpdate),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("DriverName", storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(c T, now time.Time) []any {
			return []any{c.Name, c.DriverName, rules.Age(c.CreationTimestamp, now)}
		}),
	}, oldAttributesClass()...)
}
