package apiserver

import "time"

// jumps notices when the machine's clock is set: then the wall clock moves otherwise
// than time passes. What is judged by the age that a timestamp gives has to wait until
// nothing that was written by the other clock can be meant.
type jumps struct {
	wall    time.Time     // at the last look
	passed  time.Duration // since some beginning, at the last look
	restful time.Duration // when what was written before the last jump has come of age
	begun   bool
}

// jump is by how much the wall clock may differ between two looks without having been
// set: what keeps clocks in step slews them by 0.05 % at most.
const jump = 30 * time.Second

// settled takes a look, and tells whether an age of at least ttl can be believed:
// the clock has not been set for as long.
func (j *jumps) settled(wall time.Time, passed, ttl time.Duration) bool {
	if j.begun {
		if off := wall.Round(0).Sub(j.wall) - (passed - j.passed); off > jump || off < -jump {
			j.restful = passed + ttl
		}
	}
	j.begun, j.wall, j.passed = true, wall.Round(0), passed
	return passed >= j.restful
}
