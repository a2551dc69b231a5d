package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/apiserver/request"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// Backend is the server for callers of this process, as one user; it satisfies
// client.Backend. Callers of the process are trusted: they are not authorized,
// but admission sees who they are.
type Backend struct {
	s     *Server
	user  *auth.User
	agent string
}

// InProcess returns the API as user u. The user's name is the default field
// manager.
func (s *Server) InProcess(u *auth.User) *Backend {
	agent := "skiff"
	if u != nil && u.Name != "" {
		agent = u.Name
	}
	return &Backend{s: s, user: u, agent: agent}
}

// Named is the same user under another default field manager, as a user agent
// gives it over HTTP.
func (b *Backend) Named(agent string) *Backend {
	named := *b
	named.agent = agent
	return &named
}

func (b *Backend) request(k *kinds.Kind, namespace, name, sub string) *objects.Request {
	if !k.Namespaced {
		namespace = ""
	}
	return &objects.Request{Kind: k, Namespace: namespace, Name: name, Sub: sub, User: b.user, Agent: b.agent}
}

// Kind finds a kind.
func (b *Backend) Kind(gvk schema.GroupVersionKind) (*kinds.Kind, bool) { return b.s.kindByGVK(gvk) }

// Get returns the newest state of an object.
func (b *Backend) Get(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	return object(k)(b.s.engine.Get(ctx, b.request(k, namespace, name, "")))
}

// object takes the object out of an entry, in k's form.
func object(k *kinds.Kind) func(e *cache.Entry, err error) (kinds.Object, error) {
	return func(e *cache.Entry, err error) (kinds.Object, error) {
		if err != nil {
			return nil, err
		}
		return formOf(k, e.Object)
	}
}

// List returns what matches and the revision of the snapshot.
func (b *Backend) List(ctx context.Context, k *kinds.Kind, namespace string, sel labels.Selector) ([]kinds.Object, int64, error) {
	kc := b.s.cache.Of(k)
	if kc == nil {
		return nil, 0, apierrors.NewMethodNotSupported(k.GroupResource(), "list")
	}
	if err := b.s.cache.Fresh(ctx); err != nil {
		return nil, 0, err
	}
	snap := kc.Snapshot()
	match := objects.BySelector(sel)
	chosen, err := newSelection(k, nil, sel, nil)
	if err != nil {
		return nil, 0, err
	}
	var out []kinds.Object
	if namespace == "" && (sel == nil || sel.Empty()) {
		out = make([]kinds.Object, 0, snap.Len())
	}
	chosen.ascend(kc, snap, namespace, "", func(e *cache.Entry) bool {
		if match(e.Object) {
			obj := e.Object
			if k.FromCache != nil {
				if obj, err = k.FromCache(obj); err != nil {
					return false
				}
			}
			out = append(out, obj)
		}
		return true
	})
	return out, snap.Revision, err
}

// Watch starts after revision.
func (b *Backend) Watch(_ context.Context, k *kinds.Kind, namespace string, revision int64) (kinds.EventStream, error) {
	kc := b.s.cache.Of(k)
	if kc == nil {
		return nil, apierrors.NewMethodNotSupported(k.GroupResource(), "watch")
	}
	c, err := kc.Watch(revision)
	if err != nil {
		return nil, expired(err)
	}
	return &eventStream{cursor: c, namespace: namespace, form: k.FromCache}, nil
}

// expired makes a cursor's error a Status.
func expired(err error) error {
	var e *cache.ExpiredError
	if errors.As(err, &e) {
		return apierrors.NewResourceExpired(e.Error())
	}
	return err
}

// eventStream is a cursor as the in-process clients see it.
type eventStream struct {
	cursor    *cache.Cursor
	namespace string
	form      func(kinds.Object) (kinds.Object, error) // nil: as the cache has it
	buf       []cache.Event
}

// Next waits for events of the stream's namespace.
func (s *eventStream) Next(ctx context.Context) ([]kinds.Event, error) {
	for {
		evs, err := s.cursor.Next(ctx, s.buf)
		if err != nil {
			return nil, expired(err)
		}
		s.buf = evs[:0]
		out := make([]kinds.Event, 0, len(evs))
		for i := range evs {
			ev, ok := s.event(&evs[i])
			if !ok {
				continue
			}
			if err := s.shape(&ev); err != nil {
				return nil, err
			}
			out = append(out, ev)
		}
		clear(evs)
		if len(out) > 0 {
			return out, nil
		}
	}
}

func (s *eventStream) event(ev *cache.Event) (kinds.Event, bool) {
	out := kinds.Event{Revision: ev.Revision}
	if ev.Old != nil {
		out.Old = ev.Old.Object
	}
	if ev.Gone != nil {
		out.Old = ev.Gone.Object
	}
	if ev.New != nil {
		out.New = ev.New.Object
	}
	any := out.New
	if any == nil {
		any = out.Old
	}
	return out, s.namespace == "" || any.GetNamespace() == s.namespace
}

// shape gives the event's objects the form that the caller knows.
func (s *eventStream) shape(ev *kinds.Event) (err error) {
	if s.form == nil {
		return nil
	}
	if ev.Old != nil {
		if ev.Old, err = s.form(ev.Old); err != nil {
			return err
		}
	}
	if ev.New != nil {
		ev.New, err = s.form(ev.New)
	}
	return err
}

