package clienttest

import (
	"context"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/client"
	"skiff.dev/skiff/kinds"
)

// Backend is an API server's memory without its rules: revisions, conflicts,
// uids, generations, finalizers, deletion with grace, and the status split are as
// in Kubernetes; admission, defaults and validation are absent. It may be used
// from many goroutines.
type Backend struct {
	// Fail, when set, may refuse a write before it happens: verb is create, update,
	// patch, delete or post, sub the subresource.
	Fail func(verb, sub string, k *kinds.Kind, namespace, name string) error

	table *kinds.Table

	mu      sync.Mutex
	rev     int64
	oldest  int64 // watches from before it are expired
	objects map[*kinds.Kind]map[types.NamespacedName]kinds.Object
	log     []change
	wake    chan struct{}
	uids    int
	writes  int
}

type change struct {
	kind *kinds.Kind
	kinds.Event
}

var (
	_ client.Backend    = (*Backend)(nil)
	_ client.KindLister = (*Backend)(nil)
)

// NewBackend serves the kinds of table.
func NewBackend(table *kinds.Table) *Backend {
	return &Backend{
		table: table, rev: 1, wake: make(chan struct{}),
		objects: map[*kinds.Kind]map[types.NamespacedName]kinds.Object{},
	}
}

// Writes counts the changes made so far.
func (b *Backend) Writes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.writes
}

// Compact forgets all history: every open watch ends with 410 Expired.
func (b *Backend) Compact() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.oldest = b.rev + 1
	b.log = nil
	close(b.wake)
	b.wake = make(chan struct{})
}

// Kinds lists the table.
func (b *Backend) Kinds() []*kinds.Kind { return b.table.All() }

// Kind finds a row.
func (b *Backend) Kind(gvk schema.GroupVersionKind) (*kinds.Kind, bool) { return b.table.ByGVK(gvk) }

// Get returns the shared object.
func (b *Backend) Get(_ context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.get(k, namespace, name)
}

func (b *Backend) get(k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	obj, ok := b.objects[k][types.NamespacedName{Namespace: namespace, Name: name}]
	if !ok {
		return nil, apierrors.NewNotFound(k.GroupResource(), name)
	}
	return obj, nil
}

// List returns the shared objects that match.
func (b *Backend) List(_ context.Context, k *kinds.Kind, namespace string, sel labels.Selector) ([]kinds.Object, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []kinds.Object
	for key, obj := range b.objects[k] {
		if namespace != "" && key.Namespace != namespace || sel != nil && !sel.Matches(labels.Set(obj.GetLabels())) {
			continue
		}
		out = append(out, obj)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].GetNamespace() != out[j].GetNamespace() {
			return out[i].GetNamespace() < out[j].GetNamespace()
		}
		return out[i].GetName() < out[j].GetName()
	})
	return out, b.rev, nil
}

// Watch follows one kind.
func (b *Backend) Watch(_ context.Context, k *kinds.Kind, namespace string, revision int64) (client.EventStream, error) {
	return &stream{b: b, kind: k, namespace: namespace, at: revision}, nil
}

type stream struct {
	b         *Backend
	kind      *kinds.Kind
	namespace string
	at        int64
}

func (s *stream) Close() {}

