package custom

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
	definitions "skiff.dev/skiff/kinds/apiextensions"
	"skiff.dev/skiff/telemetry"
)

// Resource names the definitions.
var Resource = schema.GroupResource{Group: apiextensionsv1.GroupName, Resource: "customresourcedefinitions"}

// compiled is how many compiled forms of schemas are kept: a version that is written
// to has two (its shape and its rules), a definition a third for server-side apply.
const compiled = 48

// Options make a Registry.
type Options struct {
	Table  *kinds.Table
	Cache  *cache.Cache
	Engine *objects.Engine
	// Hooks reaches conversion webhooks; nil: conversion by webhook fails.
	Hooks *callout.Clients
	// User and Agent are those of what the registry writes.
	User  *auth.User
	Agent string
	// Changed is told which kinds there are after each change: for discovery those
	// that are established, for OpenAPI their schemas.
	Changed func([]*kinds.Kind, []openapi.Extra)
	Tel     *telemetry.Telemetry
}

// Registry serves what definitions define. One goroutine follows the definitions
// and is the only one to write their status and to change what is served; others
// read an immutable index.
type Registry struct {
	opt  Options
	kind *kinds.Kind // of the definitions; nil: this server has none
	lean *kinds.Kind // the same without schemas, for what changes none
	defs *cache.Kind

	index atomic.Pointer[index]
	shelf *shelf

	mu      sync.Mutex
	served  map[string]*serving // by the definition's name
	seen    int64               // revision of the definitions that has been dealt with
	waiters []waiter

	run    context.Context
	stop   context.CancelFunc
	done   chan struct{}
	closed sync.WaitGroup
}

type waiter struct {
	rev  int64
	done chan struct{}
}

// serving is a definition with what was last seen of it.
type serving struct {
	def         *Definition // nil: its names are not accepted, or it is broken
	generation  int64
	judged      int64 // generation whose schemas were judged
	group       string
	established bool
	ending      context.CancelFunc // set while its objects are being deleted
}

// index finds kinds by name.
type index struct {
	byGVR      map[schema.GroupVersionResource]*kinds.Kind
	byGVK      map[schema.GroupVersionKind]*kinds.Kind
	byResource map[schema.GroupResource]*kinds.Kind
	preferred  []*kinds.Kind
}

// ByGVR finds the kind that serves gvr.
func (r *Registry) ByGVR(gvr schema.GroupVersionResource) (*kinds.Kind, bool) {
	if r == nil {
		return nil, false // the server is being made
	}
	k, ok := r.index.Load().byGVR[gvr]
	return k, ok
}

// ByGVK finds the kind that serves gvk.
func (r *Registry) ByGVK(gvk schema.GroupVersionKind) (*kinds.Kind, bool) {
	if r == nil {
		return nil, false // the server is being made
	}
	k, ok := r.index.Load().byGVK[gvk]
	return k, ok
}

// ByResource finds the row of the storage version.
func (r *Registry) ByResource(gr schema.GroupResource) (*kinds.Kind, bool) {
	if r == nil {
		return nil, false // the server is being made
	}
	k, ok := r.index.Load().byResource[gr]
	return k, ok
}

// Preferred lists one row of each definition.
func (r *Registry) Preferred() []*kinds.Kind { return r.index.Load().preferred }

// New makes a Registry that serves nothing yet.
func New(o Options) *Registry {
	r := &Registry{opt: o, served: map[string]*serving{}, done: make(chan struct{}), shelf: &shelf{room: compiled}}
	r.run, r.stop = context.WithCancel(context.Background())
	r.index.Store(&index{})
	if k, ok := o.Table.ByResource(Resource); ok {
		r.kind, r.defs = k, o.Cache.Of(k)
		r.lean = r.leanKind()
	}
	return r
}

// Start serves the definitions that there are and begins to follow them.
func (r *Registry) Start(ctx context.Context) error {
	if r.defs == nil {
		close(r.done)
		return nil
	}
	snap, cursor := r.defs.WatchSnapshot()
	var all []string
	snap.Ascend("", "", func(e *cache.Entry) bool {
		all = append(all, e.Key)
		return true
	})
	for _, name := range all {
		if err := r.serve(ctx, name); err != nil {
			return err
		}
	}
	r.publish()
	go r.follow(cursor, all)
	return nil
}

// Close ends the registry's work.
func (r *Registry) Close() {
	r.stop()
	<-r.done
	r.closed.Wait()
}

// Begin implements objects.Hook: who writes a definition is answered when the
// registry has dealt with it, so that the kind is there for the next request.
func (r *Registry) Begin(ctx context.Context, _, _ kinds.Object, dry bool) (func(bool), error) {
	return func(stored bool) {
		if stored && !dry {
			r.settle(ctx)
		}
	}, nil
}

// settle waits until the registry has dealt with the definitions as they are now.
func (r *Registry) settle(ctx context.Context) {
	rev := r.defs.Last()
	r.mu.Lock()
	if r.seen >= rev {
		r.mu.Unlock()
		return
	}
	w := waiter{rev, make(chan struct{})}
	r.waiters = append(r.waiters, w)
	r.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
	case <-r.run.Done():
	}
}

func (r *Registry) saw(rev int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = max(r.seen, rev)
	kept := r.waiters[:0]
	for _, w := range r.waiters {
		if w.rev <= r.seen {
			close(w.done)
		} else {
			kept = append(kept, w)
		}
	}
	r.waiters = kept
}

