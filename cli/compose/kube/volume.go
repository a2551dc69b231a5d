package kube

import (
	"path"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// claim is the size of a volume about which the file says nothing.
const claim = "1Gi"

// volume writes what stands behind a named volume, and its claim.
func (c *converter) volume(key string, v types.VolumeConfig) {
	if bool(v.External) {
		c.note("volume %q is external: a claim %s has to be there", key, name(v.Name))
		return
	}
	if c.scratch(v) {
		return // it is in the pods
	}
	size := resource.MustParse(claim)
	if s, ok := v.DriverOpts["size"]; ok {
		if q, err := resource.ParseQuantity(s); err == nil {
			size = q
		}
	}
	capacity := corev1.ResourceList{corev1.ResourceStorage: size}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	pvc := &corev1.PersistentVolumeClaim{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}, ObjectMeta: c.meta(key, ""),
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: modes, Resources: corev1.VolumeResourceRequirements{Requests: capacity}},
	}
	if c.Volumes == Claims {
		c.out = append(c.out, pvc)
		return
	}
	if v.Driver != "" && v.Driver != "local" {
		c.note("volume %q: the driver %s is not carried over; it is a directory of the node", key, v.Driver)
	}
	// Volumes are the cluster's: their names have the project's in front. The claim
	// names its volume and no class, so that a default class makes no other.
	pv := &corev1.PersistentVolume{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"}, ObjectMeta: c.meta(c.p.Name+"-"+key, ""),
		Spec: corev1.PersistentVolumeSpec{
			Capacity: capacity, AccessModes: modes, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: c.source(key, v),
		},
	}
	none := ""
	pvc.Spec.StorageClassName, pvc.Spec.VolumeName = &none, pv.Name
	c.out = append(c.out, pv, pvc)
}

// scratch tells volumes whose content goes with the pod.
func (c *converter) scratch(v types.VolumeConfig) bool {
	return !bool(v.External) && (c.Volumes == Scratch || v.DriverOpts["type"] == "tmpfs")
}

// source is where a volume's content lies: where its options say so, or in a
// directory of the node.
func (c *converter) source(key string, v types.VolumeConfig) corev1.PersistentVolumeSource {
	device := v.DriverOpts["device"]
	kind := corev1.HostPathDirectoryOrCreate
	at := path.Join(c.Dir, c.p.Name, key)
	switch {
	case strings.HasPrefix(v.DriverOpts["type"], "nfs"):
		for _, o := range strings.Split(v.DriverOpts["o"], ",") {
			if server, ok := strings.CutPrefix(o, "addr="); ok {
				return corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: server, Path: strings.TrimPrefix(device, ":")}}
			}
		}
	case path.IsAbs(device) && strings.Contains(v.DriverOpts["o"], "bind"):
		at = device
	}
	return corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: at, Type: &kind}}
}
