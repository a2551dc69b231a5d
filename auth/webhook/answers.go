package webhook

import (
	"crypto/sha256"
	"time"

	"golang.org/x/sync/singleflight"

	"skiff.dev/skiff/auth/recent"
)

// answers remembers what a server said, each answer for its time, and lets questions
// that are the same wait for one answer.
type answers[V any] struct {
	now    func() time.Time
	known  *recent.Map[[sha256.Size]byte, answer[V]]
	flight singleflight.Group
}

type answer[V any] struct {
	value V
	until time.Time
}

// remembered is how many answers are kept.
const remembered = 4096

func newAnswers[V any](now func() time.Time) *answers[V] {
	if now == nil {
		now = time.Now
	}
	return &answers[V]{now: now, known: recent.New[[sha256.Size]byte, answer[V]](remembered)}
}

// get returns the answer to the question whose bytes key is, which ask finds with the
// time that it holds for; 0 is for this once.
func (a *answers[V]) get(key []byte, ask func() (V, time.Duration, error)) (V, error) {
	sum := sha256.Sum256(key)
	if k, ok := a.known.Get(sum); ok && a.now().Before(k.until) {
		return k.value, nil
	}
	v, err, _ := a.flight.Do(string(sum[:]), func() (any, error) {
		v, ttl, err := ask()
		if err == nil && ttl > 0 {
			a.known.Put(sum, answer[V]{v, a.now().Add(ttl)})
		}
		return v, err
	})
	out, _ := v.(V) // the zero value with an error
	return out, err
}
