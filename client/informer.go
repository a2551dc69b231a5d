package client

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/kinds"
)

// objectKey names an object within its kind; its strings are the object's own.
type objectKey struct{ namespace, name string }

func keyOf(obj kinds.Object) objectKey { return objectKey{obj.GetNamespace(), obj.GetName()} }

// informer follows one kind with one goroutine. That goroutine brings the objects
// forward and then calls the handlers, one after the other and in the order of
// the events, so handlers must not block for long.
type informer struct {
	log     *slog.Logger
	backend Backend
	gvk     schema.GroupVersionKind
	bare    bool // objects in the server's own form; only their metadata is looked at

	cancel  context.CancelFunc
	stopped atomic.Bool
	synced  *done

	// deliver is held while handlers are called or joined, so that a handler sees
	// every object as an initial add or as an event, never both nor neither.
	deliver  sync.Mutex
	handlers []*registration

	mu      sync.RWMutex // guards what follows; taken inside deliver
	objects map[objectKey]kinds.Object
	indices map[string]*index
}

// registration is one handler. It gets objects in the form that it asked for.
type registration struct {
	log     *slog.Logger
	handler toolscache.ResourceEventHandler
	target  target
	synced  *done
	removed atomic.Bool
}

// done is a toolscache.DoneChecker.
type done struct {
	name string
	once sync.Once
	ch   chan struct{}
}

func newDone(name string) *done       { return &done{name: name, ch: make(chan struct{})} }
func (d *done) Name() string          { return d.name }
func (d *done) Done() <-chan struct{} { return d.ch }
func (d *done) finish()               { d.once.Do(func() { close(d.ch) }) }
func (d *done) finished() bool        { return toolscache.IsDone(d) }

func (r *registration) HasSynced() bool                          { return r.synced.finished() }
func (r *registration) HasSyncedChecker() toolscache.DoneChecker { return r.synced }

func newInformer(b Backend, gvk schema.GroupVersionKind, log *slog.Logger) *informer {
	return &informer{
		log: log, backend: b, gvk: gvk, synced: newDone("informer of " + gvk.Kind),
		objects: map[objectKey]kinds.Object{}, indices: map[string]*index{},
	}
}

// run follows the kind until ctx ends. A failed list or watch is tried again with
// growing pauses; a watch that fell behind lists again at once.
func (i *informer) run(ctx context.Context) {
	defer i.stopped.Store(true)
	const least, most = 100 * time.Millisecond, 30 * time.Second
	pause, expired := least, 0
	for ctx.Err() == nil {
		progress, err := i.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if progress {
			pause, expired = least, 0
		}
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			if expired++; expired == 1 {
				continue
			}
		}
		i.log.Warn("informer starts again", "kind", i.gvk.Kind, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, most)
	}
}

// follow lists once and then delivers events until the stream ends.
func (i *informer) follow(ctx context.Context) (progress bool, err error) {
	k, ok := i.backend.Kind(i.gvk)
	if !ok {
		i.replace(nil)
		return false, apierrors.NewNotFound(schema.GroupResource{Group: i.gvk.Group, Resource: i.gvk.Kind}, "")
	}
	if i.bare {
		plain := *k
		plain.FromCache = nil
		k = &plain
	}
	objs, revision, err := i.backend.List(ctx, k, "", nil)
	if err != nil {
		return false, err
	}
	i.replace(objs)
	stream, err := i.backend.Watch(ctx, k, "", revision)
	if err != nil {
		return false, err
	}
	defer stream.Close()
	for {
		events, err := stream.Next(ctx)
		if err != nil {
			return progress, err
		}
		progress = true
		i.apply(events)
	}
}

// replace brings the informer to a fresh list and tells handlers the difference.
// An object of the same name with another uid was deleted and created again.
func (i *informer) replace(objs []kinds.Object) {
	i.deliver.Lock()
	defer i.deliver.Unlock()
	first := !i.synced.finished()
	var events []Event
	seen := make(map[objectKey]bool, len(objs))
	for _, obj := range objs {
		key := keyOf(obj)
		seen[key] = true
		old, had := i.objects[key]
		switch {
		case !had:
			events = append(events, Event{New: obj})
		case old.GetUID() != obj.GetUID():
			events = append(events, Event{Old: old}, Event{New: obj})
		case old.GetResourceVersion() != obj.GetResourceVersion():
			events = append(events, Event{Old: old, New: obj})
		}
	}
	for key, old := range i.objects {
		if !seen[key] {
			events = append(events, Event{Old: old})
		}
	}
	i.store(events)
	for _, e := range events {
		for _, r := range i.handlers {
			r.call(e, first, !first)
		}
	}
	if first {
		for _, r := range i.handlers {
			r.synced.finish()
		}
		i.synced.finish()
	}
}

// apply stores events and tells handlers.
func (i *informer) apply(events []Event) {
	i.deliver.Lock()
	defer i.deliver.Unlock()
	i.store(events)
	for _, e := range events {
		for _, r := range i.handlers {
			r.call(e, false, false)
		}
	}
}

func (i *informer) store(events []Event) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range events {
		if e.Old != nil {
			for _, x := range i.indices {
				x.remove(e.Old)
			}
		}
		if e.New == nil {
			delete(i.objects, keyOf(e.Old))
			continue
		}
		key := keyOf(e.New)
		// A key keeps the strings of the object it was made of: renew it with the
		// object, or every first version would stay in memory.
		delete(i.objects, key)
		i.objects[key] = e.New
		for _, x := range i.indices {
			x.add(e.New)
		}
	}
}

// call hands one event to a handler. missed says that the deletion itself was not
// seen.
func (r *registration) call(e Event, initial, missed bool) {
	if r.removed.Load() {
		return
	}
	show := func(obj kinds.Object) crclient.Object {
		if obj == nil {
			return nil
		}
		v, err := r.target.view(obj)
		if err != nil {
			r.log.Error("informer cannot show an object", "kind", r.target.gvk.Kind, "err", err)
		}
		return v
	}
	old, obj := show(e.Old), show(e.New)
	switch {
	case e.Old == nil && obj != nil:
		r.handler.OnAdd(obj, initial)
	case e.New == nil && old != nil && missed:
		key := old.GetName()
		if ns := old.GetNamespace(); ns != "" {
			key = ns + "/" + key
		}
		r.handler.OnDelete(toolscache.DeletedFinalStateUnknown{Key: key, Obj: old})
	case e.New == nil && old != nil:
		r.handler.OnDelete(old)
	case old != nil && obj != nil:
		r.handler.OnUpdate(old, obj)
	}
}

// add joins a handler: at once if nothing was listed yet, else with the objects
// known now as initial adds, on a goroutine that ends with them.
func (i *informer) add(h toolscache.ResourceEventHandler, t target) *registration {
	r := &registration{log: i.log, handler: h, target: t, synced: newDone("handler of " + t.gvk.Kind)}
	go func() {
		i.deliver.Lock()
		defer i.deliver.Unlock()
		if i.synced.finished() {
			for _, obj := range i.objects {
				r.call(Event{New: obj}, true, false)
			}
			r.synced.finish()
		}
		if !r.removed.Load() {
			i.handlers = append(i.handlers, r)
		}
	}()
	return r
}

// remove takes a handler away; a call under way may still end.
func (i *informer) remove(r *registration) {
	r.removed.Store(true)
	go func() {
		i.deliver.Lock()
		defer i.deliver.Unlock()
		for n, have := range i.handlers {
			if have == r {
				i.handlers = append(i.handlers[:n:n], i.handlers[n+1:]...)
				return
			}
		}
	}()
}
