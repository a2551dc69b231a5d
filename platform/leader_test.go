package platform

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// memLock is one lock that several identities see.
type memLock struct {
	mu     sync.Mutex
	record *resourcelock.LeaderElectionRecord
	broken bool
}

type lockView struct {
	*memLock
	identity string
}

func (l lockView) Identity() string   { return l.identity }
func (l lockView) Describe() string   { return "lock" }
func (l lockView) RecordEvent(string) {}

func (l lockView) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.record == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, "lock")
	}
	r := *l.record
	raw, err := json.Marshal(r)
	return &r, raw, err
}

func (l lockView) Create(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.Update(context.Background(), r)
}

func (l lockView) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken {
		return errors.New("broken")
	}
	l.record = &r
	return nil
}

func (l *memLock) holder() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record.HolderIdentity
}

func (l *memLock) breakIt(b bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = b
}

func electionOf(l *memLock, identity string) *election {
	return &election{lock: lockView{l, identity}, log: slog.New(slog.DiscardHandler), lease: 600 * time.Millisecond, renew: 400 * time.Millisecond, retry: 50 * time.Millisecond}
}

// TestOneLeads: of two servers one works; it gives the lock back only after its work
// has ended, and the other goes on at once.
func TestOneLeads(t *testing.T) {
	l := &memLock{}
	var mu sync.Mutex
	working := 0
	begun := make(chan string, 2)
	work := func(name string) func(context.Context) error {
		return func(ctx context.Context) error {
			mu.Lock()
			if working++; working != 1 {
				t.Error("two servers work")
			}
			mu.Unlock()
			begun <- name
			<-ctx.Done()
			if l.holder() != name {
				t.Errorf("the lock is %q's while %s works", l.holder(), name)
			}
			mu.Lock()
			working--
			mu.Unlock()
			return nil
		}
	}
	ctxs := map[string]context.CancelFunc{}
	done := map[string]chan error{}
	for _, name := range []string{"a", "b"} {
		ctx, cancel := context.WithCancel(context.Background())
		ctxs[name], done[name] = cancel, make(chan error, 1)
		go func() { done[name] <- electionOf(l, name).lead(ctx, work(name)) }()
	}
	first := <-begun
	ctxs[first]()
	if err := <-done[first]; err != nil {
		t.Fatal(err)
	}
	second := <-begun
	if second == first {
		t.Fatal("who has stopped leads again")
	}
	ctxs[second]()
	if err := <-done[second]; err != nil {
		t.Fatal(err)
	}
}

// TestLostLock: who cannot renew stops working, and works again when it has the lock
// again.
func TestLostLock(t *testing.T) {
	l := &memLock{}
	begun, ended := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- electionOf(l, "a").lead(ctx, func(ctx context.Context) error {
			begun <- struct{}{}
			<-ctx.Done()
			ended <- struct{}{}
			return nil
		})
	}()
	<-begun
	l.breakIt(true)
	<-ended
	l.breakIt(false)
	<-begun
	cancel()
	<-ended
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestWorkThatFails(t *testing.T) {
	want := errors.New("no good")
	err := electionOf(&memLock{}, "a").lead(context.Background(), func(context.Context) error { return want })
	if err != want {
		t.Errorf("error %v", err)
	}
}
