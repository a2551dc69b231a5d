package persistentvolumebinder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

func (c *controller) tell(obj runtime.Object, e *event) {
	if e != nil {
		c.events.Eventf(obj, e.typ, e.reason, "%s", e.message)
	}
}

func (c *controller) syncClaim(ctx context.Context, key types.NamespacedName) error {
	claim := &corev1.PersistentVolumeClaim{}
	if err := c.env.Cache.Get(ctx, key, claim); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	v, err := c.look(ctx, claim)
	if err != nil {
		return err
	}
	p, wrong := decideClaim(claim, v)
	switch {
	case p.bind != nil:
		return c.bind(ctx, p.bind.DeepCopy(), claim)
	case p.class != "":
		claim.Spec.StorageClassName = &p.class
		return c.env.Client.Update(ctx, claim)
	case p.provisioner != "":
		return c.ask(ctx, claim, p)
	}
	changed := false
	if p.phase != "" {
		if changed, err = c.setClaimStatus(ctx, claim, p.phase, nil); err != nil {
			return err
		}
	}
	if changed || !p.onChange {
		c.tell(claim, p.event)
	}
	return wrong
}

// ask tells an external provisioner that a claim wants a volume. It is said once.
func (c *controller) ask(ctx context.Context, claim *corev1.PersistentVolumeClaim, p claimPlan) error {
	if claim.Annotations[storagehelpers.AnnStorageProvisioner] != p.provisioner {
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, storagehelpers.AnnBetaStorageProvisioner, p.provisioner)
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, storagehelpers.AnnStorageProvisioner, p.provisioner)
		if err := c.env.Client.Update(ctx, claim); err != nil {
			return err
		}
	}
	c.tell(claim, p.event)
	return nil
}

// look gathers what a decision about claim needs.
func (c *controller) look(ctx context.Context, claim *corev1.PersistentVolumeClaim) (*view, error) {
	v := &view{classes: map[string]*storagev1.StorageClass{}}
	var volumes corev1.PersistentVolumeList
	if err := c.env.Cache.List(ctx, &volumes, crclient.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for i := range volumes.Items {
		v.volumes = append(v.volumes, &volumes.Items[i])
	}
	var classes storagev1.StorageClassList
	if err := c.env.Cache.List(ctx, &classes, crclient.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	for i := range classes.Items {
		v.classes[classes.Items[i].Name] = &classes.Items[i]
	}
	pods, err := c.podsOf(ctx, claim.Namespace, claim.Name)
	for _, p := range pods {
		if p.Spec.NodeName == "" {
			v.waiting = append(v.waiting, p.Name)
		}
	}
	slices.Sort(v.waiting)
	return v, err
}

// podsOf lists the pods that name a claim and have not finished.
func (c *controller) podsOf(ctx context.Context, namespace, name string) ([]*corev1.Pod, error) {
	var pods corev1.PodList
	err := c.env.Cache.List(ctx, &pods, crclient.InNamespace(namespace), crclient.MatchingFields{byClaim: namespace + "/" + name}, crclient.UnsafeDisableDeepCopy)
	var out []*corev1.Pod
	for i := range pods.Items {
		if !loop.Finished(&pods.Items[i]) {
			out = append(out, &pods.Items[i])
		}
	}
	return out, err
}

// bind makes a volume and a claim each other's; what is so already is not written.
// Both objects are the caller's own.
func (c *controller) bind(ctx context.Context, pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	bound, dirty, err := storagehelpers.GetBindVolumeToClaim(pv, claim)
	if err != nil {
		return err
	}
	if dirty {
		if err := c.env.Client.Update(ctx, bound); err != nil {
			return err
		}
	}
	if err := c.setVolumePhase(ctx, bound, corev1.VolumeBound, ""); err != nil {
		return err
	}
	dirty = false
	if claim.Spec.VolumeName != bound.Name {
		claim.Spec.VolumeName, dirty = bound.Name, true
		if !metav1.HasAnnotation(claim.ObjectMeta, storagehelpers.AnnBoundByController) {
			metav1.SetMetaDataAnnotation(&claim.ObjectMeta, storagehelpers.AnnBoundByController, "yes")
		}
	}
	if !metav1.HasAnnotation(claim.ObjectMeta, storagehelpers.AnnBindCompleted) {
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, storagehelpers.AnnBindCompleted, "yes")
		dirty = true
	}
	if dirty {
		if err := c.env.Client.Update(ctx, claim); err != nil {
			return err
		}
	}
	_, err = c.setClaimStatus(ctx, claim, corev1.ClaimBound, bound)
	return err
}

// setClaimStatus writes what a claim has; changed tells whether its phase is new.
func (c *controller) setClaimStatus(ctx context.Context, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, pv *corev1.PersistentVolume) (changed bool, err error) {
	old := claim.Status.DeepCopy()
	s := &claim.Status
	changed = s.Phase != phase
	if pv == nil {
		s.AccessModes, s.Capacity, s.CurrentVolumeAttributesClassName = nil, nil, nil
	} else {
		s.AccessModes = pv.Spec.AccessModes
		// A claim that is bound may be shown with less than its volume has.
		if changed {
			if _, ok := pv.Spec.Capacity[corev1.ResourceStorage]; !ok {
				return false, fmt.Errorf("PersistentVolume %q is without a storage capacity", pv.Name)
			}
			s.Capacity = pv.Spec.Capacity
		}
		if old.Phase == corev1.ClaimPending && phase == corev1.ClaimBound {
			s.CurrentVolumeAttributesClassName = pv.Spec.VolumeAttributesClassName
		}
	}
	s.Phase = phase
	if equality.Semantic.DeepEqual(old, s) {
		return false, nil
	}
	return changed, c.env.Client.Status().Update(ctx, claim)
}

func (c *controller) setVolumePhase(ctx context.Context, pv *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string) error {
	if phase == "" || pv.Status.Phase == phase {
		return nil
	}
	pv.Status.Phase, pv.Status.Message = phase, message
	return c.env.Client.Status().Update(ctx, pv)
}

func (c *controller) syncVolume(ctx context.Context, name string) (reconcile.Result, error) {
	pv := &corev1.PersistentVolume{}
	if err := c.env.Cache.Get(ctx, types.NamespacedName{Name: name}, pv); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	claim, err := c.claimOf(ctx, pv)
	if err != nil {
		return reconcile.Result{}, err
	}
	p := decideVolume(pv, claim)
	if err := c.setVolumePhase(ctx, pv, p.phase, ""); err != nil {
		return reconcile.Result{}, err
	}
	if p.unbind {
		return reconcile.Result{}, c.unbind(ctx, pv)
	}
	c.tell(pv, p.event)
	if claim != nil {
		c.tell(claim, p.claim)
		if p.look {
			c.loop.Add(claimItem(claim.Namespace, claim.Name))
		}
	}
	if p.reclaim {
		return c.reclaim(ctx, pv)
	}
	return reconcile.Result{}, nil
}

// claimOf finds the claim that a volume is bound to; nil if it is gone. Because its
// absence may cost the data, the server is asked where the cache does not have it.
func (c *controller) claimOf(ctx context.Context, pv *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	ref := pv.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return nil, nil
	}
	key := types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}
	for _, from := range []crclient.Reader{c.env.Cache, c.env.Client} {
		claim := &corev1.PersistentVolumeClaim{}
		err := from.Get(ctx, key, claim)
		if err == nil && claim.UID == ref.UID {
			return claim, nil
		}
		if crclient.IgnoreNotFound(err) != nil {
			return nil, err
		}
	}
	return nil, nil
}

