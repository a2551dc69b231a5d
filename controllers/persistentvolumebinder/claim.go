package persistentvolumebinder

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"
)

// view is what a decision about a claim looks at. Its objects are shared.
type view struct {
	volumes []*corev1.PersistentVolume
	classes map[string]*storagev1.StorageClass
	waiting []string // names of the claim's pods without a node
}

func (v *view) volume(name string) *corev1.PersistentVolume {
	for _, pv := range v.volumes {
		if pv.Name == name {
			return pv
		}
	}
	return nil
}

// event is told about the object that a decision is about.
type event struct{ typ, reason, message string }

// claimPlan is what to do about a claim: to bind it, or what its status should say.
type claimPlan struct {
	bind        *corev1.PersistentVolume
	phase       corev1.PersistentVolumeClaimPhase // "" leaves the status alone
	class       string                            // to give the claim
	provisioner string                            // to ask for a volume
	event       *event
	onChange    bool // the event is only told when the phase changes
}

func pending(e *event) claimPlan { return claimPlan{phase: corev1.ClaimPending, event: e} }

func lost(reason, message string) claimPlan {
	return claimPlan{phase: corev1.ClaimLost, event: &event{corev1.EventTypeWarning, reason, message}, onChange: true}
}

// errMisbound: a claim that lost the mark of a completed binding names a volume of
// somebody else's.
var errMisbound = errors.New("volume already claimed by another")

// decideClaim says what to do about a claim.
func decideClaim(claim *corev1.PersistentVolumeClaim, v *view) (claimPlan, error) {
	if _, done := claim.Annotations[storagehelpers.AnnBindCompleted]; done {
		return decideBound(claim, v), nil
	}
	if claim.Spec.VolumeName != "" {
		return decideNamed(claim, v)
	}
	delayed, err := delays(claim, v)
	if err != nil {
		return claimPlan{}, err
	}
	pv, err := findBest(claim, v.volumes, delayed)
	if err != nil {
		return claimPlan{}, fmt.Errorf("error finding PV for claim %q: %w", claim.Namespace+"/"+claim.Name, err)
	}
	if pv != nil {
		return claimPlan{bind: pv}, nil
	}
	if !storagehelpers.PersistentVolumeClaimHasClass(claim) {
		if name := defaultClass(v.classes); name != "" {
			return claimPlan{class: name}, nil
		}
	}
	class := storagehelpers.GetPersistentVolumeClaimClass(claim)
	switch {
	case delayed && !storagehelpers.IsDelayBindingProvisioning(claim):
		return pending(waitEvent(v.waiting)), nil
	case class != "":
		return provision(v.classes[class], class), nil
	}
	return pending(&event{corev1.EventTypeNormal, "FailedBinding", "no persistent volumes available for this claim and no storage class is set"}), nil
}

// delays tells whether a claim waits for the pod that needs it.
func delays(claim *corev1.PersistentVolumeClaim, v *view) (bool, error) {
	name := storagehelpers.GetPersistentVolumeClaimClass(claim)
	class := v.classes[name]
	if class == nil {
		return false, nil
	}
	if class.VolumeBindingMode == nil {
		return false, fmt.Errorf("VolumeBindingMode not set for StorageClass %q", name)
	}
	return *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer, nil
}

func waitEvent(pods []string) *event {
	e := &event{corev1.EventTypeNormal, "WaitForFirstConsumer", "waiting for first consumer to be created before binding"}
	switch len(pods) {
	case 0:
	case 1:
		e.reason, e.message = "WaitForPodScheduled", fmt.Sprintf("waiting for pod %s to be scheduled", pods[0])
	default:
		e.reason, e.message = "WaitForPodScheduled", fmt.Sprintf("waiting for pods %s to be scheduled", strings.Join(pods, ","))
	}
	return e
}

// provision asks the provisioner of a class, which runs somewhere else.
func provision(class *storagev1.StorageClass, name string) claimPlan {
	failed := func(why string) claimPlan {
		return claimPlan{event: &event{corev1.EventTypeWarning, "ProvisioningFailed", why}}
	}
	switch {
	case class == nil:
		return failed(fmt.Sprintf("storageclass.storage.k8s.io %q not found", name))
	case strings.HasPrefix(class.Provisioner, "kubernetes.io/"):
		return failed("no volume plugin matched name: " + class.Provisioner)
	}
	return claimPlan{provisioner: class.Provisioner, event: &event{corev1.EventTypeNormal, "ExternalProvisioning",
		fmt.Sprintf("Waiting for a volume to be created either by the external provisioner '%s' "+
			"or manually by the system administrator. If volume creation is delayed, please verify that "+
			"the provisioner is running and correctly registered.", class.Provisioner)}}
}