// follow deals with the definitions as they change.
func (r *Registry) follow(cursor *cache.Cursor, names []string) {
	defer close(r.done)
	for {
		changed := false
		for i := 0; i < len(names); i++ {
			more, did := r.sync(names[i])
			changed = changed || did
			names = append(names, more...)
		}
		if changed {
			r.publish()
		}
		evs, wake, rev, err := cursor.Poll(nil)
		if err != nil { // it fell behind
			var snap cache.Snapshot
			snap, cursor = r.defs.WatchSnapshot()
			names = r.everything(snap)
			continue
		}
		names = names[:0]
		for i := range evs {
			names = append(names, keyOf(&evs[i]))
		}
		if len(evs) > 0 {
			continue
		}
		r.saw(rev)
		if wake == nil {
			continue
		}
		select {
		case <-wake:
		case <-r.run.Done():
			return
		case <-cursor.Done():
			return
		}
	}
}

func keyOf(ev *cache.Event) string {
	if ev.New != nil {
		return ev.New.Key
	}
	return ev.Old.Key
}

// everything names what there is and what was served.
func (r *Registry) everything(snap cache.Snapshot) []string {
	var out []string
	snap.Ascend("", "", func(e *cache.Entry) bool {
		out = append(out, e.Key)
		return true
	})
	for name := range r.served {
		out = append(out, name)
	}
	return out
}

// definition reads a definition whole.
func (r *Registry) definition(name string) (*crd, error) {
	e := r.defs.Get("", name)
	if e == nil {
		return nil, nil
	}
	return r.whole(e)
}

func (r *Registry) whole(e *cache.Entry) (*crd, error) {
	obj := e.Object
	if r.kind.FromCache != nil {
		var err error
		if obj, err = r.kind.FromCache(obj); err != nil {
			return nil, err
		}
	}
	c, ok := obj.(*crd)
	if !ok {
		return nil, fmt.Errorf("custom: a definition is a %T", obj)
	}
	return c, nil
}

// slim is the definition of an entry, perhaps without its schemas.
func (r *Registry) slim(e *cache.Entry) (*crd, error) {
	if p, ok := e.Object.(*definitions.Packed); ok {
		return p.Slim(), nil
	}
	return r.whole(e)
}

// slimOf reads a definition, perhaps without its schemas; nil: there is none.
func (r *Registry) slimOf(name string) (*crd, error) {
	e := r.defs.Get("", name)
	if e == nil {
		return nil, nil
	}
	return r.slim(e)
}

// serve makes and offers the kinds of a definition, or takes them away; it reports
// errors of the definition in the log alone.
func (r *Registry) serve(ctx context.Context, name string) error {
	c, err := r.slimOf(name)
	if err != nil {
		return err
	}
	if _, err = r.offer(ctx, name, c); err != nil {
		return err
	}
	// What has its names accepted was judged when they were.
	if s := r.served[name]; s != nil && s.def != nil {
		s.judged = c.Generation
	}
	return nil
}

// offer makes what is served of name what c says; c is nil when there is no such
// definition.
func (r *Registry) offer(ctx context.Context, name string, c *crd) (changed bool, err error) {
	have := r.served[name]
	if c == nil {
		if have == nil {
			return false, nil
		}
		r.withdraw(have)
		if have.ending != nil {
			have.ending()
		}
		delete(r.served, name)
		return true, nil
	}
	wanted := apihelpers.IsCRDConditionTrue(c, apiextensionsv1.NamesAccepted) || apihelpers.IsCRDConditionTrue(c, apiextensionsv1.Established)
	if have == nil {
		have = &serving{group: c.Spec.Group}
		r.served[name] = have
	}
	established := apihelpers.IsCRDConditionTrue(c, apiextensionsv1.Established)
	terminating := apihelpers.IsCRDConditionTrue(c, apiextensionsv1.Terminating)
	d := have.def
	if d != nil && d.uid == c.UID && have.generation == c.Generation && equality.Semantic.DeepEqual(d.accepted, c.Status.AcceptedNames) && wanted {
		changed = have.established != established || d.terminating.Load() != terminating
		have.established = established
		d.terminating.Store(terminating)
		return changed, nil
	}
	if !wanted {
		if d == nil {
			return false, nil
		}
		r.withdraw(have)
		return true, nil
	}
	uid := c.UID
	made, err := define(c, func() (*crd, error) {
		now, err := r.definition(name)
		if err == nil && (now == nil || now.UID != uid) {
			err = fmt.Errorf("custom: the definition %s is gone", name)
		}
		return now, err
	}, r.opt.Hooks, r.shelf)
	if err != nil {
		r.opt.Tel.Log.Error("a custom resource definition cannot be served", "definition", name, "err", err)
		return false, nil
	}
	made.terminating.Store(terminating)
	if d != nil && d.stored.GroupResource() != made.stored.GroupResource() {
		r.withdraw(have)
	}
	if _, err := r.opt.Cache.Add(ctx, made.stored); err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		r.opt.Tel.Log.Error("the objects of a custom resource definition cannot be read", "definition", name, "err", err)
		r.withdraw(have)
		return true, nil
	}
	if d != nil {
		r.forget(d)
	}
	have.def, have.generation, have.established = made, c.Generation, established
	return true, nil
}

// storedRow finds the row of a definition's storage version; nil: it is not served.
func (r *Registry) storedRow(name string) *kinds.Kind {
	for _, k := range r.index.Load().byResource {
		if k.Resource+"."+k.Group == name {
			return k
		}
	}
	return nil
}

func isConflict(err error) bool { return apierrors.IsConflict(err) }
func isGone(err error) bool     { return apierrors.IsNotFound(err) }

// withdraw ceases to serve a definition's kinds.
func (r *Registry) withdraw(s *serving) {
	if s.def == nil {
		return
	}
	r.opt.Cache.Remove(s.def.stored)
	r.forget(s.def)
	s.def, s.established = nil, false
}

func (r *Registry) forget(d *Definition) {
	for _, k := range d.rows {
		r.opt.Engine.Owners.Forget(k)
	}
}