func (s *stream) Next(ctx context.Context) ([]client.Event, error) {
	for {
		s.b.mu.Lock()
		if s.at+1 < s.b.oldest {
			s.b.mu.Unlock()
			return nil, apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", s.at, s.b.oldest))
		}
		var out []client.Event
		from := sort.Search(len(s.b.log), func(i int) bool { return s.b.log[i].Revision > s.at })
		for _, c := range s.b.log[from:] {
			if c.kind == s.kind && (s.namespace == "" || namespaceOf(c.Event) == s.namespace) {
				out = append(out, c.Event)
			}
		}
		s.at = s.b.rev
		wake := s.b.wake
		s.b.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func namespaceOf(e kinds.Event) string {
	if e.New != nil {
		return e.New.GetNamespace()
	}
	return e.Old.GetNamespace()
}

// put stores obj, or deletes it when gone, and tells watchers.
func (b *Backend) put(k *kinds.Kind, old, obj kinds.Object, gone bool) kinds.Object {
	b.rev++
	b.writes++
	obj.SetResourceVersion(strconv.FormatInt(b.rev, 10))
	key := types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}
	if b.objects[k] == nil {
		b.objects[k] = map[types.NamespacedName]kinds.Object{}
	}
	e := kinds.Event{Old: old, New: obj, Revision: b.rev}
	if gone {
		delete(b.objects[k], key)
		e = kinds.Event{Old: obj, Revision: b.rev}
	} else {
		b.objects[k][key] = obj
	}
	b.log = append(b.log, change{k, e})
	close(b.wake)
	b.wake = make(chan struct{})
	return obj
}

func (b *Backend) fail(verb, sub string, k *kinds.Kind, namespace, name string) error {
	if b.Fail == nil {
		return nil
	}
	return b.Fail(verb, sub, k, namespace, name)
}

// Create stores a new object.
func (b *Backend) Create(_ context.Context, k *kinds.Kind, obj kinds.Object, o *metav1.CreateOptions) (kinds.Object, error) {
	if err := b.fail("create", "", k, obj.GetNamespace(), obj.GetName()); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.uids++
	if obj.GetName() == "" {
		if obj.GetGenerateName() == "" {
			return nil, apierrors.NewInvalid(k.GVK().GroupKind(), "", nil)
		}
		obj.SetName(fmt.Sprintf("%s%05d", obj.GetGenerateName(), b.uids))
	}
	if _, err := b.get(k, obj.GetNamespace(), obj.GetName()); err == nil {
		return nil, apierrors.NewAlreadyExists(k.GroupResource(), obj.GetName())
	}
	if k.Namespaced {
		if ns, ok := b.table.ByGVK(gvk("", "v1", "Namespace")); ok {
			if have, err := b.get(ns, "", obj.GetNamespace()); err == nil && have.GetDeletionTimestamp() != nil {
				err := apierrors.NewForbidden(k.GroupResource(), obj.GetName(),
					fmt.Errorf("unable to create new content in namespace %s because it is being terminated", obj.GetNamespace()))
				err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
				return nil, err
			}
		}
	}
	if k.Default != nil {
		k.Default(obj)
	}
	obj.SetUID(types.UID(fmt.Sprintf("uid-%d", b.uids)))
	if obj.GetCreationTimestamp().Time.IsZero() {
		obj.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	}
	obj.SetGeneration(1)
	if ns, ok := obj.(*corev1.Namespace); ok {
		ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		ns.Status.Phase = corev1.NamespaceActive
	}
	if o != nil && len(o.DryRun) > 0 {
		return obj, nil
	}
	return b.put(k, nil, obj, false), nil
}

// Update replaces an object, or a subresource of it.
func (b *Backend) Update(_ context.Context, k *kinds.Kind, sub string, obj kinds.Object, o *metav1.UpdateOptions) (kinds.Object, error) {
	if err := b.fail("update", sub, k, obj.GetNamespace(), obj.GetName()); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.update(k, sub, obj, o != nil && len(o.DryRun) > 0)
}

func (b *Backend) update(k *kinds.Kind, sub string, obj kinds.Object, dry bool) (kinds.Object, error) {
	old, err := b.get(k, obj.GetNamespace(), obj.GetName())
	if err != nil {
		return nil, err
	}
	if rv := obj.GetResourceVersion(); rv != "" && rv != old.GetResourceVersion() {
		return nil, apierrors.NewConflict(k.GroupResource(), obj.GetName(),
			fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
	}
	if uid := obj.GetUID(); uid != "" && uid != old.GetUID() {
		return nil, apierrors.NewConflict(k.GroupResource(), obj.GetName(), fmt.Errorf("the uid in the precondition is %s, the object's is %s", uid, old.GetUID()))
	}
	next := merge(k, sub, old, obj)
	if apiequality.Semantic.DeepEqual(old, next) || dry {
		return next, nil
	}
	gone := next.GetDeletionTimestamp() != nil && len(next.GetFinalizers()) == 0
	if g := next.GetDeletionGracePeriodSeconds(); g != nil && *g > 0 {
		gone = false
	}
	if ns, ok := next.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		gone = false
	}
	return b.put(k, old, next, gone), nil
}

// merge is what a write through sub makes of old.
func merge(k *kinds.Kind, sub string, old, obj kinds.Object) kinds.Object {
	part := map[string]string{"status": "Status", "finalize": "Spec"}[sub]
	if part != "" {
		next := old.DeepCopyObject().(kinds.Object)
		reflect.ValueOf(next).Elem().FieldByName(part).Set(reflect.ValueOf(obj).Elem().FieldByName(part))
		if _, ok := obj.(*appsv1.Deployment); ok {
			next.SetAnnotations(obj.GetAnnotations()) // as Kubernetes' status strategy does
		}
		return next
	}
	obj.SetUID(old.GetUID())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	obj.SetResourceVersion(old.GetResourceVersion())
	obj.SetGeneration(old.GetGeneration())
	from, to := reflect.ValueOf(old).Elem(), reflect.ValueOf(obj).Elem()
	if _, split := k.Subresources["status"]; split {
		to.FieldByName("Status").Set(from.FieldByName("Status"))
	}
	if f := to.FieldByName("Spec"); f.IsValid() && !apiequality.Semantic.DeepEqual(f.Interface(), from.FieldByName("Spec").Interface()) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
	return obj
}

// Delete marks an object deleted or takes it away.
func (b *Backend) Delete(_ context.Context, k *kinds.Kind, namespace, name string, o *metav1.DeleteOptions) error {
	if err := b.fail("delete", "", k, namespace, name); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.delete(k, namespace, name, o)
}

func (b *Backend) delete(k *kinds.Kind, namespace, name string, o *metav1.DeleteOptions) error {
	old, err := b.get(k, namespace, name)
	if err != nil {
		return err
	}
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	if p := o.Preconditions; p != nil {
		if p.UID != nil && *p.UID != old.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != old.GetResourceVersion() {
			return apierrors.NewConflict(k.GroupResource(), name, fmt.Errorf("the precondition does not hold"))
		}
	}
	if len(o.DryRun) > 0 {
		return nil
	}
	next := old.DeepCopyObject().(kinds.Object)
	setPropagation(next, o.PropagationPolicy)
	var grace int64
	if k.Grace != nil {
		grace = k.Grace(old, o.GracePeriodSeconds)
	}
	ns, isNamespace := next.(*corev1.Namespace)
	held := len(next.GetFinalizers()) > 0 || isNamespace && len(ns.Spec.Finalizers) > 0
	if grace == 0 && !held {
		b.put(k, old, next, true)
		return nil
	}
	if old.GetDeletionTimestamp() == nil || old.GetDeletionGracePeriodSeconds() != nil && grace < *old.GetDeletionGracePeriodSeconds() {
		at := metav1.NewTime(time.Now().Truncate(time.Second).Add(time.Duration(grace) * time.Second))
		next.SetDeletionTimestamp(&at)
		next.SetDeletionGracePeriodSeconds(&grace)
		if isNamespace {
			ns.Status.Phase = corev1.NamespaceTerminating
		}
	}
	if !apiequality.Semantic.DeepEqual(old, next) {
		b.put(k, old, next, false)
	}
	return nil
}

func setPropagation(obj kinds.Object, policy *metav1.DeletionPropagation) {
	if policy == nil {
		return
	}
	var kept []string
	for _, f := range obj.GetFinalizers() {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			kept = append(kept, f)
		}
	}
	switch *policy {
	case metav1.DeletePropagationForeground:
		kept = append(kept, metav1.FinalizerDeleteDependents)
	case metav1.DeletePropagationOrphan:
		kept = append(kept, metav1.FinalizerOrphanDependents)
	}
	obj.SetFinalizers(kept)
}

