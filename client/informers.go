package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// GetInformer follows obj's kind, in obj's form. Once Start was called it waits
// for the first list, unless BlockUntilSynced(false) is given.
func (p *InProcess) GetInformer(ctx context.Context, obj crclient.Object, opts ...cache.InformerGetOption) (cache.Informer, error) {
	t, err := p.resolve(obj)
	if err != nil {
		return nil, err
	}
	return p.getInformer(ctx, t, opts)
}

// GetInformerForKind follows a kind in the form of its Go type, or of maps where
// the scheme does not know it.
func (p *InProcess) GetInformerForKind(ctx context.Context, gvk schema.GroupVersionKind, opts ...cache.InformerGetOption) (cache.Informer, error) {
	t, err := p.resolveKind(gvk)
	if err != nil {
		return nil, err
	}
	if !p.scheme.Recognizes(gvk) {
		t.form = formUnstructured
	}
	return p.getInformer(ctx, t, opts)
}

func (p *InProcess) getInformer(ctx context.Context, t target, opts []cache.InformerGetOption) (cache.Informer, error) {
	o := cache.InformerGetOptions{}
	for _, opt := range opts {
		opt(&o)
	}
	i, running := p.ensure(t)
	if running && (o.BlockUntilSynced == nil || *o.BlockUntilSynced) {
		select {
		case <-i.synced.Done():
		case <-ctx.Done():
			return nil, fmt.Errorf("client: informer of %s: %w", t.gvk.Kind, ctx.Err())
		}
	}
	return &informerView{i: i, target: t}, nil
}

// followed names an informer: one follows a kind for all. Of a kind that the server
// keeps in a form of its own, another serves those that want metadata alone, and has
// the objects as the server has them.
type followed struct {
	kind schema.GroupKind
	bare bool
}

func (t target) followed() followed {
	return followed{t.kind.GVK().GroupKind(), t.form == formMetadata && t.kind.FromCache != nil}
}

// ensure finds or makes the informer of a kind; it runs once Start was called.
func (p *InProcess) ensure(t target) (i *informer, running bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := t.followed()
	i = p.informers[key]
	if i == nil {
		i = newInformer(p.backend, t.kind.GVK(), p.Log)
		i.bare = key.bare
		p.informers[key] = i
		if p.startCtx != nil {
			p.launch(i)
		}
	}
	return i, p.startCtx != nil
}

// launch is called with p.mu held.
func (p *InProcess) launch(i *informer) {
	if p.startCtx.Err() != nil {
		i.stopped.Store(true)
		return
	}
	ctx, cancel := context.WithCancel(p.startCtx)
	i.cancel = cancel
	p.running.Go(func() { i.run(ctx) })
}

// RemoveInformer stops following obj's kind; its handlers hear nothing more.
func (p *InProcess) RemoveInformer(_ context.Context, obj crclient.Object) error {
	t, err := p.resolve(obj)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := t.followed()
	if i := p.informers[key]; i != nil {
		delete(p.informers, key)
		i.stopped.Store(true)
		if i.cancel != nil {
			i.cancel()
		}
	}
	return nil
}

// Start runs the informers, those asked for later too, until ctx ends.
func (p *InProcess) Start(ctx context.Context) error {
	p.mu.Lock()
	if p.startCtx != nil {
		p.mu.Unlock()
		return errors.New("client: the informers run already")
	}
	p.startCtx = ctx
	for _, i := range p.informers {
		p.launch(i)
	}
	close(p.started)
	p.mu.Unlock()
	<-ctx.Done()
	p.running.Wait()
	return nil
}

// WaitForCacheSync waits until every informer asked for so far has its first list.
func (p *InProcess) WaitForCacheSync(ctx context.Context) bool {
	select {
	case <-p.started:
	case <-ctx.Done():
		return false
	}
	p.mu.Lock()
	var all []*informer
	for _, i := range p.informers {
		all = append(all, i)
	}
	p.mu.Unlock()
	for _, i := range all {
		select {
		case <-i.synced.Done():
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// IndexField makes List answer MatchingFields{field: ...} for obj's kind.
func (p *InProcess) IndexField(_ context.Context, obj crclient.Object, field string, values crclient.IndexerFunc) error {
	t, err := p.resolve(obj)
	if err != nil {
		return err
	}
	i, _ := p.ensure(t)
	return i.addIndex(field, t, values)
}

// informerView is an informer as one caller sees it.
type informerView struct {
	i      *informer
	target target
}

var _ cache.Informer = (*informerView)(nil)

func (v *informerView) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	if v.i.stopped.Load() {
		return nil, fmt.Errorf("client: the informer of %s has stopped", v.target.gvk.Kind)
	}
	return v.i.add(h, v.target), nil
}

// AddEventHandlerWithResyncPeriod never resyncs: nothing gets lost in process.
func (v *informerView) AddEventHandlerWithResyncPeriod(h toolscache.ResourceEventHandler, _ time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return v.AddEventHandler(h)
}

func (v *informerView) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, _ toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	return v.AddEventHandler(h)
}

func (v *informerView) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	r, ok := handle.(*registration)
	if !ok {
		return fmt.Errorf("client: %T is not a registration of this informer", handle)
	}
	v.i.remove(r)
	return nil
}

// AddIndexers makes each indexer answer MatchingFields of its name, without the
// prefix "field:".
func (v *informerView) AddIndexers(indexers toolscache.Indexers) error {
	for name, fn := range indexers {
		err := v.i.addIndex(strings.TrimPrefix(name, "field:"), v.target, func(obj crclient.Object) []string {
			values, err := fn(obj)
			if err != nil {
				return nil
			}
			return values
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *informerView) HasSynced() bool                          { return v.i.synced.finished() }
func (v *informerView) HasSyncedChecker() toolscache.DoneChecker { return v.i.synced }
func (v *informerView) IsStopped() bool                          { return v.i.stopped.Load() }
