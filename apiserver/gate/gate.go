// Package gate lets requests in: it holds the priority levels of package flow under
// locks, with the clock, the waiting, the metrics and the objects that configure
// them. The API server asks Enter when it knows who asks for what, and calls Leave
// when the answer is out.
//
// FlowSchemas and PriorityLevelConfigurations come in by Apply, in step with the
// server's cache; Digest makes the new configuration of them. What the API has to
// be told in turn (the Dangling conditions, the objects that every cluster has) is
// decided in objects.go and written by the API server.
//
// Without priority and fairness, the number of requests is bounded as a whole
// (Limits).
package gate

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"skiff.dev/skiff/apiserver/flow"
	"skiff.dev/skiff/kinds"
)

// Gate is safe for concurrent use.
type Gate struct {
	total int
	epoch time.Time

	current atomic.Pointer[config]

	mu      sync.Mutex // of the configuration
	schemas map[string]*flowcontrolv1.FlowSchema
	configs map[string]*flowcontrolv1.PriorityLevelConfiguration
	levels  map[string]*level
	changed chan struct{}

	metrics *metrics
	Watches Watches
}

// config is what requests are sorted by.
type config struct{ schemas []*schema }

// schema is a FlowSchema with its level.
type schema struct {
	*flowcontrolv1.FlowSchema
	level  *level
	queues int // of the level; the rest of it too is as it was when this was made
	most   int // seats of one request
	exempt bool
	// uids are the answers' headers: the level's and the schema's uid.
	levelUID, schemaUID []string
	*series
}

// level is a priority level.
type level struct {
	name   string
	object *flowcontrolv1.PriorityLevelConfiguration
	exempt bool
	most   int // seats of one request; 0: any number
	share  flow.Share
	limits flow.Limits
	q      flow.Queuing

	mu    sync.Mutex
	state *flow.Level
	retry flow.Retry

	// Of the last borrowing.
	stats    flow.Stats
	smoothed float64
	target   float64
}

// New makes a gate that shares total seats out. It knows the mandatory objects
// alone until Digest.
func New(total int, m *Metrics) *Gate {
	g := &Gate{total: total, epoch: time.Now(), changed: make(chan struct{}, 1),
		schemas: map[string]*flowcontrolv1.FlowSchema{}, configs: map[string]*flowcontrolv1.PriorityLevelConfiguration{}, levels: map[string]*level{}}
	g.metrics = m.of(g)
	g.Digest()
	return g
}

func (g *Gate) now() time.Duration { return time.Since(g.epoch) }

// Apply takes a change of a FlowSchema or PriorityLevelConfiguration in. Changed
// tells when it is time to Digest.
func (g *Gate) Apply(ev kinds.Event) {
	obj := ev.New
	if obj == nil {
		obj = ev.Old
	}
	g.mu.Lock()
	switch o := obj.(type) {
	case *flowcontrolv1.FlowSchema:
		delete(g.schemas, o.Name)
		if ev.New != nil {
			g.schemas[o.Name] = o
		}
	case *flowcontrolv1.PriorityLevelConfiguration:
		delete(g.configs, o.Name)
		if ev.New != nil {
			g.configs[o.Name] = o
		}
	}
	g.mu.Unlock()
	select {
	case g.changed <- struct{}{}:
	default: // it has been told
	}
}

// Changed tells that objects have come in since the last Digest.
func (g *Gate) Changed() <-chan struct{} { return g.changed }

