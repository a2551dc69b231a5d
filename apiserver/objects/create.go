package objects

import (
	"context"
	"errors"
	"fmt"
	"unicode"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

func printable(c rune) bool { return unicode.IsPrint(c) }

// generateAttempts is how many random names are tried (registry/generic,
// maxNameGenerationCreateAttempts).
const generateAttempts = 8

// Create stores a new object. It owns obj, a hub object with defaults.
func (e *Engine) Create(ctx context.Context, r *Request, obj kinds.Object, o *metav1.CreateOptions) (*cache.Entry, error) {
	kc, err := e.of(r)
	if err != nil {
		return nil, err
	}
	if o == nil {
		o = &metav1.CreateOptions{}
	}
	wipe(obj)
	if err := ensureNamespace(r, obj); err != nil {
		return nil, err
	}
	if r.Name == "" {
		r.Name = obj.GetName()
	}
	dedupOwners(r, obj, false)
	obj = e.Owners.Update(r.Kind, r.Version, r.Sub, r.Kind.New(), obj, managerName(o.FieldManager, r.Agent))

	a := e.admission(r, admission.Create, obj, nil, o, dryRun(o.DryRun))
	if err := e.mutate(ctx, r, a); err != nil {
		return nil, err
	}
	obj = a.Object
	if err := ensureNamespace(r, obj); err != nil {
		return nil, err
	}
	dedupOwners(r, obj, true)
	if obj.GetName() != "" || obj.GetGenerateName() == "" {
		return e.createOnce(ctx, kc, r, obj, a, dryRun(o.DryRun))
	}
	for try := 0; ; try++ {
		var entry *cache.Entry
		entry, err = e.createOnce(ctx, kc, r, obj.DeepCopyObject().(kinds.Object), a, dryRun(o.DryRun))
		if err == nil || !apierrors.IsAlreadyExists(err) || try == generateAttempts-1 {
			return entry, err
		}
	}
}

// Own notes the fields of an object that is answered, not stored, once it is cleared
// of what clients may not say.
func (e *Engine) Own(r *Request, obj kinds.Object, manager string) (kinds.Object, error) {
	wipe(obj)
	if err := ensureNamespace(r, obj); err != nil {
		return nil, err
	}
	return e.Owners.Update(r.Kind, r.Version, r.Sub, r.Kind.New(), obj, managerName(manager, r.Agent)), nil
}

// OwnView is Own for what is posted to a subresource.
func (e *Engine) OwnView(r *Request, gvk schema.GroupVersionKind, view runtime.Object, manager string) (runtime.Object, error) {
	out, err := e.Owners.View(gvk, r.Sub, view, managerName(manager, r.Agent))
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return out, nil
}

// createOnce gives the object its identity and stores it.
func (e *Engine) createOnce(ctx context.Context, kc *cache.Kind, r *Request, obj kinds.Object, a *admission.Request, dry bool) (_ *cache.Entry, err error) {
	obj.SetCreationTimestamp(e.time())
	obj.SetUID(uuid.NewUUID())
	generated := obj.GetName() == "" && obj.GetGenerateName() != ""
	if generated {
		obj.SetName(generateName(obj.GetGenerateName()))
		if r.Kind.Default != nil {
			r.Kind.Default(obj) // what follows from the name
		}
	}
	h := e.Hooks[r.Kind.GroupResource()]
	if h == nil {
		return e.createHooked(ctx, kc, r, obj, a, dry, generated, nil)
	}
	for range reserveAttempts {
		fresh := obj.DeepCopyObject().(kinds.Object)
		entry, err := e.createHooked(ctx, kc, r, fresh, a, dry, generated, h)
		if err != errReserved {
			return entry, err
		}
	}
	return nil, reservedElsewhere(r)
}

// createHooked stores an object that has its identity, with what the hook gives it.
func (e *Engine) createHooked(ctx context.Context, kc *cache.Kind, r *Request, obj kinds.Object, a *admission.Request, dry, generated bool, h Hook) (_ *cache.Entry, err error) {
	done := func(bool) {}
	if h != nil {
		if done, err = h.Begin(ctx, obj, nil, dry); err != nil {
			return nil, err
		}
	}
	stored := false
	defer func() { done(stored) }()

	if err := e.beforeCreate(r, obj); err != nil {
		return nil, err
	}
	a.Object = obj
	a.Name = obj.GetName()
	for {
		entry, err := e.admitCreation(ctx, kc, r, obj, a, dry, generated)
		if err == errTogether {
			continue
		}
		stored = err == nil && !dry
		return entry, err
	}
}

// admitCreation is the last step of a creation: the validating phase of admission,
// and the store.
func (e *Engine) admitCreation(ctx context.Context, kc *cache.Kind, r *Request, obj kinds.Object, a *admission.Request, dry, generated bool) (*cache.Entry, error) {
	defer a.Finish()
	if err := e.validate(ctx, r, a); err != nil {
		return nil, err
	}
	if rv := obj.GetResourceVersion(); rv != "" && rv != "0" && !dry {
		// storage/etcd3 refuses this, after everything else, with a plain error.
		return nil, errors.New("resourceVersion should not be set on objects to be created")
	}

	settle(r, obj)
	if there := kc.Get(r.Namespace, obj.GetName()); there != nil && (dry || e.current(there)) {
		return nil, alreadyExists(r, obj, there, generated)
	}
	if dry {
		return answer(r, obj, 0)
	}
	entry, err := e.put(ctx, kc, r, obj, nil, a.Together...)
	if err == errConflict {
		return nil, alreadyExists(r, obj, kc.Get(r.Namespace, obj.GetName()), generated)
	}
	return entry, err
}

// settle gives obj the form in which it will come back from the store.
func settle(r *Request, obj kinds.Object) {
	if r.Kind.DefaultStored {
		r.Kind.Default(obj)
	}
	if r.Kind.Settle != nil {
		r.Kind.Settle(obj)
	}
}

// current tells whether the cache is up to date, so that what it says need not be
// asked of the store.
func (e *Engine) current(*cache.Entry) bool {
	return !e.Cache.Shared() && e.Cache.Revision() >= e.Store.Revision()
}

func alreadyExists(r *Request, obj kinds.Object, there *cache.Entry, generated bool) error {
	var err *apierrors.StatusError
	if generated {
		err = apierrors.NewGenerateNameConflict(resourceOf(r), obj.GetName(), 1)
	} else {
		err = apierrors.NewAlreadyExists(resourceOf(r), obj.GetName())
	}
	if there != nil && there.Object.GetDeletionTimestamp() != nil {
		err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
	}
	return err
}

// beforeCreate prepares and validates (registry/rest, BeforeCreate).
func (e *Engine) beforeCreate(r *Request, obj kinds.Object) error {
	k := r.Kind
	if k.Generation != nil && !k.KeepGeneration {
		obj.SetGeneration(1)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	identify(r, obj)
	var errs field.ErrorList
	last := k.MetaLast
	if r.Version != nil && r.Version.Validate != nil {
		errs, last = r.Version.Validate(obj, nil), true
	} else if k.Validate != nil {
		errs = k.Validate(obj)
	}
	if !last || len(errs) == 0 {
		errs = append(validation.ValidateObjectMetaAccessor(obj, k.Namespaced, nameRule(k), field.NewPath("metadata")), errs...)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(k.GVK().GroupKind(), obj.GetName(), errs)
	}
	if k.Warnings != nil {
		for _, w := range k.Warnings(obj, nil) {
			r.warn(w)
		}
	}
	return nil
}

func nameRule(k *kinds.Kind) validation.ValidateNameFunc {
	if k.Name != nil {
		return k.Name
	}
	return pathSegment
}

// pathSegment judges a name that must be one part of a URL's path.
func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

// generateName appends five random characters, keeping 63 in all
// (storage/names, SimpleNameGenerator).
func generateName(base string) string {
	const most = 63 - 5
	if len(base) > most {
		base = base[:most]
	}
	return base + rand.String(5)
}

// wipe takes away what only the server may say (registry/rest,
// WipeObjectMetaSystemFields).
func wipe(obj kinds.Object) {
	obj.SetCreationTimestamp(metav1.Time{})
	obj.SetUID("")
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
}

func ensureNamespace(r *Request, obj kinds.Object) error {
	want := ""
	if r.Kind.Namespaced {
		want = r.Namespace
	}
	switch have := obj.GetNamespace(); {
	case have == want:
	case have == "" || want == "":
		obj.SetNamespace(want)
	default:
		return errNamespace()
	}
	return nil
}

func errNamespace() error {
	return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
}

// dedupOwners removes repeated owner references and says so (endpoints/handlers,
// dedupOwnerReferencesAndAddWarning).
func dedupOwners(r *Request, obj kinds.Object, afterAdmission bool) {
	refs := obj.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	seen := map[string]bool{}
	kept := refs[:0:0]
	var dups []string
	for _, ref := range refs {
		if seen[string(ref.UID)] {
			dups = append(dups, string(ref.UID))
			continue
		}
		seen[string(ref.UID)] = true
		kept = append(kept, ref)
	}
	if len(dups) == 0 {
		return
	}
	obj.SetOwnerReferences(kept)
	if afterAdmission {
		r.warn(fmt.Sprintf(duplicateOwnersAfter, joinComma(dups)))
	} else {
		r.warn(fmt.Sprintf(duplicateOwners, joinComma(dups)))
	}
}

const (
	duplicateOwners      = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %v"
	duplicateOwnersAfter = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %v"
)

func joinComma(s []string) string {
	out := ""
	for i, x := range s {
		if i > 0 {
			out += ", "
		}
		out += x
	}
	return out
}

// admissionError makes a refusal a Status.
func admissionError(r *Request, err error) error {
	if _, ok := err.(apierrors.APIStatus); ok {
		return err
	}
	return apierrors.NewForbidden(resourceOf(r), r.Name, err)
}

// mayCreate asks the authorizer whether an update may turn into a creation.
func (e *Engine) mayCreate(ctx context.Context, r *Request) error {
	if e.Authorizer == nil || r.User == nil {
		return nil
	}
	gvk := r.Kind.GVK()
	if r.Version != nil {
		gvk.Group, gvk.Version = r.Version.Group, r.Version.Version
	}
	d, reason, err := e.Authorizer.Authorize(ctx, &auth.Attributes{
		User: r.User, Verb: "create", Namespace: r.Namespace, Name: r.Name, Subresource: r.Sub,
		Group: gvk.Group, Version: gvk.Version, Resource: r.Kind.Resource, IsResource: true,
	})
	if d == auth.Allow {
		return nil
	}
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	return Forbidden(r.User, "create", r.Namespace, resourceOf(r), r.Sub, r.Name, reason)
}
