package flow

import (
	"math"
	"time"
)

// Widths of lists (util/flowcontrol/request, list_work_estimator, which counts the
// bytes that a list would hold since 1.34).
const (
	bytesPerSeat   = 100_000
	mostFromCache  = 1_000_000 // a list from the cache is streamed
	mostListSeats  = 100
	mostWriteSeats = 10
	unknownSize    = 1_500_000
)

// List is a list, or a watch that begins with the state, as far as its cost goes.
type List struct {
	Watch bool
	// One: a name is selected.
	One bool

	ResourceVersion, Match, Continue string
	Limit                            int64
	Selects                          bool // by labels or fields
	SendInitialEvents                bool

	Objects int64 // that the kind has
	Size    int64 // of one, on the average, in bytes; 0 unknown
}

// ListWork estimates it. most is the level's bound of seats, 0 for none.
func ListWork(l *List, most int) Work {
	if most == 0 || most > mostListSeats {
		most = mostListSeats
	}
	if l.Watch && !l.SendInitialEvents && l.ResourceVersion != "" && l.ResourceVersion != "0" {
		return Work{Seats: 1}
	}
	size, n := l.Size, l.Objects
	if size <= 0 && n > 0 {
		size = unknownSize
	}
	limited := n
	if l.Limit > 0 && l.Limit < n {
		limited = l.Limit
	}
	cached := l.Watch || !l.fromStore()
	held := limited
	switch {
	case l.One:
		held = 1
	case !cached && l.Selects:
		held = max(limited, n/2)
	}
	bytes := held * size
	if cached {
		bytes = min(bytes, mostFromCache)
	}
	seats := int(math.Ceil(float64(bytes) / bytesPerSeat))
	return Work{Seats: min(max(seats, 1), most)}
}

// fromStore tells whether Kubernetes' cache would pass the list on to its store
// (storage/cacher/delegator, without snapshots as the estimate takes it). This
// server has all in its cache, but the client that pages pays for a page as there.
func (l *List) fromStore() bool {
	switch l.Match {
	case "Exact":
		return true
	case "NotOlderThan":
		return false
	case "":
		if l.Continue != "" {
			return true
		}
		return l.Limit > 0 && l.ResourceVersion != "" && l.ResourceVersion != "0"
	}
	return true
}

// Cost of telling watchers of a write. Kubernetes takes 5 ms of a seat for every
// ten of them; this server tells ten in half of one.
const (
	watchersPerSeat = 10
	tellTime        = 500 * time.Microsecond
)

// WriteWork estimates a write of which so many watchers are told afterwards
// (mutating_work_estimator). most is the level's bound of seats, 0 for none.
func WriteWork(watchers, most int) Work {
	if most == 0 || most > mostWriteSeats {
		most = mostWriteSeats
	}
	w := Work{Seats: 1}
	if watchers < watchersPerSeat {
		return w
	}
	seats := (watchers + watchersPerSeat - 1) / watchersPerSeat
	w.Final = min(seats, most)
	w.Extra = time.Duration(float64(seats) * float64(tellTime) / float64(w.Final))
	return w
}
