// Package persistentvolumebinder binds PersistentVolumeClaims to PersistentVolumes
// that somebody made, and does with a volume what its reclaim policy says when its
// claim is gone (pkg/controller/volume/persistentvolume in Kubernetes, without the
// provisioners that were part of it: a class' provisioner is told by annotations of
// the claim). The rules of matching are k8s.io/component-helpers/storage/volume's,
// which the scheduler uses for claims that wait for their first consumer.
//
// What is to be done is decided by decideClaim and decideVolume from what is seen;
// one worker carries it out, the volume before the claim, each write guarded by the
// version that was read. So a volume is never promised twice, and what a crash leaves
// half done the next look at it completes.
//
// Reads: PersistentVolumes, PersistentVolumeClaims, StorageClasses, Pods.
// Writes: spec.claimRef, status and the annotation bound-by-controller of
// PersistentVolumes; spec.volumeName, spec.storageClassName, status and the binding and
// provisioner annotations of PersistentVolumeClaims; deletes PersistentVolumes; the Pods
// that recycle.
package persistentvolumebinder

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

// item names a volume, or a claim where it has a namespace.
type item struct{ types.NamespacedName }

func volumeItem(name string) item { return item{types.NamespacedName{Name: name}} }
func claimItem(namespace, name string) item {
	return item{types.NamespacedName{Namespace: namespace, Name: name}}
}

// byClaim is the index of pods by the claims that they name.
const byClaim = "persistentvolumeclaims"

type controller struct {
	env    *loop.Env
	events loop.Recorder
	loop   *loop.Loop[item]
	// remove deletes what a volume of the machine holds.
	remove func(path string) error
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, events: env.Recorder("persistentvolume-controller"), remove: removeTemporary}
	c.loop = loop.New(ctx, env, "persistentvolumebinder", 1, loop.Func[item](c.reconcile))
	c.loop.Index(&corev1.Pod{}, byClaim, claimsOf)
	loop.On(c.loop, &corev1.PersistentVolumeClaim{}, c.onClaim)
	loop.On(c.loop, &corev1.PersistentVolume{}, c.onVolume)
	loop.On(c.loop, &storagev1.StorageClass{}, c.onClass)
	loop.On(c.loop, &corev1.Pod{}, c.onPod)
	return c.loop.Start()
}

// claimsOf names the claims of a pod, for the index byClaim.
func claimsOf(obj crclient.Object) []string {
	pod := obj.(*corev1.Pod)
	var out []string
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			out = append(out, pod.Namespace+"/"+v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			out = append(out, pod.Namespace+"/"+pod.Name+"-"+v.Name)
		}
	}
	return out
}

func (c *controller) onClaim(old, claim *corev1.PersistentVolumeClaim) {
	if claim == nil {
		if old.Spec.VolumeName != "" {
			c.loop.Add(volumeItem(old.Spec.VolumeName))
		}
		return
	}
	c.loop.Add(claimItem(claim.Namespace, claim.Name))
	// A volume that was bound to this claim by name alone, or to another that went.
	if claim.Spec.VolumeName != "" && (old == nil || old.Spec.VolumeName != claim.Spec.VolumeName) {
		c.loop.Add(volumeItem(claim.Spec.VolumeName))
	}
}

func (c *controller) onVolume(old, pv *corev1.PersistentVolume) {
	if pv != nil {
		c.loop.Add(volumeItem(pv.Name))
	}
	for _, v := range []*corev1.PersistentVolume{old, pv} {
		if v != nil && v.Spec.ClaimRef != nil {
			c.loop.Add(claimItem(v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name))
		}
	}
	if pv != nil && (pv.Status.Phase == corev1.VolumeAvailable || old == nil) {
		c.addPending(func(claim *corev1.PersistentVolumeClaim) bool {
			return claim.Spec.VolumeName == pv.Name || pv.Status.Phase == corev1.VolumeAvailable &&
				storagehelpers.GetPersistentVolumeClaimClass(claim) == storagehelpers.GetPersistentVolumeClass(pv)
		})
	}
}

func (c *controller) onClass(_, class *storagev1.StorageClass) {
	if class == nil {
		return
	}
	c.addPending(func(claim *corev1.PersistentVolumeClaim) bool {
		return !storagehelpers.PersistentVolumeClaimHasClass(claim) || storagehelpers.GetPersistentVolumeClaimClass(claim) == class.Name
	})
}

// onPod looks again at claims whose message names the pods that wait for them, and at
// volumes that can be recycled when their last pod, or the pod that recycles, ends.
func (c *controller) onPod(old, pod *corev1.Pod) {
	at := pod
	if at == nil {
		at = old
	}
	if pv := at.Annotations[annRecycles]; pv != "" && at.Namespace == recyclerNamespace {
		c.loop.Add(volumeItem(pv))
	}
	ended := old != nil && (pod == nil || loop.Finished(pod) && !loop.Finished(old))
	if old != nil && !ended {
		return
	}
	for _, key := range claimsOf(at) {
		namespace, name, _ := cut(key)
		c.loop.Add(claimItem(namespace, name))
		if ended {
			c.addReleased(namespace, name)
		}
	}
}

// addPending adds the claims that have no volume yet and that match accepts.
func (c *controller) addPending(match func(*corev1.PersistentVolumeClaim) bool) {
	var claims corev1.PersistentVolumeClaimList
	// The cache is in memory; a claim that it does not show yet comes by itself.
	if err := c.env.Cache.List(context.Background(), &claims, crclient.UnsafeDisableDeepCopy); err != nil {
		c.env.Log.Error("claims not listed", "err", err)
		return
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if _, done := claim.Annotations[storagehelpers.AnnBindCompleted]; !done && match(claim) {
			c.loop.Add(claimItem(claim.Namespace, claim.Name))
		}
	}
}

// addReleased adds the volumes that a claim held which is no more.
func (c *controller) addReleased(namespace, name string) {
	var volumes corev1.PersistentVolumeList
	if err := c.env.Cache.List(context.Background(), &volumes, crclient.UnsafeDisableDeepCopy); err != nil {
		c.env.Log.Error("volumes not listed", "err", err)
		return
	}
	for i := range volumes.Items {
		pv := &volumes.Items[i]
		if ref := pv.Spec.ClaimRef; ref != nil && ref.Namespace == namespace && ref.Name == name && pv.Status.Phase != corev1.VolumeBound {
			c.loop.Add(volumeItem(pv.Name))
		}
	}
}

func (c *controller) reconcile(ctx context.Context, it item) (reconcile.Result, error) {
	if it.Namespace == "" {
		return c.syncVolume(ctx, it.Name)
	}
	return reconcile.Result{}, c.syncClaim(ctx, it.NamespacedName)
}
