package apiserver

import (
	"sync"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
)

// sizes remembers how large the objects of each kind are on the average, in bytes.
// The zero value is ready.
type sizes struct{ m sync.Map } // *kinds.Kind to size

type size struct {
	of    int64
	count int // of objects when it was measured
}

// sampled is how many objects are measured.
const sampled = 8

// of estimates the size of a kind's objects, n of which exist. It measures a few and
// measures again when their number has doubled or halved.
func (s *sizes) of(k *cache.Kind, n int) int64 {
	if v, ok := s.m.Load(k.Kind); ok {
		if x := v.(size); n <= 2*x.count && 2*n >= x.count {
			return x.of
		}
	}
	total, seen := 0, 0
	k.Snapshot().Ascend("", "", func(e *cache.Entry) bool {
		total += sizeOf(e)
		seen++
		return seen < sampled
	})
	x := size{of: int64(total / max(seen, 1)), count: n}
	s.m.Store(k.Kind, x)
	return x.of
}

// sizeOf is that of the protobuf encoding, or of JSON for what has no other.
func sizeOf(e *cache.Entry) int {
	if p, ok := e.Object.(interface{ Size() int }); ok {
		return p.Size()
	}
	body, err := e.Body(codec.JSON, nil)
	if err != nil {
		return 0
	}
	return len(body)
}
