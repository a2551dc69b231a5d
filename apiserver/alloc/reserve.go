package alloc

import (
	"fmt"
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/store"
)

// Reserved begins the keys of addresses and ports that services hold. The value is
// the holder, namespace/name.
const Reserved = "/skiff/reserved/services/"

// Claims are the keys of all that a service holds.
func (s *Services) Claims(obj kinds.Object) map[string]bool {
	out := map[string]bool{}
	svc, ok := obj.(*v1.Service)
	if !ok || svc == nil {
		return out
	}
	for _, ip := range addresses(svc) {
		out[Reserved+"address/"+ip] = true
	}
	for p := range portsOf(svc) {
		out[fmt.Sprintf("%sport/%d", Reserved, p)] = true
	}
	return out
}

// Reserve implements objects.Reserver: what obj holds and old did not must be free in
// the store, and what old alone held becomes so.
func (s *Services) Reserve(obj, old kinds.Object) (guards []store.Guard, ops []store.Op) {
	has, had := s.Claims(obj), s.Claims(old)
	for _, key := range slices.Sorted(maps.Keys(has)) {
		if !had[key] {
			guards = append(guards, store.Guard{Key: key})
			ops = append(ops, store.Op{Key: key, Value: []byte(obj.GetNamespace() + "/" + obj.GetName())})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(had)) {
		if !has[key] {
			ops = append(ops, store.Op{Key: key, Delete: true})
		}
	}
	return guards, ops
}
