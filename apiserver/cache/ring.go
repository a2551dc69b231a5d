package cache

import (
	"sort"
	"strconv"
	"time"

	"skiff.dev/skiff/codec"
)

// Sizes of a ring, as Kubernetes' watch cache grows its own: small while little
// happens, larger while events are younger than fresh.
const (
	ringMin = 64
	ringMax = 64 << 10
	fresh   = 75 * time.Second
)

// Event is one change of one object. Old is nil for a creation, New for a
// deletion; Gone then is Old with the deletion's revision.
type Event struct {
	Old, New, Gone *Entry
	Revision       int64
}

// Left is the old object with the event's revision: what a watcher is told whose
// selection the object has left.
func (ev *Event) Left() *Entry {
	obj := codec.Shallow(ev.Old.Object)
	obj.SetResourceVersion(strconv.FormatInt(ev.Revision, 10))
	return &Entry{Object: obj, Key: ev.Old.Key, Revision: ev.Revision}
}

// ring keeps the newest events of a kind. Positions count from the first event
// ever and never repeat.
type ring struct {
	buf  []Event
	at   []time.Time // when buf[i] came
	head int64       // position after the newest event
	n    int         // events in buf
	lost int64       // history up to this revision is gone
}

func (r *ring) add(ev Event) {
	now := time.Now()
	if r.n == len(r.buf) {
		switch {
		case r.n == 0:
			r.grow(ringMin)
		case r.n < ringMax && now.Sub(r.at[r.index(r.tail())]) < fresh:
			r.grow(r.n * 2)
		case r.n > ringMin && now.Sub(r.at[r.index(r.head-int64(r.n)/4)]) > fresh:
			r.shrink(r.n / 2)
		}
	}
	if r.n == len(r.buf) {
		r.lost = r.buf[r.index(r.tail())].Revision
		r.n--
	}
	i := r.index(r.head)
	r.buf[i], r.at[i] = ev, now
	r.head++
	r.n++
}

func (r *ring) tail() int64         { return r.head - int64(r.n) }
func (r *ring) index(pos int64) int { return int(pos % int64(len(r.buf))) }

func (r *ring) grow(size int) {
	buf, at := make([]Event, size), make([]time.Time, size)
	for p := r.tail(); p < r.head; p++ {
		i := r.index(p)
		j := int(p % int64(size))
		buf[j], at[j] = r.buf[i], r.at[i]
	}
	r.buf, r.at = buf, at
}

// shrink forgets the oldest events down to size.
func (r *ring) shrink(size int) {
	if r.n > size {
		r.lost = r.buf[r.index(r.head-int64(size)-1)].Revision
		r.n = size
	}
	r.grow(size)
}

func (r *ring) reset(lost int64) {
	r.buf, r.at, r.n, r.lost = nil, nil, 0, lost
}

// after is the position of the first event above rev.
func (r *ring) after(rev int64) int64 {
	i := sort.Search(r.n, func(i int) bool {
		return r.buf[r.index(r.tail()+int64(i))].Revision > rev
	})
	return r.tail() + int64(i)
}

// trim forgets what is older than fresh, down to the smallest ring.
func (r *ring) trim() {
	if len(r.buf) <= ringMin {
		return
	}
	old := time.Now().Add(-fresh)
	young := 0
	for young < r.n && r.at[r.index(r.head-int64(young)-1)].After(old) {
		young++
	}
	size := ringMin
	for size < young {
		size *= 2
	}
	if size < len(r.buf) {
		r.shrink(size)
	}
}

// replaced are the entries that the ring alone still holds.
func (r *ring) replaced() []*Entry {
	var out []*Entry
	for p := r.tail(); p < r.head; p++ {
		ev := &r.buf[r.index(p)]
		if ev.Old != nil {
			out = append(out, ev.Old)
		}
		if ev.Gone != nil {
			out = append(out, ev.Gone)
		}
	}
	return out
}
