package engine

import (
	"context"
	"sync"
)

// hubBuffer is how many events a reader may lag behind before it loses some.
const hubBuffer = 256

// Hub hands events to every reader of Events. Its zero value is ready. Publish
// never blocks: a reader that lags loses events and is told by one EventLost.
type Hub struct {
	mu   sync.Mutex
	subs map[*subscriber]struct{}
}

type subscriber struct {
	ch   chan Event
	lost bool
}

// Publish hands e to all readers.
func (h *Hub) Publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		// One slot is kept for the notice of a loss.
		if len(s.ch) < hubBuffer-1 {
			s.lost = false
			s.ch <- e
			continue
		}
		if !s.lost {
			s.lost = true
			s.ch <- Event{Type: EventLost, Time: e.Time}
		}
	}
}

// Subscribe returns a channel of the events from now on. It is closed when ctx
// ends.
func (h *Hub) Subscribe(ctx context.Context) <-chan Event {
	s := &subscriber{ch: make(chan Event, hubBuffer)}
	h.mu.Lock()
	if h.subs == nil {
		h.subs = map[*subscriber]struct{}{}
	}
	h.subs[s] = struct{}{}
	h.mu.Unlock()
	context.AfterFunc(ctx, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, s)
		close(s.ch)
	})
	return s.ch
}
