// Package event is the one place to which all areas of the Docker Engine API tell
// what happened, and from which /events reads: a bounded memory of the last events,
// and subscribers that are cut off when they do not keep up.
package event

import (
	"context"
	"sync"
	"time"

	"github.com/moby/moby/api/types/events"
)

const (
	// kept is how many events of the past a subscriber can ask for, as in Docker.
	kept = 256
	// lag is how many events a subscriber may be behind before it is cut off.
	lag = 1024
)

// Hub is safe for concurrent use; its zero value is ready.
type Hub struct {
	mu   sync.Mutex
	ring []events.Message // oldest first
	subs map[chan events.Message]func(*events.Message) bool
}

// Publish tells that action was done to the thing of the given kind and id.
// attributes are the caller's no more.
func (h *Hub) Publish(kind events.Type, action events.Action, id string, attributes map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if attributes == nil {
		attributes = map[string]string{}
	}
	m := events.Message{
		Type: kind, Action: action, Scope: "local", Time: now.Unix(), TimeNano: now.UnixNano(),
		Actor: events.Actor{ID: id, Attributes: attributes},
	}
	if len(h.ring) == kept {
		h.ring = append(h.ring[:0], h.ring[1:]...)
	}
	h.ring = append(h.ring, m)
	for ch, want := range h.subs {
		if !want(&m) {
			continue
		}
		select {
		case ch <- m:
		default:
			delete(h.subs, ch)
			close(ch)
		}
	}
}

// Subscribe returns what is remembered from since on, if that is not zero, and not
// after until, if that is not zero; and the events from now on until ctx ends, as
// far as want takes them. The channel is closed at the end, and when its reader is
// too far behind. until does not end it: that is the reader's timer.
func (h *Hub) Subscribe(ctx context.Context, since, until time.Time, want func(*events.Message) bool) ([]events.Message, <-chan events.Message) {
	ch := make(chan events.Message, lag)
	h.mu.Lock()
	defer h.mu.Unlock()
	var past []events.Message
	if !since.IsZero() {
		for i := range h.ring {
			at := time.Unix(0, h.ring[i].TimeNano)
			if !at.Before(since) && (until.IsZero() || !at.After(until)) && want(&h.ring[i]) {
				past = append(past, h.ring[i])
			}
		}
	}
	if h.subs == nil {
		h.subs = map[chan events.Message]func(*events.Message) bool{}
	}
	h.subs[ch] = want
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[ch]; ok {
			delete(h.subs, ch)
			close(ch)
		}
	})
	return past, ch
}

// Subscribers is how many there are.
func (h *Hub) Subscribers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}
