package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// change is one write to an object that may exist already.
type change struct {
	// make returns the new object, managed fields included. old is nil where there
	// is no object yet. It may be called again after a lost race.
	make func(old *cache.Entry) (kinds.Object, error)
	// view, where make is nil, returns the new state of a view of old; admission
	// judges it, not the object behind it.
	view func(old *cache.Entry) (*viewWrite, error)
	// uid, if not empty, must be the stored object's.
	uid         types.UID
	allowCreate bool
	options     runtime.Object
	dry         bool
	// patch says that the client sent a patch.
	patch bool
	// quiet leaves Warnings out that a repeated attempt has told before.
	quiet bool
}

// Update stores obj, a hub object with defaults, in place of what is there. It
// owns obj. created tells whether there was nothing.
func (e *Engine) Update(ctx context.Context, r *Request, obj kinds.Object, o *metav1.UpdateOptions) (_ *cache.Entry, created bool, err error) {
	if o == nil {
		o = &metav1.UpdateOptions{}
	}
	if err := ensureNamespace(r, obj); err != nil {
		return nil, false, err
	}
	if err := checkName(r, obj); err != nil {
		return nil, false, err
	}
	dedupOwners(r, obj, false)
	manager := managerName(o.FieldManager, r.Agent)
	return e.change(ctx, r, &change{
		uid: obj.GetUID(), allowCreate: r.Kind.AllowCreateOnUpdate && r.Sub == "", options: o, dry: dryRun(o.DryRun),
		make: func(old *cache.Entry) (kinds.Object, error) {
			fresh := obj.DeepCopyObject().(kinds.Object)
			live := r.Kind.New()
			if old != nil {
				live = old.Object
			}
			return e.Owners.Update(r.Kind, r.Version, r.Sub, live, fresh, manager), nil
		},
	})
}

// checkName compares the object's name with the path's (endpoints/handlers,
// checkName).
func checkName(r *Request, obj kinds.Object) error {
	if obj.GetName() == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", r.Name))
	}
	if obj.GetName() != r.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), r.Name))
	}
	return nil
}

// change repeats make and store until no one comes between. What was computed
// from a stale cache is computed again before an error counts.
func (e *Engine) change(ctx context.Context, r *Request, c *change) (*cache.Entry, bool, error) {
	kc, err := e.of(r)
	if err != nil {
		return nil, false, err
	}
	if r.Kind.Namespaced && r.Namespace == "" {
		return nil, false, apierrors.NewBadRequest("Namespace parameter required.")
	}
	if err := segment(r.Name); err != nil {
		return nil, false, err
	}
	var fresh freshness
	reserved := 0
	for {
		shown := e.Cache.Revision()
		entry, created, err := e.changeOnce(ctx, kc, r, c)
		switch {
		case err == nil:
			return entry, created, nil
		case err == errReserved:
			if reserved++; reserved == reserveAttempts {
				return nil, false, reservedElsewhere(r)
			}
			continue
		case err == errConflict || err == errTogether:
			c.quiet = true
			if ctx.Err() != nil {
				return nil, false, ctx.Err()
			}
			continue
		}
		if counts, stale := fresh.counts(ctx, e, shown); stale != nil || counts {
			return nil, false, cmp.Or(stale, err)
		}
		c.quiet = true
	}
}

func (e *Engine) changeOnce(ctx context.Context, kc *cache.Kind, r *Request, c *change) (*cache.Entry, bool, error) {
	old, err := e.load(kc, r)
	if err != nil {
		return nil, false, err
	}
	if old == nil {
		if !c.allowCreate {
			return nil, false, apierrors.NewNotFound(resourceOf(r), r.Name)
		}
		entry, err := e.createByChange(ctx, kc, r, c)
		return entry, err == nil, err
	}
	if c.uid != "" && c.uid != old.Object.GetUID() {
		return nil, false, preconditionError(r, c.dry, fmt.Sprintf(
			"Precondition failed: UID in precondition: %v, UID in object meta: %v", c.uid, old.Object.GetUID()))
	}
	a, w, err := e.admitChange(ctx, r, c, old)
	if err != nil {
		return nil, false, err
	}
	obj := a.Object
	if w != nil {
		if obj, err = w.parent(a.View, w.manager); err != nil {
			return nil, false, err
		}
	}
	dedupOwners(r, obj, true)
	if err := checkRevision(r, obj, old.Object); err != nil {
		return nil, false, err
	}
	done := func(bool) {}
	if h := e.Hooks[r.Kind.GroupResource()]; h != nil && r.Sub == "" {
		if done, err = h.Begin(ctx, obj, old.Object, c.dry); err != nil {
			return nil, false, err
		}
	}
	stored := false
	defer func() { done(stored) }()
	if err := e.beforeUpdate(r, obj, old.Object, c.quiet); err != nil {
		return nil, false, err
	}
	keepTimes(obj, old.Object)
	if w != nil {
		if a.View, err = w.row.Get(obj); err != nil {
			return nil, false, apierrors.NewInternalError(err)
		}
	}
	defer a.Finish()
	if err := e.validate(ctx, r, a); err != nil {
		return nil, false, err
	}
	settle(r, obj)
	if deleteNow(obj, old.Object) && gone(r, obj) {
		if c.dry {
			entry, err := answer(r, obj, 0)
			return entry, false, err
		}
		if _, err := e.remove(ctx, kc, r, old); err != nil {
			return nil, false, err
		}
		entry, err := answer(r, obj, old.Revision)
		return entry, false, err
	}
	if c.dry {
		entry, err := e.dryUpdate(kc, r, obj, old)
		return entry, false, err
	}
	entry, err := e.put(ctx, kc, r, obj, old, a.Together...)
	stored = err == nil
	return entry, false, err
}