// Digest makes the configuration of the objects (apf_controller,
// lockAndDigestConfigObjects). A level that is no longer configured serves those
// who are in it to the end.
func (g *Gate) Digest() {
	g.mu.Lock()
	defer g.mu.Unlock()
	objects := map[string]*flowcontrolv1.PriorityLevelConfiguration{}
	for name, o := range g.configs {
		if sound(o) {
			objects[name] = o
		}
	}
	for _, o := range bootstrap.MandatoryPriorityLevelConfigurations {
		if objects[o.Name] == nil {
			objects[o.Name] = o
		}
	}
	for name, l := range g.levels {
		if objects[name] != nil {
			continue
		}
		l.mu.Lock()
		idle := l.state.Idle()
		l.mu.Unlock()
		if idle {
			delete(g.levels, name)
		} else {
			objects[name] = l.object
		}
	}
	g.levelsOf(objects)
	g.schemasOf()
	g.borrow(false)
}

// sound tells whether a level's object can be used; validation refuses others, but
// an older server may have stored one.
func sound(o *flowcontrolv1.PriorityLevelConfiguration) bool {
	exempt := o.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
	if exempt != (o.Spec.Exempt != nil) || exempt == (o.Spec.Limited != nil) || exempt != (o.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) {
		return false
	}
	if exempt {
		return true
	}
	r := &o.Spec.Limited.LimitResponse
	if (r.Type == flowcontrolv1.LimitResponseTypeReject) != (r.Queuing == nil) {
		return false
	}
	return r.Queuing == nil || r.Queuing.Queues > 0 && r.Queuing.HandSize > 0 && r.Queuing.HandSize <= r.Queuing.Queues
}

// levelsOf makes and changes levels; each gets its part of the seats.
func (g *Gate) levelsOf(objects map[string]*flowcontrolv1.PriorityLevelConfiguration) {
	names := make([]string, 0, len(objects))
	for name := range objects {
		names = append(names, name)
	}
	slices.Sort(names)
	shares := make([]flow.Share, len(names))
	for i, name := range names {
		shares[i] = shareOf(&objects[name].Spec)
	}
	limits := flow.Divide(g.total, shares)
	for i, name := range names {
		o := objects[name]
		l := g.levels[name]
		if l == nil {
			l = &level{name: name}
			g.levels[name] = l
		}
		l.mu.Lock()
		l.object, l.share, l.limits = o, shares[i], limits[i]
		l.exempt = o.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
		l.q, l.most = flow.Queuing{Unlimited: l.exempt}, 0
		if lim := o.Spec.Limited; lim != nil && lim.LimitResponse.Queuing != nil {
			c := lim.LimitResponse.Queuing
			l.q = flow.Queuing{Queues: int(c.Queues), Hand: int(c.HandSize), Length: int(c.QueueLengthLimit)}
			l.most = flow.MaxSeats(l.limits.Nominal, l.q.Hand)
		}
		if l.state == nil {
			l.state = flow.NewLevel(g.now(), l.q, l.limits.First())
		}
		l.mu.Unlock()
	}
}

func shareOf(s *flowcontrolv1.PriorityLevelConfigurationSpec) flow.Share {
	number := func(p *int32) int32 {
		if p == nil {
			return 0
		}
		return *p
	}
	if e := s.Exempt; e != nil {
		return flow.Share{Shares: number(e.NominalConcurrencyShares), Lendable: number(e.LendablePercent)}
	}
	l := s.Limited
	return flow.Share{Shares: number(l.NominalConcurrencyShares), Lendable: number(l.LendablePercent), Borrow: l.BorrowingLimitPercent}
}

// schemasOf sorts the schemas whose level exists.
func (g *Gate) schemasOf() {
	var list []*flowcontrolv1.FlowSchema
	for _, s := range g.schemas {
		if g.levels[s.Spec.PriorityLevelConfiguration.Name] != nil {
			list = append(list, s)
		}
	}
	flow.Sort(list)
	for _, m := range bootstrap.MandatoryFlowSchemas {
		if s := g.schemas[m.Name]; s != nil && slices.Contains(list, s) {
			continue
		}
		if m.Name == flowcontrolv1.FlowSchemaNameExempt {
			list = append([]*flowcontrolv1.FlowSchema{m}, list...)
		} else {
			list = append(list, m)
		}
	}
	c := &config{}
	for _, s := range list {
		l := g.levels[s.Spec.PriorityLevelConfiguration.Name]
		c.schemas = append(c.schemas, &schema{FlowSchema: s, level: l, queues: l.q.Queues, most: l.most, exempt: l.exempt,
			levelUID: []string{string(l.object.UID)}, schemaUID: []string{string(s.UID)}, series: g.metrics.series(l.name, s.Name)})
	}
	g.current.Store(c)
}

