package core

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The same storage is deprecated in pods and in persistent volumes.
const (
	goneIn116 = "deprecated in v1.11, non-functional in v1.16+"
	goneIn122 = "deprecated in v1.16, non-functional in v1.22+"
	goneIn125 = "deprecated in v1.22, non-functional in v1.25+"
	goneIn126 = "deprecated in v1.25, non-functional in v1.26+"
	goneIn131 = "deprecated in v1.28, non-functional in v1.31+"
)

func persistentVolumeWarnings(pv *v1.PersistentVolume) []string {
	var out []string
	s, path := &pv.Spec, field.NewPath("spec")
	add := func(is bool, at *field.Path, text string) {
		if is {
			out = append(out, at.String()+": "+text)
		}
	}
	for _, old := range []struct{ key, text string }{
		{v1.BetaStorageClassAnnotation, `deprecated since v1.8; use "storageClassName" attribute instead`},
		{v1.MountOptionAnnotation, `deprecated since v1.31; use "mountOptions" attribute instead`},
	} {
		_, ok := pv.Annotations[old.key]
		add(ok, field.NewPath("metadata", "annotations").Key(old.key), old.text)
	}
	add(s.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimRecycle, path.Child("persistentVolumeReclaimPolicy"),
		"The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	if s.NodeAffinity != nil && s.NodeAffinity.Required != nil {
		for i := range s.NodeAffinity.Required.NodeSelectorTerms {
			out = append(out, nodeTermWarnings(&s.NodeAffinity.Required.NodeSelectorTerms[i], false,
				path.Child("nodeAffinity", "required", "nodeSelectorTerms").Index(i))...)
		}
	}
	add(s.CephFS != nil, path.Child("cephfs"), goneIn131)
	add(s.PhotonPersistentDisk != nil, path.Child("photonPersistentDisk"), goneIn116)
	add(s.ScaleIO != nil, path.Child("scaleIO"), goneIn122)
	add(s.StorageOS != nil, path.Child("storageOS"), goneIn125)
	add(s.Glusterfs != nil, path.Child("glusterfs"), goneIn126)
	add(s.RBD != nil, path.Child("rbd"), goneIn131)
	return out
}

func persistentVolumeClaimWarnings(c *v1.PersistentVolumeClaim) []string {
	var out []string
	if _, ok := c.Annotations[v1.BetaStorageClassAnnotation]; ok {
		out = append(out, fmt.Sprintf("%s: %s", field.NewPath("metadata", "annotations").Key(v1.BetaStorageClassAnnotation),
			`deprecated since v1.8; use "storageClassName" attribute instead`))
	}
	return append(out, ClaimSpecWarnings(&c.Spec, field.NewPath("spec"))...)
}

// ClaimSpecWarnings are the warnings of a claim's spec, also in a template.
func ClaimSpecWarnings(s *v1.PersistentVolumeClaimSpec, path *field.Path) []string {
	var out []string
	out = fractional(out, s.Resources.Requests, v1.ResourceStorage, func() *field.Path { return path.Child("resources", "requests") })
	return fractional(out, s.Resources.Limits, v1.ResourceStorage, func() *field.Path { return path.Child("resources", "limits") })
}

// fractional adds a warning if there is an amount of name that is not of whole bytes.
func fractional(out []string, list v1.ResourceList, name v1.ResourceName, path func() *field.Path) []string {
	q, ok := list[name]
	if !ok || whole(q) {
		return out
	}
	return append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer", path().Key(string(name)), q.String()))
}

func whole(q resource.Quantity) bool { return q.MilliValue()%1000 == 0 }

// NodeLabelWarning is what is to be said of an old node label; "" of others.
func NodeLabelWarning(key string) string {
	switch key {
	case "beta.kubernetes.io/arch":
		return `deprecated since v1.14; use "kubernetes.io/arch" instead`
	case "beta.kubernetes.io/os":
		return `deprecated since v1.14; use "kubernetes.io/os" instead`
	case v1.LabelFailureDomainBetaRegion:
		return `deprecated since v1.17; use "topology.kubernetes.io/region" instead`
	case v1.LabelFailureDomainBetaZone:
		return `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`
	case v1.LabelInstanceType:
		return `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`
	case "app.kubernetes.io/created-by":
		return "deprecated since v1.9"
	case v1.PreferAvoidPodsAnnotationKey:
		return "deprecated since v1.22; use Taints and Tolerations instead"
	case "node-role.kubernetes.io/master":
		return `use "node-role.kubernetes.io/control-plane" instead`
	}
	return ""
}

func nodeTermWarnings(t *v1.NodeSelectorTerm, values bool, path *field.Path) []string {
	var out []string
	for i, e := range t.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		if text := NodeLabelWarning(e.Key); text != "" {
			out = append(out, fmt.Sprintf("%s: %s is %s", at.Child("key"), e.Key, text))
		}
		if !values {
			continue
		}
		for j, value := range e.Values {
			for _, msg := range validation.IsValidLabelValue(value) {
				out = append(out, fmt.Sprintf("%s: %s is invalid, %s", at.Child("values").Index(j), value, msg))
			}
		}
	}
	return out
}
