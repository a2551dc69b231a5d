package etcd

import (
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"skiff.dev/skiff/store"
)

// latest shares reads of the newest revision: who asks while one is under way
// waits for the next, which begins after the question, together with all others
// that wait.
type latest struct {
	ask func(context.Context) (int64, error)

	mu      sync.Mutex
	next    *round // gathers who waits; nil: nobody
	running bool
}

type round struct {
	done chan struct{}
	rev  int64
	err  error
}

// get returns the newest revision as of some moment after the call.
func (l *latest) get(ctx, run context.Context) (int64, error) {
	l.mu.Lock()
	if l.next == nil {
		l.next = &round{done: make(chan struct{})}
	}
	r := l.next
	if !l.running {
		l.running = true
		go l.rounds(run)
	}
	l.mu.Unlock()
	select {
	case <-r.done:
		return r.rev, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// rounds asks until nobody waits.
func (l *latest) rounds(run context.Context) {
	for {
		l.mu.Lock()
		r := l.next
		l.next = nil
		if r == nil {
			l.running = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		r.rev, r.err = l.ask(run)
		close(r.done)
	}
}

// ask reads the newest revision, linearizably.
func (s *Store) ask(ctx context.Context) (int64, error) {
	bounded, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	resp, err := s.client.Get(bounded, s.o.Prefix, clientv3.WithCountOnly())
	if err != nil {
		if s.run.Err() != nil {
			return 0, store.ErrClosed
		}
		return 0, fmt.Errorf("ask for the newest revision: %w", callError(ctx, "get", err))
	}
	s.learn(resp.Header.Revision)
	return resp.Header.Revision, nil
}

// Latest implements store.Shared. Calls at one time share one request. The watches
// of this process are brought up to the revision without further asking.
func (s *Store) Latest(ctx context.Context) (int64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	rev, err := s.latest.get(ctx, s.run)
	if err != nil {
		return 0, err
	}
	if rev > s.history.Revision() {
		s.chase.after(rev)
	}
	return rev, nil
}