// admitChange makes the new object, or the new state of a view, and runs the
// mutating phase on it.
func (e *Engine) admitChange(ctx context.Context, r *Request, c *change, old *cache.Entry) (*admission.Request, *viewWrite, error) {
	if c.view == nil {
		obj, err := c.make(old)
		if err != nil {
			return nil, nil, err
		}
		a := e.admission(r, admission.Update, obj, old.Object, c.options, c.dry)
		a.Patch = c.patch
		err = e.mutate(ctx, r, a)
		if err == nil {
			err = ensureNamespace(r, a.Object)
		}
		return a, nil, err
	}
	w, err := c.view(old)
	if err != nil {
		return nil, nil, err
	}
	a := e.admission(r, admission.Update, nil, old.Object, c.options, c.dry)
	a.View, a.OldView, a.ViewKind = w.next, w.live, w.row.Kind
	return a, w, e.mutate(ctx, r, a)
}

// preconditionError words a uid or revision that is not the stored object's, with
// the key that the object has in Kubernetes' storage (storage, NewInvalidObjError).
func preconditionError(r *Request, dry bool, text string) error {
	dir := r.Kind.Resource
	switch r.Kind.GroupResource().String() {
	case "services":
		dir = "services/specs"
	case "endpoints":
		dir = "services/endpoints"
	case "nodes":
		dir = "minions"
	case "replicationcontrollers":
		dir = "controllers"
	case "ingresses.networking.k8s.io":
		dir = "ingress"
	case "apiservices.apiregistration.k8s.io", "customresourcedefinitions.apiextensions.k8s.io":
		dir = r.Kind.Group + "/" + dir
	}
	if r.Kind.Custom != nil {
		dir = r.Kind.Group + "/" + dir
	}
	key := "/" + dir + "/" + cache.Key(r.Namespace, r.Name)
	if !dry { // a dry run has the key without the storage's prefix
		key = "/registry" + key
	}
	return apierrors.NewConflict(resourceOf(r), r.Name, fmt.Errorf(
		"StorageError: invalid object, Code: 4, Key: %s, ResourceVersion: 0, AdditionalErrorMsg: %s", key, text))
}

// dryUpdate answers what an update would have answered, at the old revision.
func (e *Engine) dryUpdate(kc *cache.Kind, r *Request, obj kinds.Object, old *cache.Entry) (*cache.Entry, error) {
	obj.SetResourceVersion("")
	entry, err := answer(r, obj, old.Revision)
	if err != nil {
		return nil, err
	}
	if value, err := codec.EncodeStored(kc.Kind, entry.Object); err == nil {
		if same, ok := e.same(kc, r, old, value); ok {
			return same, nil
		}
	}
	entry.Object.SetResourceVersion(old.Object.GetResourceVersion())
	return entry, nil
}

// createByChange is an update (PUT of some kinds, or apply) of what does not
// exist.
func (e *Engine) createByChange(ctx context.Context, kc *cache.Kind, r *Request, c *change) (*cache.Entry, error) {
	obj, err := c.make(nil)
	if err != nil {
		return nil, err
	}
	a := e.admission(r, admission.Create, obj, nil, toCreate(c.options), c.dry)
	if err := e.mutate(ctx, r, a); err != nil {
		return nil, err
	}
	obj = a.Object
	if err := ensureNamespace(r, obj); err != nil {
		return nil, err
	}
	dedupOwners(r, obj, true)
	if err := e.mayCreate(ctx, r); err != nil {
		return nil, err
	}
	wipeKeepUID(obj)
	obj.SetResourceVersion("") // what a client took for the object's is not the new one's
	entry, err := e.createOnce(ctx, kc, r, obj, a, c.dry)
	if apierrors.IsAlreadyExists(err) && kc.Get(r.Namespace, r.Name) != nil {
		return nil, errConflict
	}
	return entry, err
}

