package garbagecollector

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// object names one object for good.
type object struct {
	gvk             schema.GroupVersionKind
	namespace, name string
	uid             types.UID
}

// graph knows the dependents of every owner: only edges, no nodes, so that the
// many objects without owners cost nothing.
type graph struct {
	mu         sync.Mutex
	dependents map[types.UID]map[object]bool // to: whether it blocks its owner's end
}

// update replaces the edges of one dependent.
func (g *graph) update(o object, was, is []metav1.OwnerReference) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range was {
		delete(g.dependents[r.UID], o)
		if len(g.dependents[r.UID]) == 0 {
			delete(g.dependents, r.UID)
		}
	}
	for _, r := range is {
		if g.dependents[r.UID] == nil {
			g.dependents[r.UID] = map[object]bool{}
		}
		g.dependents[r.UID][o] = r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	}
}

// of lists the dependents of an owner; blocking ones only, if asked.
func (g *graph) of(owner types.UID, blocking bool) []object {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []object
	for o, blocks := range g.dependents[owner] {
		if blocks || !blocking {
			out = append(out, o)
		}
	}
	return out
}

// deed is what to do about one object.
type deed int

const (
	nothing    deed = iota
	orphan          // let its dependents go, then let it end
	awaitBelow      // delete its dependents first, then let it end
	dropRefs        // forget owners that are gone: others remain
	remove          // no owner is left
)

// owner is what was found behind one owner reference.
type owner struct {
	ref     metav1.OwnerReference
	exists  bool
	waiting bool // it is being deleted in the foreground and waits for this object
}

func hasFinalizer(m metav1.Object, name string) bool {
	for _, f := range m.GetFinalizers() {
		if f == name {
			return true
		}
	}
	return false
}

// decide says what to do about an object, given its owners as the server has them
// (see attemptToDeleteItem in Kubernetes' garbagecollector.go). refs are the owners
// to forget.
func decide(m metav1.Object, owners []owner, hasDependents bool) (d deed, policy metav1.DeletionPropagation, refs []types.UID) {
	if m.GetDeletionTimestamp() != nil {
		switch {
		case hasFinalizer(m, metav1.FinalizerOrphanDependents):
			return orphan, "", nil
		case hasFinalizer(m, metav1.FinalizerDeleteDependents):
			return awaitBelow, "", nil
		}
		return nothing, "", nil
	}
	solid, waiting := 0, 0
	for _, o := range owners {
		switch {
		case !o.exists:
			refs = append(refs, o.ref.UID)
		case o.waiting:
			waiting++
			refs = append(refs, o.ref.UID)
		default:
			solid++
		}
	}
	switch {
	case len(owners) == 0 || len(refs) == 0:
		return nothing, "", nil
	case solid > 0:
		return dropRefs, "", refs
	case waiting > 0 && hasDependents:
		return remove, metav1.DeletePropagationForeground, nil
	case hasFinalizer(m, metav1.FinalizerOrphanDependents):
		return remove, metav1.DeletePropagationOrphan, nil
	case hasFinalizer(m, metav1.FinalizerDeleteDependents):
		return remove, metav1.DeletePropagationForeground, nil
	}
	return remove, metav1.DeletePropagationBackground, nil
}
