package objects

import (
	"context"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/kinds"
)

// gcPolicy is what a kind's deletion does with dependents when nobody says.
type gcPolicy uint8

const (
	gcBackground gcPolicy = iota
	gcOrphan
	gcUnsupported
)

// defaultPolicy is each strategy's DefaultGarbageCollectionPolicy in Kubernetes'
// registry: events are never collected; some kinds orphaned their dependents in
// their first versions and still do there.
func defaultPolicy(r *Request) gcPolicy {
	if r.Kind.Custom != nil {
		return gcBackground
	}
	group, version := r.Kind.Group, r.Kind.Version
	if r.Version != nil {
		group, version = r.Version.Group, r.Version.Version
	}
	switch r.Kind.Resource {
	case "events":
		return gcUnsupported
	case "replicationcontrollers":
		return gcOrphan
	case "jobs":
		return gcOrphan
	case "deployments", "daemonsets", "replicasets", "statefulsets":
		if group == "extensions" || version == "v1beta1" || version == "v1beta2" {
			return gcOrphan
		}
	}
	return gcBackground
}

// gone tells whether a kind's own finalizers allow it to leave: a namespace stays
// while spec.finalizers is not empty (core/namespace, ShouldDeleteNamespaceDuringUpdate).
func gone(_ *Request, obj kinds.Object) bool {
	ns, ok := obj.(*corev1.Namespace)
	return !ok || len(ns.Spec.Finalizers) == 0
}

// deleters is how many deletions of a collection are under way at once: enough
// for the store to commit many with one sync.
const deleters = 64

// parallel calls f for 0..n-1 and returns the first error.
func parallel(ctx context.Context, n int, f func(i int) error) error {
	workers := min(n, deleters)
	if workers <= 1 {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	var next atomic.Int64
	var once sync.Once
	var first error
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					return
				}
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					next.Store(int64(n))
					return
				}
			}
		})
	}
	wg.Wait()
	if first == nil {
		first = ctx.Err()
	}
	return first
}
