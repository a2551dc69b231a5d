package apiserver

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a connection that takes nothing until its deadline.
type stuck struct {
	http.ResponseWriter
	ended chan struct{}
}

func (s *stuck) SetWriteDeadline(time.Time) error { close(s.ended); return nil }

func (s *stuck) Write([]byte) (int, error) {
	<-s.ended
	return 0, errors.New("deadline exceeded")
}

func TestStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stuck{ended: make(chan struct{})}
		var s stalls
		stop := s.guard(w)
		// A slow client is no stalled one: each write ends some time.
		for range 20 {
			s.begin()
			time.Sleep(stallAfter - time.Second)
			s.end()
		}
		// Nor is one that is not written to.
		time.Sleep(time.Hour)
		begin := time.Now()
		s.begin()
		if _, err := w.Write(nil); err == nil {
			t.Error("no error")
		}
		s.end()
		if took := time.Since(begin); took < stallAfter || took > 2*stallAfter {
			t.Errorf("a stalled client was ended after %v", took)
		}
		stop()
		time.Sleep(time.Hour) // whatever is left would close twice
	})
}
