package apiserver

import (
	"testing"
	"time"
)

// TestJumps: after the clock was set, either way, nothing is judged by its age until
// as much time has passed; a clock that is slewed is not set.
func TestJumps(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var j jumps
	for i, step := range []struct {
		wall    time.Duration // on the clock, since at
		passed  time.Duration
		settled bool
	}{
		{0, 0, true},
		{5 * time.Minute, 5 * time.Minute, true},
		{10*time.Minute + 200*time.Millisecond, 10 * time.Minute, true},
		{24 * time.Hour, 15 * time.Minute, false}, // set forwards
		{24*time.Hour + 30*time.Minute, 45 * time.Minute, false},
		{25*time.Hour + 5*time.Minute, 75*time.Minute + 5*time.Minute, true},
		{time.Hour, 85 * time.Minute, false}, // and back
		{2*time.Hour - time.Minute, 144 * time.Minute, false},
		{2*time.Hour + time.Minute, 146 * time.Minute, true},
	} {
		if got := j.settled(at.Add(step.wall), step.passed, time.Hour); got != step.settled {
			t.Errorf("step %d: settled %v", i, got)
		}
	}
}
