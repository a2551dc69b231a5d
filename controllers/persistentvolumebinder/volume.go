package persistentvolumebinder

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"skiff.dev/skiff/controllers/loop"
)

// volumePlan is what to do about a volume, in the order of its fields.
type volumePlan struct {
	phase   corev1.PersistentVolumePhase // "" leaves it
	unbind  bool                         // take the binding back
	reclaim bool                         // the claim is gone: do as the policy says
	look    bool                         // look at the claim again
	event   *event                       // about the volume
	claim   *event                       // about its claim
}

// decideVolume says what to do about a volume whose claimRef leads to claim, nil if
// there is no such claim (any more).
func decideVolume(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) volumePlan {
	ref := pv.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return volumePlan{phase: corev1.VolumeAvailable}
	}
	switch {
	case claim == nil || claim.UID != ref.UID:
		return released(pv)
	case claim.Spec.VolumeName == "":
		if storagehelpers.CheckVolumeModeMismatches(&claim.Spec, &pv.Spec) {
			return volumePlan{
				event: &event{corev1.EventTypeWarning, "VolumeMismatch",
					fmt.Sprintf("Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", claim.Name)},
				claim: &event{corev1.EventTypeWarning, "VolumeMismatch",
					fmt.Sprintf("Cannot bind PersistentVolume %q to requested PersistentVolumeClaim due to incompatible volumeMode.", pv.Name)},
			}
		}
		return volumePlan{look: true}
	case claim.Spec.VolumeName == pv.Name:
		return volumePlan{phase: corev1.VolumeBound}
	}
	// The claim is bound to another volume.
	if _, made := pv.Annotations[storagehelpers.AnnDynamicallyProvisioned]; made && pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete {
		return released(pv)
	}
	return volumePlan{unbind: true}
}

// released does not hide a failure that was told.
func released(pv *corev1.PersistentVolume) volumePlan {
	p := volumePlan{reclaim: true}
	if pv.Status.Phase != corev1.VolumeFailed {
		p.phase = corev1.VolumeReleased
	}
	return p
}

// reclaimPlan is what to do with a volume whose claim is gone.
type reclaimPlan struct {
	fail     *event // the volume is Failed
	event    *event
	remove   string // a path of the machine that is deleted before the volume
	deleteIt bool
	create   *corev1.Pod   // starts recycling
	discard  *corev1.Pod   // a pod that recycled, or is in the way
	recycled bool          // empty: the volume may be had again
	retry    time.Duration // look again after this; 0: when something happens
}

// decideReclaim decides by the volume's policy, the pods that use it still and the pod
// that recycles it, nil if there is none.
func decideReclaim(pv *corev1.PersistentVolume, users []string, recycler *corev1.Pod, now time.Time) reclaimPlan {
	if pv.Annotations[storagehelpers.AnnMigratedTo] != "" {
		return reclaimPlan{}
	}
	switch pv.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimRetain:
		return reclaimPlan{}
	case corev1.PersistentVolumeReclaimDelete:
		return decideDelete(pv)
	case corev1.PersistentVolumeReclaimRecycle:
		return decideRecycle(pv, users, recycler, now)
	}
	return reclaimPlan{fail: &event{corev1.EventTypeWarning, "VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy"}}
}

func decideDelete(pv *corev1.PersistentVolume) reclaimPlan {
	by := pv.Annotations[storagehelpers.AnnDynamicallyProvisioned]
	if by != "" && !strings.HasPrefix(by, "kubernetes.io/") || pv.Spec.CSI != nil {
		return reclaimPlan{} // its provisioner deletes it
	}
	failed := func(message string) reclaimPlan {
		return reclaimPlan{fail: &event{corev1.EventTypeWarning, "VolumeFailedDelete", message}}
	}
	switch {
	case by != "" && by != "kubernetes.io/host-path":
		return failed("no volume plugin matched name: " + by)
	case pv.Spec.NFS != nil:
		return failed(fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", pv.Name))
	case pv.Spec.HostPath == nil:
		return failed(fmt.Sprintf("error getting deleter volume plugin for volume %q: no volume plugin matched", pv.Name))
	case !temporary(pv.Spec.HostPath.Path):
		return failed("host_path deleter only supports /tmp/.+ but received provided " + pv.Spec.HostPath.Path)
	}
	return reclaimPlan{remove: pv.Spec.HostPath.Path, deleteIt: true}
}

// again is the least time from one try to recycle a volume to the next.
const again = 15 * time.Second

func decideRecycle(pv *corev1.PersistentVolume, users []string, recycler *corev1.Pod, now time.Time) reclaimPlan {
	failed := func(message string) reclaimPlan {
		return reclaimPlan{fail: &event{corev1.EventTypeWarning, "VolumeFailedRecycle", message}}
	}
	if pv.Spec.HostPath == nil && pv.Spec.NFS == nil {
		return failed("No recycler plugin found for the volume!")
	}
	if recycler == nil {
		if len(users) > 0 {
			slices.Sort(users)
			return reclaimPlan{event: &event{corev1.EventTypeNormal, "VolumeFailedRecycle", "Volume is used by pods: " + strings.Join(users, ",")}}
		}
		return reclaimPlan{create: recyclerPod(pv)}
	}
	switch {
	case recycler.DeletionTimestamp != nil:
		return reclaimPlan{} // its end brings us back
	case recycler.Annotations[annRecycles] != pv.Name || recycler.Annotations[annClaim] != string(pv.Spec.ClaimRef.UID):
		p := failed("Recycle failed: old recycler pod found, will retry later")
		p.discard = recycler
		return p
	case recycler.Status.Phase == corev1.PodSucceeded:
		return reclaimPlan{discard: recycler, recycled: true, event: &event{corev1.EventTypeNormal, "VolumeRecycled", "Volume recycled"}}
	case loop.Finished(recycler):
		why := recycler.Status.Message
		if why == "" {
			why = "pod failed, pod.Status.Message unknown"
		}
		p := failed("Recycle failed: failed to recycle volume: " + why)
		if p.retry = again - now.Sub(recycler.CreationTimestamp.Time); p.retry <= 0 {
			p.retry, p.discard = 0, recycler
		}
		return p
	}
	return reclaimPlan{}
}
