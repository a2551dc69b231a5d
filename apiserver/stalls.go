package apiserver

import (
	"net/http"
	"sync/atomic"
	"time"
)

// stallAfter is how long a client may leave a watch's events untaken, and at most
// twice that, before the watch ends. It can watch again from where it was.
const stallAfter = 30 * time.Second

// stalls ends a watch whose client does not take what is written. A write that waits
// for the client costs nobody else anything, but would hold its goroutine, and the
// events that it is about to write, as long as the client likes.
type stalls struct {
	turns atomic.Uint64 // odd while a write is under way
	timer atomic.Pointer[time.Timer]
}

func (s *stalls) begin() { s.turns.Add(1) }
func (s *stalls) end()   { s.turns.Add(1) }

// guard looks after the writes to w until stop is called.
func (s *stalls) guard(w http.ResponseWriter) (stop func()) {
	var ended atomic.Bool
	var look func(last uint64)
	look = func(last uint64) {
		now := s.turns.Load()
		if ended.Load() {
			return
		}
		if now%2 == 1 && now == last {
			// A connection that knows no deadlines keeps its client's pace.
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now())
			return
		}
		s.timer.Store(time.AfterFunc(stallAfter, func() { look(now) }))
	}
	s.timer.Store(time.AfterFunc(stallAfter, func() { look(0) }))
	return func() {
		ended.Store(true)
		s.timer.Load().Stop()
	}
}
