package loop

import (
	"container/heap"
	"sync"
	"time"
)

// queue hands keys to workers: a key is worked on by one worker at a time, and a
// key added meanwhile is worked on once more. Workers are goroutines that live
// only while there is work; an idle queue has none, and no timer.
type queue[K comparable] struct {
	work func(K)
	max  int // workers at a time

	mu      sync.Mutex
	open    bool // between start and stop
	ready   []K
	waiting map[K]bool // in ready, or to be put there when its worker is done
	active  map[K]bool
	workers int
	idle    sync.WaitGroup

	later  delays[K]
	at     map[K]*delay[K]
	timer  *time.Timer
	fails  map[K]int
	closed bool
}

const (
	leastBackoff = 5 * time.Millisecond
	mostBackoff  = 1000 * time.Second
)

func newQueue[K comparable](workers int, work func(K)) *queue[K] {
	return &queue[K]{
		work: work, max: workers,
		waiting: map[K]bool{}, active: map[K]bool{}, at: map[K]*delay[K]{}, fails: map[K]int{},
	}
}

// start lets workers begin.
func (q *queue[K]) start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.open = true
		q.hire()
	}
}

// stop forgets all keys and waits for the workers.
func (q *queue[K]) stop() {
	q.mu.Lock()
	q.open, q.closed = false, true
	q.ready, q.later = nil, nil
	clear(q.at)
	if q.timer != nil {
		q.timer.Stop()
	}
	q.mu.Unlock()
	q.idle.Wait()
}

func (q *queue[K]) add(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.push(k)
}

func (q *queue[K]) push(k K) {
	if q.closed || q.waiting[k] {
		return
	}
	q.waiting[k] = true
	if !q.active[k] {
		q.ready = append(q.ready, k)
		q.hire()
	}
}

func (q *queue[K]) hire() {
	for q.open && q.workers < q.max && q.workers-len(q.active) < len(q.ready) {
		q.workers++
		q.idle.Go(q.serve)
	}
}

func (q *queue[K]) serve() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.open && len(q.ready) > 0 {
		k := q.ready[0]
		q.ready = q.ready[1:]
		delete(q.waiting, k)
		q.active[k] = true
		q.mu.Unlock()
		q.work(k)
		q.mu.Lock()
		delete(q.active, k)
		if q.waiting[k] {
			q.ready = append(q.ready, k)
		}
	}
	if len(q.ready) == 0 {
		q.ready = nil
	}
	q.workers--
}

// after adds k when d has passed, or earlier if that was asked for before.
func (q *queue[K]) after(k K, d time.Duration) {
	if d <= 0 {
		q.add(k)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	due := time.Now().Add(d)
	if have := q.at[k]; have != nil {
		if due.Before(have.due) {
			have.due = due
			heap.Fix(&q.later, have.index)
		}
	} else {
		have = &delay[K]{key: k, due: due}
		q.at[k] = have
		heap.Push(&q.later, have)
	}
	q.arm()
}

func (q *queue[K]) arm() {
	if len(q.later) == 0 {
		return
	}
	wait := max(0, time.Until(q.later[0].due))
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, q.ring)
	} else {
		q.timer.Reset(wait)
	}
}

func (q *queue[K]) ring() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for len(q.later) > 0 && !q.later[0].due.After(now) {
		d := heap.Pop(&q.later).(*delay[K])
		delete(q.at, d.key)
		q.push(d.key)
	}
	q.arm()
}

// failed adds k after a pause that doubles with each failure.
func (q *queue[K]) failed(k K) {
	q.mu.Lock()
	n := q.fails[k]
	q.fails[k] = n + 1
	q.mu.Unlock()
	pause := mostBackoff
	if n < 18 {
		pause = min(leastBackoff<<n, mostBackoff)
	}
	q.after(k, pause)
}

func (q *queue[K]) succeeded(k K) {
	q.mu.Lock()
	delete(q.fails, k)
	q.mu.Unlock()
}

type delay[K comparable] struct {
	key   K
	due   time.Time
	index int
}

type delays[K comparable] []*delay[K]

func (d delays[K]) Len() int           { return len(d) }
func (d delays[K]) Less(i, j int) bool { return d[i].due.Before(d[j].due) }
func (d delays[K]) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}
func (d *delays[K]) Push(x any) {
	item := x.(*delay[K])
	item.index = len(*d)
	*d = append(*d, item)
}
func (d *delays[K]) Pop() any {
	old := *d
	item := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return item
}
