package core

import (
	"fmt"
	"path"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func validatePersistentVolume(pv *v1.PersistentVolume) field.ErrorList {
	return checkVolume(pv, podAllowances{})
}

func checkVolume(pv *v1.PersistentVolume, allow podAllowances) field.ErrorList {
	var l rules.List
	checkVolumeSpec(&l, pv, allow, false, field.NewPath("spec"))
	mountOptions(&l, pv)
	return l.Errors()
}

const notInline = "may not be specified in the context of inline volumes"

// ValidateInlineVolume judges the spec of a volume that an attachment carries.
func ValidateInlineVolume(s *v1.PersistentVolumeSpec, at *field.Path) field.ErrorList {
	var l rules.List
	if s.ClaimRef != nil {
		l.Forbidden(at.Child("claimRef"), notInline)
	}
	if len(s.Capacity) != 0 {
		l.Forbidden(at.Child("capacity"), notInline)
	}
	if s.CSI == nil {
		l.Required(at.Child("csi"), "has to be specified in the context of inline volumes")
	}
	checkVolumeSpec(&l, &v1.PersistentVolume{Spec: *s}, podAllowances{}, true, at)
	return l.Errors()
}

func checkVolumeSpec(l *rules.List, pv *v1.PersistentVolume, allow podAllowances, inline bool, at *field.Path) {
	s := &pv.Spec
	accessModes(l, s.AccessModes, "", at.Child("accessModes"))
	if !inline {
		volumeCapacity(l, s.Capacity, at.Child("capacity"))
	}
	switch policy := s.PersistentVolumeReclaimPolicy; {
	case policy == "" || inline && policy == v1.PersistentVolumeReclaimRetain:
	case inline:
		l.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may only be Retain in the context of inline volumes")
	default:
		rules.Supported(l, at.Child("persistentVolumeReclaimPolicy"), s.PersistentVolumeReclaimPolicy,
			v1.PersistentVolumeReclaimDelete, v1.PersistentVolumeReclaimRecycle, v1.PersistentVolumeReclaimRetain)
	}
	if s.NodeAffinity != nil {
		if inline {
			l.Forbidden(at.Child("nodeAffinity"), notInline)
		} else if s.NodeAffinity.Required == nil {
			l.Required(at.Child("nodeAffinity", "required"), "must specify required node constraints")
		} else {
			c := podCheck{allow: allow}
			c.nodeSelector(s.NodeAffinity.Required, at.Child("nodeAffinity", "required"))
			l.Add(c.Errors()...)
		}
	}
	sources := append(volumeSourcesA(l, pv), volumeSourcesB(l, pv, at)...)
	if !oneSource(l, at, oneVolumeType, sources) {
		l.Required(at, "must specify a volume type")
	}
	if s.HostPath != nil && path.Clean(s.HostPath.Path) == "/" && s.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimRecycle {
		l.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
	if s.StorageClassName != "" && inline {
		l.Forbidden(at.Child("storageClassName"), notInline)
	} else if s.StorageClassName != "" {
		l.Name(at.Child("storageClassName"), s.StorageClassName, rules.DNSSubdomain)
	}
	if !inline {
		volumeMode(l, s.VolumeMode, at)
	} else if m := s.VolumeMode; m != nil && *m != v1.PersistentVolumeFilesystem {
		l.Forbidden(at.Child("volumeMode"), "may not specify volumeMode other than Filesystem in the context of inline volumes")
	}
	if class := s.VolumeAttributesClassName; class != nil && !inline {
		if *class == "" {
			l.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed")
		} else {
			l.Name(at.Child("volumeAttributesClassName"), *class, rules.DNSSubdomain)
		}
		if s.CSI == nil {
			l.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName")
		}
	}
}

func accessModes(l *rules.List, modes []v1.PersistentVolumeAccessMode, missing string, path *field.Path) {
	if len(modes) == 0 {
		l.Required(path, missing)
	}
	supported := []v1.PersistentVolumeAccessMode{v1.ReadOnlyMany, v1.ReadWriteMany, v1.ReadWriteOnce, v1.ReadWriteOncePod}
	others := false
	for _, m := range modes {
		rules.Supported(l, path, m, supported...)
		others = others || m != v1.ReadWriteOncePod && slices.Contains(supported, m)
	}
	if others && slices.Contains(modes, v1.ReadWriteOncePod) {
		l.Forbidden(path, "may not use ReadWriteOncePod with other access modes")
	}
}

func volumeMode(l *rules.List, m *v1.PersistentVolumeMode, path *field.Path) {
	if m != nil {
		rules.Supported(l, path.Child("volumeMode"), *m, v1.PersistentVolumeBlock, v1.PersistentVolumeFilesystem)
	}
}

func volumeCapacity(l *rules.List, c v1.ResourceList, path *field.Path) {
	if len(c) == 0 {
		l.Required(path, "")
	}
	if _, ok := c[v1.ResourceStorage]; !ok || len(c) > 1 {
		l.Add(field.NotSupported(path, c, []v1.ResourceName{v1.ResourceStorage}))
	}
	for _, name := range names(c) {
		q := c[name]
		if q.Value() < 0 {
			l.Invalid(path.Key(string(name)), q.Value(), "must be a valid resource quantity")
		}
		l.Add(rules.PositiveQuantity(q, path.Key(string(name)))...)
	}
}

// volumeSourcesA are the sources from hostPath to fc, volumeSourcesB the others.
func volumeSourcesA(l *rules.List, pv *v1.PersistentVolume) []sourceCheck {
	s := &pv.Spec.PersistentVolumeSource
	return []sourceCheck{
		{set: s.HostPath != nil, name: "hostPath", check: func(p *field.Path) { hostPath(l, s.HostPath, p) }},
		{set: s.GCEPersistentDisk != nil, name: "gcePersistentDisk", at: "persistentDisk", check: func(p *field.Path) { gceDisk(l, s.GCEPersistentDisk, p) }},
		{set: s.AWSElasticBlockStore != nil, name: "awsElasticBlockStore", check: func(p *field.Path) { awsStore(l, s.AWSElasticBlockStore, p) }},
		{set: s.Glusterfs != nil, name: "glusterfs", check: func(p *field.Path) {
			l.Need(p, "endpoints", s.Glusterfs.EndpointsName)
			l.Need(p, "path", s.Glusterfs.Path)
			if ns := s.Glusterfs.EndpointsNamespace; ns != nil && *ns == "" {
				l.Invalid(p.Child("endpointsNamespace"), *ns, "if the endpointnamespace is set, it must be a valid namespace name")
			} else if ns != nil {
				l.Name(p.Child("endpointsNamespace"), *ns, rules.DNSLabel)
			}
		}},
		{set: s.Flocker != nil, name: "flocker", check: func(p *field.Path) { flocker(l, s.Flocker, p) }},
		{set: s.NFS != nil, name: "nfs", check: func(p *field.Path) { nfs(l, s.NFS, p) }},
		{set: s.RBD != nil, name: "rbd", check: func(p *field.Path) { rbd(l, s.RBD.CephMonitors, s.RBD.RBDImage, p) }},
		{set: s.Quobyte != nil, name: "quobyte", check: func(p *field.Path) { quobyte(l, s.Quobyte, p) }},
		{set: s.CephFS != nil, name: "cephFS", at: "cephfs", check: func(p *field.Path) { monitors(l, s.CephFS.Monitors, p) }},
		{set: s.ISCSI != nil, name: "iscsi", check: func(p *field.Path) { iscsiVolume(l, s.ISCSI, pv.Name, p) }},
		{set: s.Cinder != nil, name: "cinder", check: func(p *field.Path) {
			l.Need(p, "volumeID", s.Cinder.VolumeID)
			secretNamed(l, s.Cinder.SecretRef, p)
		}},
		{set: s.FC != nil, name: "fc", check: func(p *field.Path) { fibreChannel(l, s.FC, p) }},
	}
}

func volumeSourcesB(l *rules.List, pv *v1.PersistentVolume, spec *field.Path) []sourceCheck {
	s := &pv.Spec.PersistentVolumeSource
	return []sourceCheck{
		{set: s.FlexVolume != nil, name: "flexVolume", check: func(p *field.Path) { flex(l, s.FlexVolume.Driver, s.FlexVolume.Options, p) }, beside: true},
		{set: s.AzureFile != nil, name: "azureFile", check: func(p *field.Path) {
			l.Need(p, "secretName", s.AzureFile.SecretName)
			l.Need(p, "shareName", s.AzureFile.ShareName)
			if ns := s.AzureFile.SecretNamespace; ns != nil {
				l.Need(p, "secretNamespace", *ns)
			}
		}},
		{set: s.VsphereVolume != nil, name: "vsphereVolume", check: func(p *field.Path) { l.Need(p, "volumePath", s.VsphereVolume.VolumePath) }},
		{set: s.PhotonPersistentDisk != nil, name: "photonPersistentDisk", check: func(p *field.Path) { l.Need(p, "pdID", s.PhotonPersistentDisk.PdID) }},
		{set: s.PortworxVolume != nil, name: "portworxVolume", check: func(p *field.Path) { l.Need(p, "volumeID", s.PortworxVolume.VolumeID) }},
		{set: s.AzureDisk != nil, name: "azureDisk", check: func(p *field.Path) { azureDisk(l, s.AzureDisk, p) }},
		{set: s.ScaleIO != nil, name: "scaleIO", check: func(p *field.Path) {
			l.Need(p, "gateway", s.ScaleIO.Gateway)
			l.Need(p, "system", s.ScaleIO.System)
			l.Need(p, "volumeName", s.ScaleIO.VolumeName)
		}},
		{set: s.Local != nil, name: "local", check: func(p *field.Path) {
			if s.Local.Path == "" {
				l.Required(p.Child("path"), "")
			} else {
				l.Add(rules.NoBacksteps(s.Local.Path, p.Child("path"))...)
			}
			if pv.Spec.NodeAffinity == nil {
				l.Required(spec.Child("nodeAffinity"), "Local volume requires node affinity")
			}
		}},
		{set: s.StorageOS != nil, name: "storageos", check: func(p *field.Path) {
			storageOS(l, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, p)
			if ref := s.StorageOS.SecretRef; ref != nil {
				l.Need(p.Child("secretRef"), "name", ref.Name)
				l.Need(p.Child("secretRef"), "namespace", ref.Namespace)
			}
		}},
		{set: s.CSI != nil, name: "csi", check: func(p *field.Path) { csiVolume(l, s.CSI, p) }},
	}
}

func secretNamed(l *rules.List, ref *v1.SecretReference, path *field.Path) {
	if ref != nil {
		l.Need(path.Child("secretRef"), "name", ref.Name)
		l.Need(path.Child("secretRef"), "namespace", ref.Namespace)
	}
}

func csiVolume(l *rules.List, c *v1.CSIPersistentVolumeSource, path *field.Path) {
	csiDriver(l, c.Driver, path.Child("driver"))
	l.Need(path, "volumeHandle", c.VolumeHandle)
	for _, r := range []struct {
		ref  *v1.SecretReference
		name string
	}{
		{c.ControllerPublishSecretRef, "controllerPublishSecretRef"}, {c.ControllerExpandSecretRef, "controllerExpandSecretRef"},
		{c.NodePublishSecretRef, "nodePublishSecretRef"}, {c.NodeExpandSecretRef, "nodeExpandSecretRef"},
	} {
		if r.ref == nil {
			continue
		}
		at := path.Child(r.name)
		if r.ref.Name == "" {
			l.Required(at.Child("name"), "")
		} else {
			l.Add(rules.DNSSubdomainField(r.ref.Name, at.Child("name"))...)
		}
		if r.ref.Namespace == "" {
			l.Required(at.Child("namespace"), "")
		} else {
			l.Add(rules.DNSLabelField(r.ref.Namespace, at.Child("namespace"))...)
		}
	}
}

// mountOptions refuses the annotation of mount options for volumes that are not
// mounted with options.
func mountOptions(l *rules.List, pv *v1.PersistentVolume) {
	s := &pv.Spec.PersistentVolumeSource
	if s.GCEPersistentDisk != nil || s.AWSElasticBlockStore != nil || s.Glusterfs != nil || s.NFS != nil || s.RBD != nil ||
		s.Quobyte != nil || s.ISCSI != nil || s.Cinder != nil || s.CephFS != nil || s.AzureFile != nil || s.VsphereVolume != nil ||
		s.AzureDisk != nil || s.PhotonPersistentDisk != nil {
		return
	}
	if _, ok := pv.Annotations[v1.MountOptionAnnotation]; ok {
		l.Forbidden(field.NewPath("metadata", "annotations", v1.MountOptionAnnotation), "may not specify mount options for this volume type")
	}
}

func validatePersistentVolumeUpdate(pv, old *v1.PersistentVolume) field.ErrorList {
	var allow podAllowances
	if a := old.Spec.NodeAffinity; a != nil && a.Required != nil {
		var c podCheck
		c.nodeSelectorValues(a.Required, nil)
		allow.nodeAffinityValues = len(c.List) > 0
	}
	// The general rules are judged twice, as Kubernetes does.
	l := rules.List(checkVolume(pv, allow))
	checkVolumeSpec(&l, pv, allow, false, field.NewPath("spec"))
	source := pv.Spec.PersistentVolumeSource
	if was, is := old.Spec.CSI, source.CSI; was != nil && is != nil && was.ControllerExpandSecretRef == nil && is.ControllerExpandSecretRef != nil {
		source.CSI = is.DeepCopy()
		source.CSI.ControllerExpandSecretRef = nil
	}
	if !equality.Semantic.DeepEqual(source, old.Spec.PersistentVolumeSource) {
		l.Forbidden(field.NewPath("spec", "persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(old.Spec.PersistentVolumeSource, source)))
	}
	l.Add(rules.Immutable(pv.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil && !sameVolumeAffinity(pv.Spec.NodeAffinity, old.Spec.NodeAffinity) {
		l.Invalid(field.NewPath("nodeAffinity"), rules.Internal(pv.Spec.NodeAffinity), apivalidation.FieldImmutableErrorMsg+", except for updating from beta label to GA")
	}
	if old.Spec.VolumeAttributesClassName != nil && pv.Spec.VolumeAttributesClassName == nil {
		l.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return l.Errors()
}

// stableLabels are the names that replaced beta ones.
var stableLabels = map[string]string{
	v1.LabelFailureDomainBetaZone:   v1.LabelTopologyZone,
	v1.LabelFailureDomainBetaRegion: v1.LabelTopologyRegion,
	"beta.kubernetes.io/os":         v1.LabelOSStable,
	"beta.kubernetes.io/arch":       v1.LabelArchStable,
	v1.LabelInstanceType:            v1.LabelInstanceTypeStable,
}

// sameVolumeAffinity compares, taking a beta label that became stable for the same.
func sameVolumeAffinity(a, old *v1.VolumeNodeAffinity) bool {
	if a == nil || a.Required == nil || old.Required == nil {
		return equality.Semantic.DeepEqual(a, old)
	}
	was := old.DeepCopy()
	for i := range was.Required.NodeSelectorTerms {
		if i >= len(a.Required.NodeSelectorTerms) {
			break
		}
		list, now := was.Required.NodeSelectorTerms[i].MatchExpressions, a.Required.NodeSelectorTerms[i].MatchExpressions
		for j := range list {
			if j < len(now) && list[j].Key != now[j].Key && stableLabels[list[j].Key] == now[j].Key {
				list[j].Key = now[j].Key
			}
		}
	}
	return equality.Semantic.DeepEqual(a, was)
}

func validatePersistentVolumeStatus(pv, _ *v1.PersistentVolume) field.ErrorList {
	var l rules.List
	if pv.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	return l.Errors()
}
