package core

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func persistentVolumeClaim() *kinds.Kind {
	k := newKind[v1.PersistentVolumeClaim, v1.PersistentVolumeClaimList]("persistentvolumeclaims", true, "pvc")
	k.Name = rules.DNSSubdomain
	k.Default = rules.Do(defaultPersistentVolumeClaim)
	k.PrepareCreate = rules.Do(func(c *v1.PersistentVolumeClaim) {
		c.Status = v1.PersistentVolumeClaimStatus{Phase: v1.ClaimPending}
		sameDataSources(&c.Spec, nil)
	})
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.PersistentVolumeClaim) {
		obj.Status = old.Status
		sameDataSources(&obj.Spec, &old.Spec)
	})
	k.Validate = rules.Check(validatePersistentVolumeClaim)
	k.ValidateUpdate = rules.Check2(validatePersistentVolumeClaimUpdate)
	k.Warnings = rules.Warn(func(c, _ *v1.PersistentVolumeClaim) []string { return persistentVolumeClaimWarnings(c) })
	k.Subresources = map[string]kinds.Subresource{
		"status": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(func(obj, old *v1.PersistentVolumeClaim) { obj.Spec = old.Spec }),
			ValidateUpdate: rules.Check2(validatePersistentVolumeClaimStatus),
			Reset:          []string{"spec"},
		},
	}
	spec, status := v1.PersistentVolumeClaimSpec{}.SwaggerDoc(), v1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Status", status["phase"]),
		rules.Column("Volume", spec["volumeName"]),
		rules.Column("Capacity", status["capacity"]),
		rules.Column("Access Modes", status["accessModes"]),
		rules.Column("StorageClass", "StorageClass of the pvc"),
		rules.Column("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
		rules.AgeColumn(),
		rules.Wide(rules.Column("VolumeMode", spec["volumeMode"])),
	}
	k.Cells = rules.Cells(persistentVolumeClaimCells)
	return k
}

func defaultPersistentVolumeClaim(c *v1.PersistentVolumeClaim) {
	if c.Status.Phase == "" {
		c.Status.Phase = v1.ClaimPending
	}
	DefaultClaimSpec(&c.Spec)
	roundResources(c.Status.Capacity)
	roundResources(c.Status.AllocatedResources)
}

// sameDataSources makes dataSource and dataSourceRef say the same. A dataSource
// that is neither claim nor snapshot is dropped, as it was before there was
// dataSourceRef, unless the old claim had one.
func sameDataSources(spec, old *v1.PersistentVolumeClaimSpec) {
	// References to other namespaces are a feature that is off.
	if ref := spec.DataSourceRef; ref != nil && ptr.Deref(ref.Namespace, "") != "" && (old == nil || old.DataSourceRef == nil) {
		spec.DataSourceRef = nil
	}
	inUse := old != nil && (old.DataSource != nil || old.DataSourceRef != nil)
	if !inUse && spec.DataSourceRef == nil && !claimOrSnapshot(spec.DataSource) {
		spec.DataSource = nil
	}
	normalizeDataSources(spec)
}

func normalizeDataSources(spec *v1.PersistentVolumeClaimSpec) {
	source, ref := spec.DataSource, spec.DataSourceRef
	switch {
	case source != nil && ref == nil:
		spec.DataSourceRef = &v1.TypedObjectReference{APIGroup: source.APIGroup, Kind: source.Kind, Name: source.Name}
	case source == nil && ref != nil && ptr.Deref(ref.Namespace, "") == "":
		spec.DataSource = &v1.TypedLocalObjectReference{APIGroup: ref.APIGroup, Kind: ref.Kind, Name: ref.Name}
	}
}

func claimOrSnapshot(s *v1.TypedLocalObjectReference) bool {
	if s == nil {
		return false
	}
	group := ptr.Deref(s.APIGroup, "")
	return s.Kind == "PersistentVolumeClaim" && group == "" || s.Kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io"
}

func persistentVolumeClaimCells(c *v1.PersistentVolumeClaim, now time.Time) []any {
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	capacity, modes := "", ""
	if c.Spec.VolumeName != "" {
		size := c.Status.Capacity[v1.ResourceStorage]
		capacity, modes = size.String(), accessModesCell(c.Status.AccessModes)
	}
	class := ptr.Deref(c.Spec.StorageClassName, "")
	if beta, ok := c.Annotations[v1.BetaStorageClassAnnotation]; ok {
		class = beta
	}
	return []any{c.Name, phase, c.Spec.VolumeName, capacity, modes, class,
		ptr.Deref(c.Spec.VolumeAttributesClassName, "<unset>"), rules.Age(c.CreationTimestamp, now),
		string(ptr.Deref(c.Spec.VolumeMode, "<unset>"))}
}