// toCreate are the options of an update as those of the creation that it turned out
// to be.
func toCreate(o runtime.Object) runtime.Object {
	if u, ok := o.(*metav1.UpdateOptions); ok {
		return &metav1.CreateOptions{DryRun: u.DryRun, FieldManager: u.FieldManager, FieldValidation: u.FieldValidation}
	}
	return o
}

func wipeKeepUID(obj kinds.Object) {
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
}

// conflictText is told when the object moved on (registry/generic,
// OptimisticLockErrorMsg).
const conflictText = "the object has been modified; please apply your changes to the latest version and try again"

// checkRevision compares the resourceVersion that the client saw.
func checkRevision(r *Request, obj, old kinds.Object) error {
	rv := obj.GetResourceVersion()
	if rv == "" || rv == "0" {
		if r.Kind.RequireRevision {
			gk := r.Kind.GVK().GroupKind()
			gk.Kind = r.Kind.Resource
			return apierrors.NewInvalid(gk, r.Name, field.ErrorList{
				field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
		}
		obj.SetResourceVersion(old.GetResourceVersion())
		return nil
	}
	if rv == old.GetResourceVersion() {
		return nil
	}
	if _, err := strconv.ParseUint(rv, 10, 64); err != nil {
		return apierrors.NewInvalid(r.Kind.GVK().GroupKind(), r.Name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), rv, err.Error())})
	}
	return apierrors.NewConflict(resourceOf(r), r.Name, errors.New(conflictText))
}

// beforeUpdate prepares and validates (registry/rest, BeforeUpdate).
func (e *Engine) beforeUpdate(r *Request, obj, old kinds.Object, quiet bool) error {
	k := r.Kind
	prepare, validate := k.PrepareUpdate, k.ValidateUpdate
	if r.Sub != "" {
		sub := k.Subresources[r.Sub]
		prepare, validate = sub.PrepareUpdate, sub.ValidateUpdate
	} else if r.Version != nil && r.Version.Validate != nil {
		validate = r.Version.Validate
	}
	if k.Custom != nil && k.Custom.ValidateUpdate != nil && validate != nil {
		validate = func(obj, old kinds.Object) field.ErrorList { return k.Custom.ValidateUpdate(r.Sub, obj, old, r.warn) }
	}
	obj.SetGeneration(old.GetGeneration())
	if prepare != nil {
		prepare(obj, old)
	}
	if r.Sub != "status" && k.Generation != nil && k.Generation(obj, old) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if t := old.GetCreationTimestamp(); !t.IsZero() {
		obj.SetCreationTimestamp(t)
	}
	if t := old.GetDeletionTimestamp(); t != nil {
		obj.SetDeletionTimestamp(t)
	}
	if g := old.GetDeletionGracePeriodSeconds(); g != nil && obj.GetDeletionGracePeriodSeconds() == nil {
		obj.SetDeletionGracePeriodSeconds(g)
	}
	meta := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(obj, k.Namespaced, pathSegment, meta)
	errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(obj, old, meta)...)
	if validate != nil {
		errs = append(errs, validate(obj, old)...)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(k.GVK().GroupKind(), obj.GetName(), errs)
	}
	if k.Warnings != nil && r.Sub == "" && !quiet {
		for _, w := range k.Warnings(obj, old) {
			r.warn(w)
		}
	}
	return nil
}

// keepTimes undoes a change that is only one of times in managed fields
// (handlers/fieldmanager, IgnoreManagedFieldsTimestampsTransformer).
func keepTimes(obj, old kinds.Object) {
	a, b := obj.GetManagedFields(), old.GetManagedFields()
	if len(a) != len(b) || len(a) == 0 {
		return
	}
	differ := false
	for i := range a {
		x, y := a[i], b[i]
		if !x.Time.Equal(y.Time) {
			differ = true
		}
		x.Time, y.Time = nil, nil
		if !equality.Semantic.DeepEqual(x, y) {
			return
		}
	}
	if !differ {
		return
	}
	obj.SetManagedFields(b)
	if !equality.Semantic.DeepEqual(obj, old) {
		obj.SetManagedFields(a)
	}
}

// deleteNow tells whether an update that took the last finalizer away completes a
// deletion (registry/generic, ShouldDeleteDuringUpdate).
func deleteNow(obj, old kinds.Object) bool {
	if len(obj.GetFinalizers()) > 0 || old.GetDeletionTimestamp() == nil {
		return false
	}
	g := old.GetDeletionGracePeriodSeconds()
	return g == nil || *g == 0
}
