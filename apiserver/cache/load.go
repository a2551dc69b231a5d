package cache

import (
	"context"
	"fmt"
	"runtime"

	"skiff.dev/skiff/store"
)

// loadPage is how many keys one range of the initial load asks for.
const loadPage = 1000

// placed is an entry and where it belongs.
type placed struct {
	k *Kind
	e *Entry
}

// page is a part of the load: its entries in the order of keys, or what failed.
type page struct {
	entries []placed
	err     error
}

// load reads the whole store at one revision: one goroutine reads, several decode,
// and this one puts into the trees what they give, in order.
func (c *Cache) load(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := make(chan chan page, 2*runtime.GOMAXPROCS(0))
	var rev int64
	go func() {
		defer close(pages)
		rev = c.readPages(ctx, pages)
	}()
	for next := range pages {
		p := <-next
		if p.err != nil {
			return 0, p.err
		}
		for _, x := range p.entries {
			x.k.tree.Load(x.e)
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("cache: load: %w", err)
	}
	for _, k := range *c.kinds.Load() {
		k.settle(rev)
	}
	c.rev.Store(rev)
	return rev, nil
}

// readPages hands pages on as they are read; each is decoded on a goroutine of its
// own, of which the channel's room bounds the number.
func (c *Cache) readPages(ctx context.Context, pages chan<- chan page) int64 {
	r := store.Range{Start: Root, End: store.PrefixEnd(Root), Limit: loadPage, NoCount: true}
	for {
		res, err := c.store.Range(ctx, r)
		out := make(chan page, 1)
		select {
		case pages <- out:
		case <-ctx.Done():
			return 0
		}
		if err != nil {
			out <- page{err: fmt.Errorf("cache: load: %w", err)}
			return 0
		}
		go func() { out <- c.decodePage(res.KVs) }()
		r.Revision = res.Revision
		if !res.More || len(res.KVs) == 0 {
			return res.Revision
		}
		r.Start = res.KVs[len(res.KVs)-1].Key + "\x00"
	}
}

// decodePage decodes entries, each sharing memory with the one before it.
func (c *Cache) decodePage(kvs []store.KV) page {
	p := page{entries: make([]placed, 0, len(kvs))}
	var last placed
	for i := range kvs {
		kv := &kvs[i]
		k, key := c.split(kv.Key)
		if k == nil {
			continue // a kind that nobody serves now
		}
		if last.k != k {
			last = placed{k: k}
		}
		e, err := k.decode(key, kv.Value, kv.ModRevision, last.e)
		if err != nil {
			return page{err: err}
		}
		last.e = e
		p.entries = append(p.entries, last)
	}
	return p
}
