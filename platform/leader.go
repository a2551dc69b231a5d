package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Times of an election, as Kubernetes' components have them.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leading is what tells the API server whether to care for the store; nil where it
// is this process's alone.
func (p *process) leading() func() bool {
	if !p.shared {
		return nil
	}
	return p.leads.Load
}

// job is a part of which one server of a shared store has one.
type job struct {
	name string
	run  func(context.Context) error
}

// startJobs runs what one server of a shared store alone may run; on a store of one's
// own it just runs.
func (p *process) startJobs(client crclient.Client, jobs ...job) {
	if !p.shared {
		for _, j := range jobs {
			p.component(j.name, j.run)
		}
		return
	}
	e := election{
		lock: &leaseLock{client: client, name: "skiff", identity: p.cfg.NodeName + "_" + p.instance},
		log:  p.tel.Log, lease: leaseDuration, renew: renewDeadline, retry: retryPeriod,
	}
	p.component("leader", func(ctx context.Context) error {
		return e.lead(ctx, func(ctx context.Context) error {
			p.leads.Store(true)
			defer p.leads.Store(false)
			group, ctx := errgroup.WithContext(ctx)
			for _, j := range jobs {
				group.Go(func() error {
					err := j.run(ctx)
					if err == nil && ctx.Err() == nil {
						err = errors.New("ended by itself")
					}
					if err != nil {
						err = fmt.Errorf("%s: %w", j.name, err)
					}
					return err
				})
			}
			return group.Wait()
		})
	})
}

// election is for a lock that one of several processes has.
type election struct {
	lock resourcelock.Interface
	log  *slog.Logger
	// lease is how long others leave a lock alone that is not renewed, renew how long
	// its holder tries to, retry the pause between two attempts.
	lease, renew, retry time.Duration
}

// lead runs a function whenever and as long as the lock is this process's. It ends
// with ctx, when run has returned and the lock is given back, or with run's error.
func (e *election) lead(ctx context.Context, run func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := e.once(ctx, run); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (e *election) once(ctx context.Context, run func(context.Context) error) (failed error) {
	// The election outlives ctx until the work has ended: the lock may be another's
	// only then.
	elect, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var busy sync.Mutex // held while the work runs
	stop := context.AfterFunc(ctx, func() {
		busy.Lock()
		defer busy.Unlock()
		end()
	})
	defer stop()
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: e.lock, Name: e.lock.Describe(), ReleaseOnCancel: true,
		LeaseDuration: e.lease, RenewDeadline: e.renew, RetryPeriod: e.retry,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(led context.Context) {
				busy.Lock()
				defer busy.Unlock()
				work, cancel := context.WithCancel(ctx)
				defer cancel()
				defer context.AfterFunc(led, cancel)()
				if work.Err() != nil {
					return
				}
				e.log.Info("this server leads", "lock", e.lock.Describe())
				if err := run(work); err != nil && work.Err() == nil {
					failed = err
					end()
				}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(elect)
	busy.Lock() // the work of a lost lock ends before the next election
	defer busy.Unlock()
	return failed
}

// leaseLock is a lock by a Lease in kube-system, through the client of this process.
type leaseLock struct {
	client         crclient.Client
	name, identity string
	lease          *coordinationv1.Lease
}

func (l *leaseLock) Identity() string   { return l.identity }
func (l *leaseLock) Describe() string   { return metav1.NamespaceSystem + "/" + l.name }
func (l *leaseLock) RecordEvent(string) {}

// Get implements resourcelock.Interface.
func (l *leaseLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	lease := &coordinationv1.Lease{}
	if err := l.client.Get(ctx, crclient.ObjectKey{Namespace: metav1.NamespaceSystem, Name: l.name}, lease); err != nil {
		return nil, nil, err
	}
	l.lease = lease
	record := resourcelock.LeaseSpecToLeaderElectionRecord(&lease.Spec)
	raw, err := json.Marshal(*record)
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (l *leaseLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: l.name},
		Spec:       resourcelock.LeaderElectionRecordToLeaseSpec(&r),
	}
	if err := l.client.Create(ctx, lease); err != nil {
		return err
	}
	l.lease = lease
	return nil
}

// Update implements resourcelock.Interface.
func (l *leaseLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	if l.lease == nil {
		return fmt.Errorf("lease %s was not read", l.Describe())
	}
	lease := l.lease.DeepCopy()
	lease.Spec = resourcelock.LeaderElectionRecordToLeaseSpec(&r)
	if err := l.client.Update(ctx, lease); err != nil {
		return err
	}
	l.lease = lease
	return nil
}
