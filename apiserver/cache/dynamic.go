package cache

import (
	"context"
	"fmt"
	"maps"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/store"
)

// Add begins to serve k, with what the store has of it, in place of any kind of the
// same resource. Cursors into that one end: what they saw had another form.
func (c *Cache) Add(ctx context.Context, k *kinds.Kind) (*Kind, error) {
	c.changing.Lock()
	defer c.changing.Unlock()
	n := newKind(c, k)
	n.gone = make(chan struct{})
	// The feeder waits for the lock as soon as it has an event of the kind: what it
	// brings then is newer than what is read here, or left out (see applyLocked).
	n.mu.Lock()
	old := c.swap(id(k), n)
	err := n.loadLocked(ctx)
	n.mu.Unlock()
	if err != nil {
		c.swap(id(k), old)
		return nil, err
	}
	if old != nil {
		old.finish()
	}
	select {
	case <-c.done:
		n.finish()
	default:
	}
	return n, nil
}

// Remove ceases to serve k.
func (c *Cache) Remove(k *kinds.Kind) {
	c.changing.Lock()
	defer c.changing.Unlock()
	if old := c.swap(id(k), nil); old != nil {
		old.finish()
	}
}

// swap puts n, or nothing, in a kind's place.
func (c *Cache) swap(name string, n *Kind) (old *Kind) {
	have := *c.kinds.Load()
	old = have[name]
	next := maps.Clone(have)
	if n == nil {
		delete(next, name)
	} else {
		next[name] = n
	}
	c.kinds.Store(&next)
	return old
}

// loadLocked reads what the store has of the kind.
func (k *Kind) loadLocked(ctx context.Context) error {
	r := store.Range{Start: k.prefix, End: store.PrefixEnd(k.prefix), Limit: loadPage}
	for {
		res, err := k.cache.store.Range(ctx, r)
		if err != nil {
			return fmt.Errorf("cache: load %s: %w", k.GroupResource(), err)
		}
		for i := range res.KVs {
			kv := &res.KVs[i]
			e, err := k.decode(kv.Key[len(k.prefix):], kv.Value, kv.ModRevision, nil)
			if err != nil {
				return err
			}
			k.tree.Set(e)
		}
		r.Revision = res.Revision
		if !res.More || len(res.KVs) == 0 {
			k.settle(r.Revision)
			return nil
		}
		r.Start = res.KVs[len(res.KVs)-1].Key + "\x00"
	}
}

// finish ends the cursors of a kind that goes.
func (k *Kind) finish() {
	if k.gone != nil {
		k.goneOnce.Do(func() { close(k.gone) })
	}
}

// Gone is closed when the kind is no longer served; nil for kinds that stay.
func (k *Kind) Gone() <-chan struct{} { return k.gone }