// unbind takes a binding back; a claim that the volume's maker named stays named.
func (c *controller) unbind(ctx context.Context, pv *corev1.PersistentVolume) error {
	if metav1.HasAnnotation(pv.ObjectMeta, storagehelpers.AnnBoundByController) {
		pv.Spec.ClaimRef = nil
		delete(pv.Annotations, storagehelpers.AnnBoundByController)
	} else {
		pv.Spec.ClaimRef.UID = ""
	}
	if err := c.env.Client.Update(ctx, pv); err != nil {
		return err
	}
	return c.setVolumePhase(ctx, pv, corev1.VolumeAvailable, "")
}

func (c *controller) reclaim(ctx context.Context, pv *corev1.PersistentVolume) (reconcile.Result, error) {
	var users []string
	var recycler *corev1.Pod
	if pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		var err error
		if users, err = c.users(ctx, pv.Spec.ClaimRef); err != nil {
			return reconcile.Result{}, err
		}
		pod := &corev1.Pod{}
		switch err := c.env.Client.Get(ctx, types.NamespacedName{Namespace: recyclerNamespace, Name: recyclerName(pv.Name)}, pod); {
		case err == nil:
			recycler = pod
		case !apierrors.IsNotFound(err):
			return reconcile.Result{}, err
		}
	}
	return c.carryOut(ctx, pv, decideReclaim(pv, users, recycler, time.Now()))
}

// users names the pods that may still write to the volume of a claim that is gone. The
// server is asked, for the cache may not show a pod that came just now. Pods of a newer
// claim of that name use another volume.
func (c *controller) users(ctx context.Context, ref *corev1.ObjectReference) ([]string, error) {
	err := c.env.Client.Get(ctx, types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, &corev1.PersistentVolumeClaim{})
	if !apierrors.IsNotFound(err) {
		return nil, err
	}
	var pods corev1.PodList
	if err := c.env.Client.List(ctx, &pods, crclient.InNamespace(ref.Namespace)); err != nil {
		return nil, err
	}
	var out []string
	for i := range pods.Items {
		if p := &pods.Items[i]; !loop.Finished(p) && slices.Contains(claimsOf(p), ref.Namespace+"/"+ref.Name) {
			out = append(out, p.Namespace+"/"+p.Name)
		}
	}
	return out, nil
}

func (c *controller) carryOut(ctx context.Context, pv *corev1.PersistentVolume, p reclaimPlan) (reconcile.Result, error) {
	var errs []error
	note := func(err error) bool {
		errs = append(errs, err)
		return err == nil
	}
	if p.create != nil {
		note(c.env.Client.Create(ctx, p.create))
	}
	if p.discard != nil {
		note(crclient.IgnoreNotFound(c.env.Client.Delete(ctx, p.discard, crclient.Preconditions{UID: &p.discard.UID})))
	}
	if p.remove != "" {
		if err := c.remove(p.remove); err != nil {
			p.deleteIt, p.fail = false, &event{corev1.EventTypeWarning, "VolumeFailedDelete", err.Error()}
		}
	}
	if p.deleteIt {
		note(crclient.IgnoreNotFound(c.env.Client.Delete(ctx, pv, crclient.Preconditions{UID: &pv.UID})))
	}
	if p.fail != nil && pv.Status.Phase != corev1.VolumeFailed && note(c.setVolumePhase(ctx, pv, corev1.VolumeFailed, p.fail.message)) {
		c.tell(pv, p.fail)
	}
	c.tell(pv, p.event)
	if p.recycled {
		note(c.unbind(ctx, pv))
	}
	return reconcile.Result{RequeueAfter: p.retry}, errors.Join(errs...)
}
