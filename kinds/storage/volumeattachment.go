package storage

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
)

func volumeAttachment() *kinds.Kind {
	type T = *storagev1.VolumeAttachment
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "VolumeAttachment", List: "VolumeAttachmentList",
		Resource: "volumeattachments", Singular: "volumeattachment",
		RequireRevision: true,
		Served:          append(row.Hub(group, "v1"), oldAttachment()...),
		New:             row.Make[storagev1.VolumeAttachment](),
		NewList:         row.MakeAny[storagev1.VolumeAttachmentList](),
		Name:            row.DNSSubdomain,
		PrepareCreate:   row.Fill(func(a T) { a.Status = storagev1.VolumeAttachmentStatus{} }),
		PrepareUpdate:   row.Carry(func(a, old T) { a.Status = old.Status }),
		Validate:        row.Judge(validateAttachment),
		ValidateUpdate:  row.JudgeUpdate(validateAttachmentUpdate),
		Subresources: row.WithStatus(func(a, old T) {
			a.Spec = old.Spec
			row.ResetMeta(a, old)
		}, validateAttachmentUpdate, "metadata", "spec"),
		Columns: attachmentColumns(),
		Cells: row.Print(func(a T, now time.Time) []any {
			return []any{
				a.Name, a.Spec.Attacher, ptr.Deref(a.Spec.Source.PersistentVolumeName, ""),
				a.Spec.NodeName, a.Status.Attached, row.Age(a, now),
			}
		}),
	}
}

func attachmentColumns() []metav1.TableColumnDefinition {
	spec := storagev1.VolumeAttachmentSpec{}.SwaggerDoc()
	attacher := row.Column("Attacher", spec["attacher"])
	attacher.Format = "name"
	return []metav1.TableColumnDefinition{
		row.NameColumn(),
		attacher,
		row.Column("PV", storagev1.VolumeAttachmentSource{}.SwaggerDoc()["persistentVolumeName"]),
		row.Column("Node", spec["nodeName"]),
		row.Boolean("Attached", storagev1.VolumeAttachmentStatus{}.SwaggerDoc()["attached"]),
		row.AgeColumn(),
	}
}
