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
	"fmt"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
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
}

// ReservedRoot begins the keys by which a Reserver reserves. No kind's keys are
// below it.
const ReservedRoot = "/skiff/reserved/"

// Reserver is a Hook whose numbers are unique among all servers of a store: each has
// a key below ReservedRoot, made and removed in the transaction of its holder. If
// another holder has made it first, Begin is called again, on the object as it was.
type Reserver interface {
	// Reserve says what goes with the storing of obj in old's place; nil: there is none.
	Reserve(obj, old kinds.Object) ([]store.Guard, []store.Op)
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
	// Annotate gets what admission wants audit to record; may be nil.
	Annotate func(admission.AuditAnnotation)
	// Answered says that the outcome will be told as protobuf of the hub's version,
	// which need not be encoded again.
	Answered bool
	// Admitted says that the request was judged as another one already: an eviction
	// that deletes. It is not judged again.
	Admitted bool
	// inCollection says that the object is deleted with its collection.
	inCollection bool
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

// segment refuses a name that is no part of a path (registry/generic,
// NamespaceKeyFunc).
func segment(name string) error {
	if name == "" {
		return apierrors.NewBadRequest("Name parameter required.")
	}
	if msgs := content.IsPathSegmentName(name); len(msgs) > 0 {
		return apierrors.NewBadRequest(fmt.Sprintf("Name parameter invalid: %q: %s", name, strings.Join(msgs, ";")))
	}
	return nil
}

// Get returns the newest state of an object.
func (e *Engine) Get(ctx context.Context, r *Request) (*cache.Entry, error) {
	kc, err := e.of(r)
	if err != nil {
		return nil, err
	}
	if err := segment(r.Name); err != nil {
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

// load finds an object in the form in which the request's kind works on it; nil if
// there is none.
func (e *Engine) load(kc *cache.Kind, r *Request) (*cache.Entry, error) {
	found := kc.Get(r.Namespace, r.Name)
	if found == nil || r.Kind.FromCache == nil {
		return found, nil
	}
	obj, err := r.Kind.FromCache(found.Object)
	if err != nil {
		return nil, err
	}
	return &cache.Entry{Object: obj, Key: found.Key, Revision: found.Revision}, nil
}

// held is an object of the request's kind as the cache holds it.
func held(r *Request, obj kinds.Object) (kinds.Object, error) {
	if r.Kind.ToCache == nil {
		return obj, nil
	}
	return r.Kind.ToCache(obj)
}

// answer is an entry that no cache holds: what a dry run would have made.
func answer(r *Request, obj kinds.Object, revision int64) (*cache.Entry, error) {
	obj, err := held(r, obj)
	if err != nil {
		return nil, err
	}
	return &cache.Entry{Object: obj, Revision: revision}, nil
}

// resourceOf names the resource in errors, in the group that the client speaks.
func resourceOf(r *Request) schema.GroupResource {
	if r.Version != nil {
		return schema.GroupResource{Group: r.Version.Group, Resource: r.Kind.Resource}
	}
	return r.Kind.GroupResource()
}

// admission is the request as plugins see it. What they warn of is told at once,
// also where the request is refused.
func (e *Engine) admission(r *Request, op admission.Operation, obj, old kinds.Object, options runtime.Object, dryRun bool) *admission.Request {
	return &admission.Request{
		Operation: op, Kind: r.Kind, Requested: codec.GVK(r.Kind, r.Version),
		Namespace: r.Namespace, Name: r.Name, Subresource: r.Sub, InCollection: r.inCollection,
		Object: obj, Old: old, Options: options, DryRun: dryRun, User: r.User,
		OnWarn: r.warn, OnAnnotate: r.Annotate,
	}
}

// mutate runs the mutating phase; the object to go on with is a's.
func (e *Engine) mutate(ctx context.Context, r *Request, a *admission.Request) error {
	if r.Admitted {
		return nil
	}
	if err := e.Admission.Mutate(ctx, a); err != nil {
		return admissionError(r, err)
	}
	return nil
}

// validate runs the validating phase.
func (e *Engine) validate(ctx context.Context, r *Request, a *admission.Request) error {
	if r.Admitted {
		return nil
	}
	if err := e.Admission.Validate(ctx, a); err != nil {
		return admissionError(r, err)
	}
	return nil
}

// errConflict says that the object changed between read and write, errTogether that
// one that had to change with it did.
var (
	errConflict = errors.New("objects: the object was changed meanwhile")
	errTogether = errors.New("objects: what has to change together with the object was changed meanwhile")
	errReserved = errors.New("objects: a number that the object was to have was reserved meanwhile")
)

// reserveAttempts is how often numbers are chosen for an object before the store's
// reservations count as wrong.
const reserveAttempts = 32

// reservedElsewhere is answered when the attempts are used up.
func reservedElsewhere(r *Request) error {
	return apierrors.NewInternalError(fmt.Errorf("what %s %s asks for is reserved in the store, by an object that is not there: start a server again, which clears that up", resourceOf(r), r.Name))
}

// reserve adds to a transaction what an object's numbers need.
func (e *Engine) reserve(txn *store.Txn, kc *cache.Kind, obj, old kinds.Object) {
	h, ok := e.Hooks[kc.GroupResource()].(Reserver)
	if !ok {
		return
	}
	guards, ops := h.Reserve(obj, old)
	txn.Guards = append(txn.Guards, guards...)
	txn.Ops = append(txn.Ops, ops...)
}

// put writes obj if old is still its last change (nil: it does not exist), with all
// that admission wants stored together, and waits for the cache. It owns obj.
func (e *Engine) put(ctx context.Context, kc *cache.Kind, r *Request, obj kinds.Object, old *cache.Entry, with ...admission.Together) (*cache.Entry, error) {
	obj.SetSelfLink("")
	obj.SetResourceVersion("")
	obj, err := held(r, obj)
	if err != nil {
		return nil, err
	}
	value, err := codec.EncodeStored(kc.Kind, obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	var guard int64
	if old != nil {
		if same, ok := e.same(kc, r, old, value); ok {
			return same, nil
		}
		guard = old.Revision
	}
	entry := &cache.Entry{Object: kc.Thin(cache.Key(r.Namespace, obj.GetName()), obj, old)}
	key := kc.StoreKey(r.Namespace, obj.GetName())
	txn := store.Txn{
		Guards: []store.Guard{{Key: key, ModRevision: guard}},
		Ops:    []store.Op{{Key: key, Value: value, Decoded: entry}},
	}
	for i := range with {
		if err := e.together(&txn, &with[i]); err != nil {
			return nil, err
		}
	}
	var before kinds.Object
	if old != nil {
		before = old.Object
	}
	e.reserve(&txn, kc, obj, before)
	rev, err := e.Store.Commit(ctx, txn)
	if err != nil {
		return nil, e.commitError(ctx, key, err)
	}
	if err := e.Cache.WaitFor(context.WithoutCancel(ctx), rev); err != nil {
		return nil, err
	}
	if entry.Revision != rev {
		// The event came without the entry: another store's watch, or the cache has
		// read everything again. Nobody else has seen it, then.
		entry.Key, entry.Revision = cache.Key(obj.GetNamespace(), obj.GetName()), rev
		entry.Object.SetResourceVersion(strconv.FormatInt(rev, 10))
	}
	if r.Answered {
		entry.Encoded(codec.Protobuf, codec.Revise(value, strconv.FormatInt(rev, 10)))
	}
	return entry, nil
}

// together adds the change of another object's status to a transaction.
func (e *Engine) together(txn *store.Txn, t *admission.Together) error {
	kc, ok := e.Cache.OfResource(t.Resource)
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("no kind %s", t.Resource))
	}
	revision, err := strconv.ParseInt(t.Old.GetResourceVersion(), 10, 64)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("the revision of %s %s: %w", t.Resource, t.Old.GetName(), err))
	}
	obj := e.Owners.Update(kc.Kind, nil, "status", t.Old, t.New, ownManager)
	obj.SetResourceVersion("")
	value, err := codec.EncodeStored(kc.Kind, obj)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	key := kc.StoreKey(obj.GetNamespace(), obj.GetName())
	txn.Guards = append(txn.Guards, store.Guard{Key: key, ModRevision: revision})
	txn.Ops = append(txn.Ops, store.Op{Key: key, Value: value, Decoded: &cache.Entry{Object: obj}})
	return nil
}

