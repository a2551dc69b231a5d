package storage

import (
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func csiDriver() *kinds.Kind {
	type T = *storagev1.CSIDriver
	return row.Fill[storagev1.CSIDriver, storagev1.CSIDriverList](storagev1.SchemeGroupVersion, &kinds.Kind{
		Resource:        "csidrivers",
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(defaultCSIDriver),
		PrepareCreate: rules.Do(func(d T) {
			d.Spec.PreventPodSchedulingIfMissing = nil
		}),
		PrepareUpdate: rules.Do2(func(d, old T) {
			if old.Spec.PreventPodSchedulingIfMissing == nil {
				d.Spec.PreventPodSchedulingIfMissing = nil
			}
		}),
		Generation:     rules.Differ(func(d, old T) bool { return !row.Same(d.Spec, old.Spec) }),
		KeepGeneration: true,
		Validate:       rules.Check(validateCSIDriver),
		ValidateUpdate: rules.Check2(validateCSIDriverUpdate),
		Warnings:       rules.Warn(warnCSIDriver),
		Columns:        csiDriverColumns(),
		Cells:          rules.Cells(csiDriverCells),
	}, oldCSIDriver()...)
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	if s.AttachRequired == nil {
		s.AttachRequired = ptr.To(true)
	}
	for _, b := range []**bool{&s.PodInfoOnMount, &s.StorageCapacity, &s.RequiresRepublish, &s.SELinuxMount} {
		if *b == nil {
			*b = ptr.To(false)
		}
	}
	if s.FSGroupPolicy == nil {
		s.FSGroupPolicy = ptr.To(storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	}
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}

func warnCSIDriver(d, old *storagev1.CSIDriver) []string {
	if len(d.Spec.TokenRequests) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil ||
		old != nil && row.Same(old.Spec.TokenRequests, d.Spec.TokenRequests) {
		return nil
	}
	return []string{tokenWarning}
}

func csiDriverColumns() []metav1.TableColumnDefinition {
	doc := storagev1.CSIDriverSpec{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		row.Boolean("AttachRequired", doc["attachRequired"]),
		row.Boolean("PodInfoOnMount", doc["podInfoOnMount"]),
		row.Boolean("StorageCapacity", doc["storageCapacity"]),
		rules.Column("TokenRequests", doc["tokenRequests"]),
		row.Boolean("RequiresRepublish", doc["requiresRepublish"]),
		rules.Column("Modes", doc["volumeLifecycleModes"]),
		rules.AgeColumn(),
	}
}

func csiDriverCells(d *storagev1.CSIDriver, now time.Time) []any {
	s := &d.Spec
	var modes, audiences []string
	for _, m := range s.VolumeLifecycleModes {
		modes = append(modes, string(m))
	}
	for _, t := range s.TokenRequests {
		audiences = append(audiences, t.Audience)
	}
	mode, tokens := "<none>", "<unset>"
	if len(modes) > 0 {
		mode = strings.Join(modes, ",")
	}
	if s.TokenRequests != nil {
		tokens = strings.Join(audiences, ",")
	}
	return []any{
		d.Name, ptr.Deref(s.AttachRequired, true), ptr.Deref(s.PodInfoOnMount, false), ptr.Deref(s.StorageCapacity, false),
		tokens, ptr.Deref(s.RequiresRepublish, false), mode, rules.Age(d.CreationTimestamp, now),
	}
}

func csiNode() *kinds.Kind {
	type T = *storagev1.CSINode
	return row.Fill[storagev1.CSINode, storagev1.CSINodeList](storagev1.SchemeGroupVersion, &kinds.Kind{
		Resource:        "csinodes",
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Validate:        rules.Check(validateCSINode),
		ValidateUpdate:  rules.Check2(validateCSINodeUpdate),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.IntColumn("Drivers", "Drivers indicates the number of CSI drivers registered on the node"),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(n T, now time.Time) []any {
			return []any{n.Name, int64(len(n.Spec.Drivers)), rules.Age(n.CreationTimestamp, now)}
		}),
	}, oldCSINode()...)
}

func csiStorageCapacity() *kinds.Kind {
	return row.Fill[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList](storagev1.SchemeGroupVersion, &kinds.Kind{
		Resource:        "csistoragecapacities",
		Namespaced:      true,
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Validate:        rules.Check(validateCapacity),
		ValidateUpdate:  rules.Check2(validateCapacityUpdate),
	}, oldCapacity()...)
}
