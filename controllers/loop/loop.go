// Package loop runs reconcilers: it feeds keys from a cache's informers to
// workers, retries what failed with growing pauses, and keeps what all reconcilers
// share (expectations, owner indices, adoption). It stands in for
// controller-runtime's controller, whose queues keep goroutines and tickers
// running while nothing happens; what it runs is a reconcile.Reconciler all the
// same and would run there unchanged.
package loop

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/client"
)

// Env is what every controller gets.
type Env struct {
	Client crclient.Client
	Cache  cache.Cache
	Kinds  client.KindSource
	Log    *slog.Logger
	Config Config

	mu        sync.Mutex
	indexed   map[string]bool
	recorders map[string]*client.Recorder
	loops     sync.WaitGroup
}

// Config holds what the cluster's owner decides. The zero value of a field means
// Kubernetes' default.
type Config struct {
	RootCA           []byte        // PEM; published as kube-root-ca.crt in every namespace
	PodCIDR          string        // addresses of all pods; "" leaves spec.podCIDR to others
	NodeMask         int           // bits of a node's slice; 24
	NodeGrace        time.Duration // silence after which a node is unknown; 50s
	NodeStartupGrace time.Duration // the same for a node never heard of; 60s
	TerminatedPods   int           // finished pods kept before the oldest go; 12500
	// Sign certifies a request (PEM) for some uses and a life; nil signs nothing.
	Sign func(request []byte, usage x509.KeyUsage, ext []x509.ExtKeyUsage, life time.Duration) (pem []byte, err error)
	// AccountToken makes the token that a Secret of a service account holds; nil makes
	// none.
	AccountToken func(namespace, account, uid, secret string) (token string, err error)
	// Schemas gives the OpenAPI document, version 3, of a group version; nil or no
	// document: there are no schemas to check policies by.
	Schemas func(schema.GroupVersion) ([]byte, error)
	// CertificateLife is the longest life of a requested certificate; one year.
	CertificateLife time.Duration
}

// Recorder records events.
type Recorder interface {
	Eventf(obj runtime.Object, typ, reason, format string, args ...any)
}

// Recorder returns the one recorder of a component's name.
func (e *Env) Recorder(component string) Recorder {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.recorders == nil {
		e.recorders = map[string]*client.Recorder{}
	}
	if e.recorders[component] == nil {
		e.recorders[component] = client.NewRecorder(e.Client, component, "", e.Log)
	}
	return e.recorders[component]
}

// index makes Cache.List answer MatchingFields{name: ...}, once for each name.
func (e *Env) index(ctx context.Context, obj crclient.Object, name string, values crclient.IndexerFunc) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	key := fmt.Sprintf("%T %s", obj, name)
	if e.indexed[key] {
		return nil
	}
	if e.indexed == nil {
		e.indexed = map[string]bool{}
	}
	e.indexed[key] = true
	return e.Cache.IndexField(ctx, obj, name, values)
}

// Wait returns when every loop whose context has ended has ended too.
func (e *Env) Wait() { e.loops.Wait() }

// Request names the object to reconcile.
type Request = reconcile.Request

// Loop feeds one reconciler.
type Loop[K comparable] struct {
	env   *Env
	name  string
	do    reconcile.TypedReconciler[K]
	queue *queue[K]
	ctx   context.Context
	syncs []toolscache.DoneChecker
	err   error // the first of On and Index
}

// New makes a loop with so many workers. ctx ends it.
func New[K comparable](ctx context.Context, env *Env, name string, workers int, do reconcile.TypedReconciler[K]) *Loop[K] {
	l := &Loop[K]{env: env, name: name, do: do, ctx: ctx}
	l.queue = newQueue(workers, l.reconcile)
	return l
}

// Func is a reconciler made of a function.
type Func[K comparable] = reconcile.TypedFunc[K]

// Add asks for a key to be reconciled.
func (l *Loop[K]) Add(k K) { l.queue.add(k) }

// AddAfter asks for a key to be reconciled when d has passed.
func (l *Loop[K]) AddAfter(k K, d time.Duration) { l.queue.after(k, d) }

// Index makes Cache.List answer MatchingFields{name: ...}; controllers may share an
// index by asking for the same name. Start returns what fails.
func (l *Loop[K]) Index(obj crclient.Object, name string, values crclient.IndexerFunc) {
	if l.err == nil {
		l.err = l.env.index(l.ctx, obj, name, values)
	}
}

// Start lets workers begin once every informer of On has delivered what there is. It
// returns the first error of On and Index; then nothing has begun.
func (l *Loop[K]) Start() error {
	if l.err != nil {
		return fmt.Errorf("%s: %w", l.name, l.err)
	}
	l.env.loops.Add(1)
	syncs := l.syncs // what is followed later does not hold the work up
	go func() {
		for _, s := range syncs {
			select {
			case <-s.Done():
			case <-l.ctx.Done():
				l.env.loops.Done()
				return
			}
		}
		context.AfterFunc(l.ctx, func() {
			l.queue.stop()
			l.env.loops.Done()
		})
		l.queue.start()
	}()
	return nil
}

func (l *Loop[K]) reconcile(k K) {
	res, err := l.safely(k)
	switch {
	case l.ctx.Err() != nil:
	case err != nil:
		// A conflict is the normal answer to having been late, and is no news.
		if !apierrors.IsConflict(err) {
			l.env.Log.Warn("reconcile failed", "controller", l.name, "key", fmt.Sprint(k), "err", err)
		}
		l.queue.failed(k)
	default:
		l.queue.succeeded(k)
		if res.RequeueAfter > 0 {
			l.queue.after(k, res.RequeueAfter)
		}
	}
}

func (l *Loop[K]) safely(k K) (res reconcile.Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return l.do.Reconcile(l.ctx, k)
}

// On calls handle for every change of the kind of T: old is nil (a zero T) for an
// object that is new or was there at the start, obj for one that is gone. Objects
// are shared and must not be changed. handle must not block. Start returns what fails.
func On[T crclient.Object, K comparable](l *Loop[K], sample T, handle func(old, obj T)) {
	if l.err == nil {
		l.err = Follow(l, sample, handle)
	}
}

// Follow is On for a kind that is found after Start.
func Follow[T crclient.Object, K comparable](l *Loop[K], sample T, handle func(old, obj T)) error {
	inf, err := l.env.Cache.GetInformer(l.ctx, sample, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("follow %T: %w", sample, err)
	}
	var none T
	reg, err := inf.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { handle(none, obj.(T)) },
		UpdateFunc: func(old, obj any) { handle(old.(T), obj.(T)) },
		DeleteFunc: func(obj any) {
			if d, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
				obj = d.Obj
			}
			if old, ok := obj.(T); ok {
				handle(old, none)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("follow %T: %w", sample, err)
	}
	l.syncs = append(l.syncs, reg.HasSyncedChecker())
	return nil
}

// Enqueue adds the changed object itself.
func Enqueue[T crclient.Object](l *Loop[Request]) func(old, obj T) {
	return func(old, obj T) {
		if any(obj) == any(*new(T)) {
			obj = old
		}
		l.Add(Key(obj))
	}
}

// Key names obj.
func Key(obj crclient.Object) Request {
	return Request{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetName()}}
}