// BorrowEvery is how often levels borrow from each other.
const BorrowEvery = 10 * time.Second

// Borrow moves seats to the levels that need them. Call it every BorrowEvery.
func (g *Gate) Borrow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.borrow(true)
	g.reap()
}

func (g *Gate) borrow(observe bool) {
	now := g.now()
	var list []*level
	for _, l := range g.levels {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b *level) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	in := make([]flow.Borrower, len(list))
	for i, l := range list {
		l.mu.Lock()
		if observe {
			l.stats = l.state.Demand(now)
			l.smoothed = flow.Smooth(l.smoothed, l.stats)
		}
		in[i] = flow.Borrower{Limits: l.limits, Exempt: l.exempt, HighWatermark: l.stats.HighWatermark, Smoothed: l.smoothed}
		l.target = in[i].Target()
		l.mu.Unlock()
	}
	limits, fair := flow.Borrow(in)
	g.metrics.fair.Set(fair)
	for i, l := range list {
		l.mu.Lock()
		start(l.state.Configure(now, l.q, limits[i]))
		l.mu.Unlock()
	}
}

// reap forgets levels that nobody configures or uses any more.
func (g *Gate) reap() {
	for name, l := range g.levels {
		if g.configs[name] != nil || name == flowcontrolv1.PriorityLevelConfigurationNameExempt || name == flowcontrolv1.PriorityLevelConfigurationNameCatchAll {
			continue
		}
		l.mu.Lock()
		idle := l.state.Idle()
		l.mu.Unlock()
		if idle {
			select {
			case g.changed <- struct{}{}:
			default:
			}
		}
	}
}

// waiter is a queued request; ready is closed when it has its seats.
type waiter struct{ ready chan struct{} }

// start wakes the requests that have their seats now.
func start(tickets []*flow.Ticket) {
	for _, t := range tickets {
		close(t.Data.(*waiter).ready)
	}
}

// classify finds the schema of a request: the first that matches. Everybody is
// matched by the last, save those who are in no group at all.
func (c *config) classify(r *flow.Request) *schema {
	for _, s := range c.schemas {
		if flow.Matches(s.FlowSchema, r) {
			return s
		}
	}
	for _, s := range c.schemas {
		if s.Name == flowcontrolv1.FlowSchemaNameCatchAll {
			return s
		}
	}
	return c.schemas[len(c.schemas)-1]
}

// Pass is a request that has been classified, and that is in unless it was refused.
// The zero Pass is ready for Enter and must not be copied afterwards.
type Pass struct {
	g      *Gate
	schema *schema
	ticket flow.Ticket
	width  int
	begun  time.Duration
	watch  bool
	left   atomic.Bool
}

// Headers are the uids of what the request was sorted by, as values of the headers
// X-Kubernetes-Pf-Prioritylevel-Uid and X-Kubernetes-Pf-Flowschema-Uid. Nobody may
// change them.
func (p *Pass) Headers() (level, schema []string) { return p.schema.levelUID, p.schema.schemaUID }

// Names are those of the schema and the level.
func (p *Pass) Names() (schema, level string) { return p.schema.Name, p.schema.level.name }

// Estimator tells what a request is taken to cost. most bounds its seats (0: nothing
// does). watchers is how many watches a write is told to; negative: it is none.
type Estimator interface {
	Estimate(most int) (w flow.Work, watchers int)
}

