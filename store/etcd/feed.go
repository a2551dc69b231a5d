package etcd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"skiff.dev/skiff/store"
)

// Times of the watch.
const (
	// againAfter is the pause before a watch that ended is begun again.
	againAfter = 200 * time.Millisecond
	// progressEvery is how often progress is asked for that somebody waits for: etcd
	// does not answer while a watch is behind, and says nothing when it no longer is.
	progressEvery = 50 * time.Millisecond
)

// stream is a context whose watches and progress requests share one stream of
// their own.
func stream(ctx context.Context, name string) context.Context {
	return metadata.AppendToOutgoingContext(clientv3.WithRequireLeader(ctx), "skiff-watch", name)
}

const feedStream = "feed"

// feed follows the whole prefix and publishes it, until Close.
func (s *Store) feed() {
	for s.run.Err() == nil {
		err := s.followFrom(s.history.Revision() + 1)
		if s.run.Err() != nil {
			return
		}
		if errors.Is(err, store.ErrCompacted) {
			err = s.skipCompacted()
		}
		if err != nil {
			s.o.Logger.Warn("the watch of etcd ended and begins again", "error", err)
		}
		select {
		case <-time.After(againAfter):
		case <-s.run.Done():
		}
	}
}

// followFrom publishes what happens from a revision on until the watch ends.
func (s *Store) followFrom(from int64) error {
	ctx, cancel := context.WithCancel(stream(s.run, feedStream))
	defer cancel()
	for resp := range s.client.Watch(ctx, s.o.Prefix, clientv3.WithPrefix(), clientv3.WithRev(from)) {
		if err := watchError(&resp); err != nil {
			return err
		}
		s.publish(&resp)
	}
	return errors.New("the stream was closed")
}

func watchError(resp *clientv3.WatchResponse) error {
	if resp.CompactRevision != 0 {
		return store.ErrCompacted
	}
	if err := resp.Err(); err != nil {
		return classify("watch", err)
	}
	return nil
}

// publish makes an answer of the watch visible. Answers hold whole revisions. One
// with events may be the first part of what etcd already has: it reaches only as
// far as they do; one without says how far the watch is complete.
func (s *Store) publish(resp *clientv3.WatchResponse) {
	rev := resp.Header.Revision
	events := s.events(resp.Events)
	if len(events) > 0 {
		rev = events[len(events)-1].ModRevision
	} else if !resp.IsProgressNotify() {
		return
	}
	s.learn(rev)
	if rev > s.history.Revision() {
		s.history.Publish(rev, events)
		s.chase.moved()
	}
}

func (s *Store) events(evs []*clientv3.Event) []store.Event {
	out := make([]store.Event, 0, len(evs))
	for _, ev := range evs {
		e := store.Event{KV: s.kv(ev.Kv), Deleted: ev.Type == mvccpb.Event_DELETE}
		if e.Deleted {
			e.Value = nil
		}
		out = append(out, e)
	}
	return out
}

// skipCompacted goes on with the newest revision when what comes next has been
// compacted. Cursors find out by themselves whether they have lost something.
func (s *Store) skipCompacted() error {
	rev, err := s.ask(s.run)
	if err != nil {
		return err
	}
	s.history.Reset(rev)
	s.chase.moved()
	return nil
}

// chase asks for progress where somebody waits for a revision that may have no
// event below the prefix: another user of the same etcd made it.
type chase struct {
	want *atomic.Int64
	kick chan struct{} // want has grown
	move chan struct{} // the history has
}

func newChase() chase {
	return chase{want: &atomic.Int64{}, kick: make(chan struct{}, 1), move: make(chan struct{}, 1)}
}

func (c *chase) after(rev int64) {
	for {
		want := c.want.Load()
		if rev <= want || c.want.CompareAndSwap(want, rev) {
			break
		}
	}
	poke(c.kick)
}

func (c *chase) moved() { poke(c.move) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is poked already
	}
}

// pursue asks for progress as long as the history is behind what is wanted.
func (s *Store) pursue() {
	ctx := stream(s.run, feedStream)
	for {
		select {
		case <-s.chase.kick:
		case <-s.run.Done():
			return
		}
		for s.history.Revision() < s.chase.want.Load() {
			// An error means that there is no stream: its end is the feed's to tell.
			_ = s.client.RequestProgress(ctx)
			timer := time.NewTimer(progressEvery)
			select {
			case <-s.chase.move:
			case <-timer.C:
			case <-s.run.Done():
			}
			timer.Stop()
			if s.run.Err() != nil {
				return
			}
		}
	}
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, w store.Watch) (store.Watcher, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	known := s.known.Load()
	switch {
	case w.From <= 0:
		w.From = known + 1
	case w.From <= known:
		if err := s.kept(ctx, w.From); err != nil {
			return nil, err
		}
		w.From = max(w.From, store.FirstRevision+1)
	}
	c, err := s.history.Watch(ctx, w)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// kept fails with ErrCompacted if revision has been compacted.
func (s *Store) kept(ctx context.Context, revision int64) error {
	bounded, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	if _, err := s.client.Get(bounded, s.o.Prefix, clientv3.WithRev(revision), clientv3.WithCountOnly()); err != nil {
		return callError(ctx, "watch", err)
	}
	return nil
}

var replays atomic.Int64

// Replay implements store.Replayer, for watchers behind the newest events, by a
// watch of its own.
func (s *Store) Replay(ctx context.Context, start, end string, from, through int64, limit int) (store.Batch, error) {
	if err := s.enter(ctx); err != nil {
		return store.Batch{}, err
	}
	defer s.leave()
	own, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	watch := stream(own, "replay-"+strconv.FormatInt(replays.Add(1), 10))
	opts := []clientv3.OpOption{clientv3.WithRev(from)}
	if end != "" {
		opts = append(opts, clientv3.WithRange(s.end(end)))
	}
	answers := s.client.Watch(watch, s.key(start), opts...)
	ask := time.NewTicker(progressEvery)
	defer ask.Stop()
	b := store.Batch{}
	for {
		select {
		case resp, ok := <-answers:
			if err := watchError(&resp); err != nil {
				return store.Batch{}, err
			}
			if !ok {
				return store.Batch{}, callError(ctx, "replay", context.Cause(own))
			}
			if s.gather(&b, &resp, through, limit) {
				return b, nil
			}
		case <-ask.C:
			_ = s.client.RequestProgress(watch) // the channel tells of a lost stream
		case <-s.run.Done():
			return store.Batch{}, store.ErrClosed
		case <-own.Done():
			if ctx.Err() != nil {
				return store.Batch{}, ctx.Err()
			}
			return store.Batch{}, fmt.Errorf("store: etcd did not tell the events from revision %d on in %v", from, s.o.Timeout)
		}
	}
}

// gather adds an answer to b and tells whether that is enough: all events through
// a revision, or limit of them.
func (s *Store) gather(b *store.Batch, resp *clientv3.WatchResponse, through int64, limit int) bool {
	if len(resp.Events) == 0 {
		if resp.IsProgressNotify() && resp.Header.Revision >= through {
			b.Revision = through
			return true
		}
		return false
	}
	for _, e := range s.events(resp.Events) {
		if e.ModRevision > through {
			b.Revision = through
			return true
		}
		b.Events = append(b.Events, e)
		b.Revision = e.ModRevision
	}
	return b.Revision == through || len(b.Events) >= limit
}
