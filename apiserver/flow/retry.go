package flow

// maxRetry is the longest time that a refused client is told to stay away.
const maxRetry = 32

// Retry decides the Retry-After of a level's refusals: it doubles while many are
// refused and shrinks by a second while few are (dropped_requests_tracker). The
// zero Retry is ready.
type Retry struct {
	after   int64 // seconds; 0 means 1
	raised  int64 // when
	current second
	history []second
}

type second struct{ at, refused int64 }

// Refuse counts a refusal in the second at and returns its Retry-After in seconds.
func (r *Retry) Refuse(at int64) int64 {
	r.after = max(r.after, 1)
	if r.current.at == at {
		r.current.refused++
		return r.after
	}
	if r.current.refused > 0 {
		r.history = append(r.history, r.current)
	}
	keep := min(2*r.after, maxRetry)
	for len(r.history) > 0 && at-r.history[0].at > max(keep, r.after) {
		r.history = r.history[1:]
	}
	r.current = second{at, 1}
	var refused int64
	for _, s := range r.history {
		if at-s.at <= r.after {
			refused += s.refused
		}
	}
	switch {
	case at-r.raised >= r.after && refused >= 3*r.after:
		r.after, r.raised = min(2*r.after, maxRetry), at
	case refused < r.after && r.after > 1:
		r.after--
	}
	return r.after
}