// Enter waits until the request may be served, but not longer than wait. It returns
// 0 where it may: then Leave has to be called. Otherwise the request is refused, and
// the answer is how many seconds its client is to stay away.
func (g *Gate) Enter(ctx context.Context, p *Pass, r *flow.Request, e Estimator, wait time.Duration) (retry int64) {
	s := g.current.Load().classify(r)
	l := s.level
	p.g, p.schema, p.watch = g, s, r.Verb == "watch"
	work := flow.Work{Seats: 1}
	if !s.exempt {
		var watchers int
		if work, watchers = e.Estimate(s.most); watchers >= 0 {
			s.watchers.Observe(float64(watchers))
		}
	}
	var hash uint64
	if s.queues > 1 {
		hash = flow.Hash(s.Name, flow.Distinguisher(s.FlowSchema, r))
	}
	now := g.now()
	l.mu.Lock()
	verdict, started := l.state.Arrive(now, &p.ticket, work, hash)
	var w *waiter
	queued := 0
	if verdict == flow.Wait {
		w = &waiter{make(chan struct{})}
		p.ticket.Data = w
		queued = l.state.Counts().Waiting
	}
	start(started)
	l.mu.Unlock()
	p.width = max(work.Seats, work.Final)
	if !s.exempt {
		s.seats.Observe(float64(p.width))
	}
	p.begun = now
	if verdict == flow.Wait {
		s.queueLength.Observe(float64(queued))
		if !p.await(ctx, w, now, wait) {
			return p.refuse("time-out")
		}
		p.begun = g.now()
	}
	if reason := verdict.Reason(); reason != "" {
		return p.refuse(reason)
	}
	if !s.exempt {
		s.waitDone.Observe((p.begun - now).Seconds())
	}
	s.dispatched.Inc()
	s.running.Add(1)
	s.runningSeats.Add(int64(p.width))
	return 0
}

// await waits for the ticket's turn; false: it took too long.
func (p *Pass) await(ctx context.Context, w *waiter, since, wait time.Duration) bool {
	s := p.schema
	s.waiting.Add(1)
	s.waitingSeats.Add(int64(p.width))
	defer s.waiting.Add(-1)
	defer s.waitingSeats.Add(-int64(p.width))
	end := time.NewTimer(wait)
	defer end.Stop()
	select {
	case <-w.ready:
		return true
	case <-end.C:
	case <-ctx.Done():
	}
	l := s.level
	l.mu.Lock()
	gone, started := l.state.Cancel(p.g.now(), &p.ticket)
	start(started)
	l.mu.Unlock()
	if gone {
		s.waitGone.Observe((p.g.now() - since).Seconds())
	}
	return !gone
}

func (p *Pass) refuse(reason string) int64 {
	p.left.Store(true)
	p.schema.refused(reason).Inc()
	l := p.schema.level
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.retry.Refuse(int64(p.g.now() / time.Second))
}

// Leave gives the seats back; a watch leaves when its initial events are out. Only
// the first call counts, and none where Enter has not been called.
func (p *Pass) Leave() {
	if p.schema == nil || p.left.Swap(true) {
		return
	}
	s, l, now := p.schema, p.schema.level, p.g.now()
	l.mu.Lock()
	linger, started := l.state.Finish(now, &p.ticket)
	start(started)
	l.mu.Unlock()
	if linger > 0 {
		time.AfterFunc(linger, p.release)
	} else {
		s.runningSeats.Add(-int64(p.width))
	}
	s.running.Add(-1)
	if p.watch {
		s.executedWatch.Observe((now - p.begun).Seconds())
	} else {
		s.executed.Observe((now - p.begun).Seconds())
	}
}

func (p *Pass) release() {
	l := p.schema.level
	l.mu.Lock()
	start(l.state.Release(p.g.now(), &p.ticket))
	l.mu.Unlock()
	p.schema.runningSeats.Add(-int64(p.width))
}
