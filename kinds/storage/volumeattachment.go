package storage

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func volumeAttachment() *kinds.Kind {
	type T = *storagev1.VolumeAttachment
	return row.Fill[storagev1.VolumeAttachment, storagev1.VolumeAttachmentList](storagev1.SchemeGroupVersion, &kinds.Kind{
		Resource:        "volumeattachments",
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default: rules.Do(func(a T) {
			if s := a.Spec.Source.InlineVolumeSpec; s != nil {
				core.DefaultVolumeSpec(s)
			}
		}),
		PrepareCreate:  rules.Do(func(a T) { a.Status = storagev1.VolumeAttachmentStatus{} }),
		PrepareUpdate:  rules.Do2(func(a, old T) { a.Status = old.Status }),
		Validate:       rules.Check(validateAttachment),
		ValidateUpdate: rules.Check2(validateAttachmentUpdate),
		Subresources: row.WithStatus(func(a, old T) {
			a.Spec = old.Spec
			row.ResetMeta(a, old)
		}, validateAttachmentUpdate, "metadata", "spec"),
		Columns: attachmentColumns(),
		Cells: rules.Cells(func(a T, now time.Time) []any {
			return []any{
				a.Name, a.Spec.Attacher, ptr.Deref(a.Spec.Source.PersistentVolumeName, ""),
				a.Spec.NodeName, a.Status.Attached, rules.Age(a.CreationTimestamp, now),
			}
		}),
	}, oldAttachment()...)
}

func attachmentColumns() []metav1.TableColumnDefinition {
	spec := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	attacher := rules.Column("Attacher", spec["attacher"])
	attacher.Format = "name"
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		attacher,
		rules.Column("PV", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"]),
		rules.Column("Node", spec["nodeName"]),
		row.Boolean("Attached", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"]),
		rules.AgeColumn(),
	}
}
