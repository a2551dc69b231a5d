package scheduler

import (
	"container/heap"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// waiting is a pod that has no node yet.
type waiting struct {
	pod      *v1.Pod // shared, immutable; the newest that was seen
	key      string  // of its class
	priority int32
	since    time.Time // when it came
	attempts int
	next     time.Time // not to be tried before

	// The queue it is in: place in a heap plus one, or parked.
	place  int
	parked bool
	// related pods failed, or may, by what other pods are where.
	related bool
	// claiming pods have claims; refused is why those let no node take the pod.
	claiming bool
	refused  string
	shared   bool // another pod has a claim that only one may have
	// binding pods have a node that the server has not confirmed.
	binding bool
}

// queue orders waiting pods: ready ones by priority and age, those that failed
// often by when they may be tried again, and parked ones, which no node takes as
// things are, by class. It is pure; the clock is passed in.
type queue struct {
	pods    map[types.UID]*waiting
	ready   readyHeap
	backoff backoffHeap
	parked  map[string]map[types.UID]*waiting
	related int // of those parked
	// claiming counts those parked with claims.
	claiming int
}

func newQueue() *queue {
	return &queue{pods: map[types.UID]*waiting{}, parked: map[string]map[types.UID]*waiting{}}
}

// Pause between attempts, as kube-scheduler's podInitialBackoffSeconds and
// podMaxBackoffSeconds. The first attempts after an event have none: an event only
// wakes pods that fit the node it is about.
const (
	leastBackoff = time.Second
	mostBackoff  = 10 * time.Second
	freeAttempts = 2
)

func backoffOf(attempts int) time.Duration {
	if attempts <= freeAttempts {
		return 0
	}
	d := leastBackoff << min(attempts-freeAttempts-1, 10)
	return min(d, mostBackoff)
}

// add puts a pod in, or brings what is known of it forward. A change of what it
// wants gives it another chance at once.
func (q *queue) add(p *v1.Pod, now time.Time) {
	key := classKey(p)
	w := q.pods[p.UID]
	if w == nil {
		w = &waiting{since: now}
		q.pods[p.UID] = w
		w.pod, w.key, w.priority = p, key, priorityOf(p)
		heap.Push(&q.ready, w)
		return
	}
	changed := w.key != key || w.priority != priorityOf(p)
	if !changed || w.binding {
		w.pod = p
		return
	}
	q.out(w)
	w.pod, w.key, w.priority = p, key, priorityOf(p)
	heap.Push(&q.ready, w)
}

func priorityOf(p *v1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

// out takes w from whichever queue it is in.
func (q *queue) out(w *waiting) {
	switch {
	case w.parked:
		delete(q.parked[w.key], w.pod.UID)
		if len(q.parked[w.key]) == 0 {
			delete(q.parked, w.key)
		}
		q.unmark(w)
	case w.place > 0:
		heap.Remove(&q.ready, w.place-1)
	case w.place < 0:
		heap.Remove(&q.backoff, -w.place-1)
	}
}

func (q *queue) remove(uid types.UID) {
	if w := q.pods[uid]; w != nil {
		q.out(w)
		delete(q.pods, uid)
	}
}

// pop returns the next pod to place, nil if there is none now; it stays known.
func (q *queue) pop(now time.Time) *waiting {
	for len(q.backoff) > 0 && !q.backoff[0].next.After(now) {
		heap.Push(&q.ready, heap.Pop(&q.backoff))
	}
	if len(q.ready) == 0 {
		return nil
	}
	return heap.Pop(&q.ready).(*waiting)
}

// wake is when pop may find a pod that it does not find now; false: never by time.
func (q *queue) wake() (time.Time, bool) {
	if len(q.backoff) == 0 {
		return time.Time{}, false
	}
	return q.backoff[0].next, true
}

// park puts a pod aside until unpark.
func (q *queue) park(w *waiting) {
	if q.parked[w.key] == nil {
		q.parked[w.key] = map[types.UID]*waiting{}
	}
	q.parked[w.key][w.pod.UID] = w
	w.parked = true
	if w.related {
		q.related++
	}
	if w.claiming {
		q.claiming++
	}
}

func (q *queue) unmark(w *waiting) {
	w.parked = false
	if w.related {
		q.related--
	}
	if w.claiming {
		q.claiming--
	}
}

// unpark gives all pods of a class another chance, at once or after their pause.
func (q *queue) unpark(key string, now time.Time) {
	q.unparkSome(key, now, func(*waiting) bool { return true })
}

// unparkSome is unpark for those that which accepts.
func (q *queue) unparkSome(key string, now time.Time, which func(*waiting) bool) {
	parked := q.parked[key]
	for uid, w := range parked {
		if !which(w) {
			continue
		}
		delete(parked, uid)
		q.unmark(w)
		q.again(w, now)
	}
	if len(parked) == 0 {
		delete(q.parked, key)
	}
}

func (q *queue) again(w *waiting, now time.Time) {
	if w.next.After(now) {
		heap.Push(&q.backoff, w)
		return
	}
	heap.Push(&q.ready, w)
}

// readyHeap: the highest priority first, then who came first.
type readyHeap []*waiting

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	if h[i].priority != h[j].priority {
		return h[i].priority > h[j].priority
	}
	return h[i].since.Before(h[j].since)
}
func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}
func (h *readyHeap) Push(x any) {
	w := x.(*waiting)
	*h = append(*h, w)
	w.place = len(*h)
}
func (h *readyHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.place = 0
	return w
}

// backoffHeap: who may be tried first. Places are negative, to tell the heaps apart.
type backoffHeap []*waiting

func (h backoffHeap) Len() int           { return len(h) }
func (h backoffHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h backoffHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = -i-1, -j-1
}
func (h *backoffHeap) Push(x any) {
	w := x.(*waiting)
	*h = append(*h, w)
	w.place = -len(*h)
}
func (h *backoffHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.place = 0
	return w
}
