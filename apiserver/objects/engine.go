// Package objects does the verbs of the API on hub objects, without HTTP:
// identity, admission, ownership of fields, validation, the store's transaction,
// and the wait until the cache shows it. HTTP handlers and the in-process backend
// both end here.
//
// It is the only writer of the store. Fields of metadata that the server fills in
// (uid, creationTimestamp, generation, deletionTimestamp, resourceVersion,
// managedFields) are written here and nowhere else.
package objects

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/ownership"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/store"
)

// Hook lets the server give out what is unique in the cluster (a service's
// address, a node port) together with the object that holds it.
type Hook interface {
	// Begin is called on a copy that will be stored if all goes well, before it is
	// prepared and validated; old is nil on creation. done is called once: with true
	// after the object has been stored, with false if it was not.
	Begin(ctx context.Context, obj, old kinds.Object, dryRun bool) (done func(stored bool), err error)
	// Deleted is called after obj has left the store.
	Deleted(obj kinds.Object)
}

// Config is what an Engine needs.
type Config struct {
	Store      store.Store
	Cache      *cache.Cache
	Admission  admission.Chain
	Owners     *ownership.Manager
	Authorizer auth.Authorizer // asked when an update turns into a creation; may be nil
	Hooks      map[schema.GroupResource]Hook
	Now        func() time.Time
}

// Engine does the verbs. It is safe for concurrent use.
type Engine struct{ Config }

// New makes an Engine.
func New(c Config) *Engine {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Engine{Config: c}
}

// Request says on what a verb acts, and for whom.
type Request struct {
	Kind      *kinds.Kind
	Version   *kinds.Version // the form the client speaks; nil for the hub
	Namespace string
	Name      string
	Sub       string // a subresource of the parent's own kind; "" for the object
	User      *auth.User
	Agent     string // the client's User-Agent, the default field manager
	Warn      func(text string)
}

func (r *Request) warn(text string) {
	if r.Warn != nil {
		r.Warn(text)
	}
}

// of finds the cache of the request's kind.
func (e *Engine) of(r *Request) (*cache.Kind, error) {
	if kc := e.Cache.Of(r.Kind); kc != nil {
		return kc, nil
	}
	return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "get")
}

// Get returns the newest state of an object.
func (e *Engine) Get(ctx context.Context, r *Request) (*cache.Entry, error) {
	kc, err := e.of(r)
	if err != nil {
		return nil, err
	}
	if err := e.Cache.Fresh(ctx); err != nil {
		return nil, err
	}
	if found := kc.Get(r.Namespace, r.Name); found != nil {
		return found, nil
	}
	return nil, apierrors.NewNotFound(resourceOf(r), r.Name)
}

// resourceOf names the resource in errors, in the group that the client speaks.
func resourceOf(r *Request) schema.GroupResource {
	if r.Version != nil {
		return schema.GroupResource{Group: r.Version.Group, Resource: r.Kind.Resource}
	}
	return r.Kind.GroupResource()
}

func (e *Engine) admissionRequest(r *Request, op admission.Operation, obj, old kinds.Object, options runtime.Object, dryRun bool) *admission.Request {
	return &admission.Request{
		Operation: op, Kind: r.Kind, Requested: codec.GVK(r.Kind, r.Version),
		Namespace: r.Namespace, Name: r.Name, Subresource: r.Sub,
		Object: obj, Old: old, Options: options, DryRun: dryRun, User: r.User,
	}
}

func (e *Engine) flushWarnings(r *Request, a *admission.Request) {
	for _, w := range a.Warnings() {
		r.warn(w)
	}
}

// errConflict says that the object changed between read and write.
var errConflict = errors.New("objects: the object was changed meanwhile")

// put writes obj if the object's last change is still guard (0: it does not
// exist), and waits for the cache. It owns obj.
func (e *Engine) put(ctx context.Context, kc *cache.Kind, r *Request, obj kinds.Object, old *cache.Entry) (*cache.Entry, error) {
	obj.SetSelfLink("")
	obj.SetResourceVersion("")
	value, err := codec.EncodeStored(kc.Kind, obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	var guard int64
	if old != nil {
		if same(kc.Kind, old.Object, value) {
			return old, nil
		}
		guard = old.Revision
	}
	entry := &cache.Entry{Object: obj}
	key := kc.StoreKey(r.Namespace, obj.GetName())
	rev, err := e.Store.Commit(ctx, store.Txn{
		Guards: []store.Guard{{Key: key, ModRevision: guard}},
		Ops:    []store.Op{{Key: key, Value: value, Decoded: entry}},
	})
	if err != nil {
		return nil, e.commitError(ctx, err)
	}
	return entry, e.Cache.WaitFor(context.WithoutCancel(ctx), rev)
}

// remove deletes the object if its last change is still old's.
func (e *Engine) remove(ctx context.Context, kc *cache.Kind, r *Request, old *cache.Entry) (*cache.Entry, error) {
	key := kc.StoreKey(r.Namespace, r.Name)
	rev, err := e.Store.Commit(ctx, store.Txn{
		Guards: []store.Guard{{Key: key, ModRevision: old.Revision}},
		Ops:    []store.Op{{Key: key, Delete: true}},
	})
	if err != nil {
		return nil, e.commitError(ctx, err)
	}
	if err := e.Cache.WaitFor(context.WithoutCancel(ctx), rev); err != nil {
		return nil, err
	}
	if h := e.Hooks[kc.GroupResource()]; h != nil {
		h.Deleted(old.Object)
	}
	gone := codec.Shallow(old.Object)
	gone.SetResourceVersion(strconv.FormatInt(rev, 10))
	return &cache.Entry{Object: gone, Key: old.Key, Revision: rev}, nil
}

// commitError waits, after a lost race, until the cache has seen the winner.
func (e *Engine) commitError(ctx context.Context, err error) error {
	var conflict *store.ConflictError
	if errors.As(err, &conflict) {
		rev := e.Store.Revision()
		if conflict.Current != nil {
			rev = max(rev, conflict.Current.ModRevision)
		}
		if err := e.Cache.WaitFor(ctx, rev); err != nil {
			return err
		}
		return errConflict
	}
	if errors.Is(err, store.ErrNoSpace) {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 507, Reason: metav1.StatusReasonInternalError,
			Message: "the store has no space left: nothing was written",
		}}
	}
	return apierrors.NewInternalError(err)
}

// same tells whether old is stored as value already.
func same(k *kinds.Kind, old kinds.Object, value []byte) bool {
	bare := codec.Shallow(old)
	bare.SetResourceVersion("")
	have, err := codec.EncodeStored(k, bare)
	return err == nil && bytes.Equal(have, value)
}

func dryRun(opts []string) bool { return len(opts) > 0 }

// managerName is the field manager of a request: what it says, or the client's
// name.
func managerName(manager, agent string) string {
	if manager != "" {
		return manager
	}
	for i := 0; i < len(agent); i++ {
		if agent[i] == '/' {
			agent = agent[:i]
			break
		}
	}
	out := make([]rune, 0, len(agent))
	for _, c := range agent {
		if printable(c) {
			out = append(out, c)
		}
		if len(out) == 128 {
			break
		}
	}
	if len(out) == 0 {
		return "unknown" // managedfields, BuildManagerIdentifier's fallback
	}
	return string(out)
}

func (e *Engine) time() metav1.Time {
	return metav1.NewTime(e.Now()).Rfc3339Copy()
}