// ownManager is the field manager of what the server writes by itself.
const ownManager = "kube-apiserver"

// remove deletes the object if its last change is still old's.
func (e *Engine) remove(ctx context.Context, kc *cache.Kind, r *Request, old *cache.Entry) (*cache.Entry, error) {
	key := kc.StoreKey(r.Namespace, r.Name)
	txn := store.Txn{
		Guards: []store.Guard{{Key: key, ModRevision: old.Revision}},
		Ops:    []store.Op{{Key: key, Delete: true}},
	}
	e.reserve(&txn, kc, nil, old.Object)
	rev, err := e.Store.Commit(ctx, txn)
	if err != nil {
		return nil, e.commitError(ctx, key, err)
	}
	if err := e.Cache.WaitFor(context.WithoutCancel(ctx), rev); err != nil {
		return nil, err
	}
	gone := codec.Shallow(old.Object)
	gone.SetResourceVersion(strconv.FormatInt(rev, 10))
	return &cache.Entry{Object: gone, Key: old.Key, Revision: rev}, nil
}

// commitError waits, after a lost race, until the cache has seen the winner. key is
// that of the object itself.
func (e *Engine) commitError(ctx context.Context, key string, err error) error {
	var conflict *store.ConflictError
	if errors.As(err, &conflict) {
		if conflict.Current != nil {
			err = e.Cache.WaitFor(ctx, conflict.Current.ModRevision)
		} else {
			err = e.Cache.Fresh(ctx)
		}
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(conflict.Guard.Key, ReservedRoot):
			return errReserved
		case conflict.Guard.Key != key:
			return errTogether
		}
		return errConflict
	}
	if errors.Is(err, store.ErrTooLarge) {
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	}
	if errors.Is(err, store.ErrNoSpace) {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 507, Reason: metav1.StatusReasonInternalError,
			Message: "the store has no space left: nothing was written",
		}}
	}
	return apierrors.NewInternalError(err)
}

// freshness decides whether an error counts that rests on what the cache showed:
// only if that was the state at some moment after the request began.
type freshness struct{ need int64 }

// counts tells whether an error of an attempt that began with the cache at
// revision shown counts. If not, it has waited until the cache shows more.
func (f *freshness) counts(ctx context.Context, e *Engine, shown int64) (bool, error) {
	if f.need == 0 {
		var err error
		if f.need, err = e.Cache.Latest(ctx); err != nil {
			return false, err
		}
	}
	if shown >= f.need {
		return true, nil
	}
	return false, e.Cache.WaitFor(ctx, f.need)
}

// same returns the cache's entry of old if it is stored as value already.
func (e *Engine) same(kc *cache.Kind, r *Request, old *cache.Entry, value []byte) (*cache.Entry, bool) {
	if r.Kind.FromCache != nil {
		if old = kc.Get(r.Namespace, r.Name); old == nil {
			return nil, false
		}
	}
	bare := codec.Shallow(old.Object)
	bare.SetResourceVersion("")
	have, err := codec.EncodeStored(kc.Kind, bare)
	return old, err == nil && bytes.Equal(have, value)
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
