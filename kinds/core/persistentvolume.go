package core

import (
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func persistentVolume() *kinds.Kind {
	k := newKind[v1.PersistentVolume, v1.PersistentVolumeList]("persistentvolumes", false, "pv")
	k.Name = rules.DNSSubdomain
	k.Default = rules.Do(defaultPersistentVolume)
	k.PrepareCreate = rules.Do(func(pv *v1.PersistentVolume) {
		pv.Status = v1.PersistentVolumeStatus{Phase: v1.VolumePending, LastPhaseTransitionTime: ptr.To(metav1.Now())}
	})
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.PersistentVolume) { obj.Status = old.Status })
	k.Validate = rules.Check(validatePersistentVolume)
	k.ValidateUpdate = rules.Check2(validatePersistentVolumeUpdate)
	k.Warnings = rules.Warn(func(pv, _ *v1.PersistentVolume) []string { return persistentVolumeWarnings(pv) })
	k.Subresources = map[string]kinds.Subresource{
		"status": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(preparePersistentVolumeStatus),
			ValidateUpdate: rules.Check2(validatePersistentVolumeStatus),
			Reset:          []string{"spec"},
		},
	}
	spec, status := v1.PersistentVolumeSpec{}.SwaggerDoc(), v1.PersistentVolumeStatus{}.SwaggerDoc()
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Capacity", spec["capacity"]),
		rules.Column("Access Modes", spec["accessModes"]),
		rules.Column("Reclaim Policy", spec["persistentVolumeReclaimPolicy"]),
		rules.Column("Status", status["phase"]),
		rules.Column("Claim", spec["claimRef"]),
		rules.Column("StorageClass", "StorageClass of the pv"),
		rules.Column("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
		rules.Column("Reason", status["reason"]),
		rules.AgeColumn(),
		rules.Wide(rules.Column("VolumeMode", spec["volumeMode"])),
	}
	k.Cells = rules.Cells(persistentVolumeCells)
	return k
}

func defaultPersistentVolume(pv *v1.PersistentVolume) {
	if pv.Status.Phase == "" {
		pv.Status.Phase = v1.VolumePending
	}
	spec := &pv.Spec
	if spec.PersistentVolumeReclaimPolicy == "" {
		spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
	}
	if spec.VolumeMode == nil {
		spec.VolumeMode = ptr.To(v1.PersistentVolumeFilesystem)
	}
	DefaultVolumeSpec(spec)
}

// DefaultVolumeSpec fills in what a volume's spec gets wherever it stands.
func DefaultVolumeSpec(spec *v1.PersistentVolumeSpec) {
	roundResources(spec.Capacity)
	defaultHostPath(spec.HostPath)
	if spec.RBD != nil {
		defaultRBD(&spec.RBD.RBDPool, &spec.RBD.RadosUser, &spec.RBD.Keyring)
	}
	if spec.ISCSI != nil {
		setString(&spec.ISCSI.ISCSIInterface, "default")
	}
	defaultAzureDisk(spec.AzureDisk)
	if spec.ScaleIO != nil {
		defaultScaleIO(&spec.ScaleIO.StorageMode, &spec.ScaleIO.FSType)
	}
}

// preparePersistentVolumeStatus keeps the time of the last change of phase.
func preparePersistentVolumeStatus(obj, old *v1.PersistentVolume) {
	obj.Spec = old.Spec
	was, is := old.Status.LastPhaseTransitionTime, &obj.Status.LastPhaseTransitionTime
	if old.Status.Phase == obj.Status.Phase {
		if *is == nil {
			*is = was
		}
	} else if *is == nil || (*is).Equal(was) {
		*is = ptr.To(metav1.Now())
	}
}

func persistentVolumeCells(pv *v1.PersistentVolume, now time.Time) []any {
	claim := ""
	if ref := pv.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	phase := string(pv.Status.Phase)
	if pv.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	class := pv.Spec.StorageClassName
	if c, ok := pv.Annotations[v1.BetaStorageClassAnnotation]; ok {
		class = c
	}
	size := pv.Spec.Capacity[v1.ResourceStorage]
	return []any{pv.Name, size.String(), accessModesCell(pv.Spec.AccessModes), string(pv.Spec.PersistentVolumeReclaimPolicy),
		phase, claim, class, ptr.Deref(pv.Spec.VolumeAttributesClassName, "<unset>"), pv.Status.Reason,
		rules.Age(pv.CreationTimestamp, now), string(ptr.Deref(pv.Spec.VolumeMode, "<unset>"))}
}

func accessModesCell(modes []v1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode  v1.PersistentVolumeAccessMode
		short string
	}{{v1.ReadWriteOnce, "RWO"}, {v1.ReadOnlyMany, "ROX"}, {v1.ReadWriteMany, "RWX"}, {v1.ReadWriteOncePod, "RWOP"}} {
		if slices.Contains(modes, m.mode) {
			out = append(out, m.short)
		}
	}
	return strings.Join(out, ",")
}