// defaultClass is the newest class that is marked as the default; of several of one
// second, the first by name.
func defaultClass(classes map[string]*storagev1.StorageClass) string {
	var best *storagev1.StorageClass
	for _, c := range classes {
		if c.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" && c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] != "true" {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&c.CreationTimestamp) ||
			best.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < best.Name {
			best = c
		}
	}
	if best == nil {
		return ""
	}
	return best.Name
}

// decideNamed is about a claim that asks for one volume.
func decideNamed(claim *corev1.PersistentVolumeClaim, v *view) (claimPlan, error) {
	pv := v.volume(claim.Spec.VolumeName)
	switch {
	case pv == nil:
		return pending(nil), nil
	case pv.Spec.ClaimRef == nil:
		if why := unfit(pv, claim); why != "" {
			return pending(&event{corev1.EventTypeWarning, "VolumeMismatch", fmt.Sprintf("Cannot bind to requested volume %q: %s", pv.Name, why)}), nil
		}
		return claimPlan{bind: pv}, nil
	case storagehelpers.IsVolumeBoundToClaim(pv, claim):
		return claimPlan{bind: pv}, nil
	}
	taken := pending(&event{corev1.EventTypeWarning, "FailedBinding", fmt.Sprintf("volume %q already bound to a different claim.", pv.Name)})
	if _, ours := claim.Annotations[storagehelpers.AnnBoundByController]; ours {
		taken.phase = ""
		return taken, fmt.Errorf("invalid binding of claim %q to volume %q: %w", claim.Namespace+"/"+claim.Name, pv.Name, errMisbound)
	}
	return taken, nil
}

// unfit says what keeps a volume that a claim names from being its own; "" if nothing
// does.
func unfit(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) string {
	want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], pv.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case pv.DeletionTimestamp != nil:
		return fmt.Sprintf("the volume is marked for deletion %q", pv.Name)
	case have.Value() < want.Value():
		return "requested PV is too small"
	case storagehelpers.GetPersistentVolumeClass(pv) != storagehelpers.GetPersistentVolumeClaimClass(claim):
		return "storageClassName does not match"
	case ptr.Deref(claim.Spec.VolumeAttributesClassName, "") != ptr.Deref(pv.Spec.VolumeAttributesClassName, ""):
		return "volumeAttributesClassName does not match"
	case storagehelpers.CheckVolumeModeMismatches(&claim.Spec, &pv.Spec):
		return "incompatible volumeMode"
	case !storagehelpers.CheckAccessModes(claim, pv):
		return "incompatible accessMode"
	}
	return ""
}

// decideBound is about a claim whose binding was completed once.
func decideBound(claim *corev1.PersistentVolumeClaim, v *view) claimPlan {
	if claim.Spec.VolumeName == "" {
		return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	}
	pv := v.volume(claim.Spec.VolumeName)
	switch {
	case pv == nil:
		return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID == claim.UID:
		return claimPlan{bind: pv}
	}
	return lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

// findBest finds the volume for a claim: one that names the claim, or the smallest of
// those with the fewest access modes that are enough. nil if there is none.
func findBest(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, delayed bool) (*corev1.PersistentVolume, error) {
	groups := map[string][]*corev1.PersistentVolume{}
	for _, pv := range volumes {
		if storagehelpers.CheckAccessModes(claim, pv) {
			key := modesKey(pv.Spec.AccessModes)
			groups[key] = append(groups[key], pv)
		}
	}
	keys := make([]string, 0, len(groups))
	for key := range groups {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if n := strings.Count(a, ",") - strings.Count(b, ","); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		pv, err := storagehelpers.FindMatchingVolume(claim, groups[key], nil, nil, delayed, true)
		if pv != nil || err != nil {
			return pv, err
		}
	}
	return nil, nil
}

func modesKey(modes []corev1.PersistentVolumeAccessMode) string {
	out := make([]string, 0, len(modes))
	for _, m := range modes {
		out = append(out, string(m))
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ",")
}

func cut(key string) (namespace, name string, ok bool) { return strings.Cut(key, "/") }