// Close ends the stream; it holds nothing.
func (s *eventStream) Close() {}

// Create stores a new object.
func (b *Backend) Create(ctx context.Context, k *kinds.Kind, obj kinds.Object, o *metav1.CreateOptions) (kinds.Object, error) {
	r := b.request(k, obj.GetNamespace(), obj.GetName(), "")
	if k.Namespaced && r.Namespace == "" {
		return nil, apierrors.NewBadRequest("an empty namespace may not be set during creation")
	}
	obj.SetResourceVersion("")
	if err := b.own(k, obj); err != nil {
		return nil, err
	}
	if k.Virtual {
		out, err := b.s.review(ctx, r, obj)
		if err != nil {
			return nil, err
		}
		answer, ok := out.(kinds.Object)
		if !ok {
			return nil, apierrors.NewMethodNotSupported(k.GroupResource(), "create")
		}
		return answer, nil
	}
	return object(k)(b.s.engine.Create(ctx, r, obj, o))
}

// own gives an object from a caller the form that the server keeps.
func (b *Backend) own(k *kinds.Kind, obj kinds.Object) error {
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	if k.Custom != nil {
		if _, err := k.Custom.Coerce(obj, false); err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	if k.Default != nil {
		k.Default(obj)
	}
	return nil
}

// Update writes obj whole, or the part of it that sub is.
func (b *Backend) Update(ctx context.Context, k *kinds.Kind, sub string, obj kinds.Object, o *metav1.UpdateOptions) (kinds.Object, error) {
	r := b.request(k, obj.GetNamespace(), obj.GetName(), sub)
	if err := b.own(k, obj); err != nil {
		return nil, err
	}
	e, _, err := b.s.engine.Update(ctx, r, obj, o)
	return object(k)(e, err)
}

// Patch changes an object by a patch.
func (b *Backend) Patch(ctx context.Context, k *kinds.Kind, namespace, name, sub string, pt types.PatchType, data []byte, o *metav1.PatchOptions) (kinds.Object, error) {
	if k.Custom != nil && pt == types.StrategicMergePatchType {
		return nil, request.ErrCustomPatchType()
	}
	if row, ok := k.Subresources[sub]; ok && row.Get != nil {
		return b.patchView(ctx, b.request(k, namespace, name, sub), &row, pt, data, o)
	}
	e, _, err := b.s.engine.Patch(ctx, b.request(k, namespace, name, sub), pt, data, o)
	return object(k)(e, err)
}

// patchView changes an object through a view, such as its scale, and answers with
// the view.
func (b *Backend) patchView(ctx context.Context, r *objects.Request, row *kinds.Subresource, pt types.PatchType, data []byte, o *metav1.PatchOptions) (kinds.Object, error) {
	empty, err := b.s.opt.Scheme.New(row.Kind)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	obj, err := object(r.Kind)(b.s.engine.PatchView(ctx, r, row, empty, pt, data, o))
	if err != nil {
		return nil, err
	}
	view, err := row.Get(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	out, ok := view.(kinds.Object)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("the view is a %T", view))
	}
	return out, nil
}

// Delete deletes an object or begins to.
func (b *Backend) Delete(ctx context.Context, k *kinds.Kind, namespace, name string, o *metav1.DeleteOptions) error {
	_, err := b.s.engine.Delete(ctx, b.request(k, namespace, name, ""), o)
	return err
}

// DeleteCollection deletes what matches.
func (b *Backend) DeleteCollection(ctx context.Context, k *kinds.Kind, namespace string, sel labels.Selector, o *metav1.DeleteOptions) error {
	_, _, err := b.s.engine.DeleteCollection(ctx, b.request(k, namespace, "", ""), objects.BySelector(sel), 0, o)
	return err
}

// GetSub reads a subresource that has a kind of its own.
func (b *Backend) GetSub(ctx context.Context, k *kinds.Kind, namespace, name, sub string) (runtime.Object, error) {
	row, ok := k.Subresources[sub]
	if !ok || row.Get == nil {
		return nil, apierrors.NewMethodNotSupported(k.GroupResource(), "get")
	}
	e, err := b.s.engine.Get(ctx, b.request(k, namespace, name, ""))
	if err != nil {
		return nil, err
	}
	obj, err := formOf(k, e.Object)
	if err != nil {
		return nil, err
	}
	return row.Get(obj)
}

// PostSub posts to a subresource that has a kind of its own.
func (b *Backend) PostSub(ctx context.Context, k *kinds.Kind, namespace, name, sub string, in runtime.Object) (runtime.Object, error) {
	if _, ok := k.Subresources[sub]; !ok {
		return nil, apierrors.NewMethodNotSupported(k.GroupResource(), "create")
	}
	return b.s.post(ctx, b.request(k, namespace, name, sub), in, nil)
}

// Kinds lists every kind that is served now.
func (b *Backend) Kinds() []*kinds.Kind {
	more := b.s.custom.Preferred()
	if len(more) == 0 {
		return b.s.table.All()
	}
	return append(slices.Clone(b.s.table.All()), more...)
}