// DeleteCollection deletes what matches.
func (b *Backend) DeleteCollection(ctx context.Context, k *kinds.Kind, namespace string, sel labels.Selector, o *metav1.DeleteOptions) error {
	objs, _, _ := b.List(ctx, k, namespace, sel)
	for _, obj := range objs {
		if err := b.Delete(ctx, k, obj.GetNamespace(), obj.GetName(), o); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// Atomically runs write as one step that no watcher sees in parts, and forgets the
// history: watchers have to list again. Within write only the Must methods work.
func (b *Backend) Atomically(write func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	write()
	b.oldest = b.rev + 1
	b.log = nil
}

func (b *Backend) kindOf(obj kinds.Object) *kinds.Kind {
	for _, k := range b.table.All() {
		if reflect.TypeOf(k.New()) == reflect.TypeOf(obj) {
			return k
		}
	}
	panic(fmt.Sprintf("clienttest: no kind is %T", obj))
}

// MustCreate stores obj within Atomically.
func (b *Backend) MustCreate(obj kinds.Object) {
	b.uids++
	obj.SetUID(types.UID(fmt.Sprintf("uid-%d", b.uids)))
	b.put(b.kindOf(obj), nil, obj, false)
}

// MustUpdate replaces obj within Atomically.
func (b *Backend) MustUpdate(obj kinds.Object) {
	k := b.kindOf(obj)
	old, err := b.get(k, obj.GetNamespace(), obj.GetName())
	if err != nil {
		panic(err)
	}
	b.put(k, old, bare(obj.DeepCopyObject().(kinds.Object)), false)
}

// MustDelete takes obj away within Atomically.
func (b *Backend) MustDelete(obj kinds.Object) {
	k := b.kindOf(obj)
	old, err := b.get(k, obj.GetNamespace(), obj.GetName())
	if err != nil {
		panic(err)
	}
	b.put(k, old, old.DeepCopyObject().(kinds.Object), true)
}
