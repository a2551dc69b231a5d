// Package flow decides which requests wait for which: Kubernetes' priority and
// fairness. It sorts requests into flows and priority levels by FlowSchemas,
// divides the server's seats among the levels, and lets the flows of a level take
// turns by fair queuing over shuffle-sharded queues.
//
// Everything here is a pure decision. Time is an argument (a duration since some
// fixed moment that never goes back), nothing blocks, locks, or reads a clock:
// whoever has a Level calls it under a lock of its own. Package gate does that for
// requests.
//
// The model is that of Kubernetes (apiserver/pkg/util/flowcontrol/fairqueuing,
// KEP-1040): a request takes a number of seats while it is served, and may hold
// some a little longer. A level has a limit of seats. Each queue has a virtual
// time at which its next request would begin if all queues were served at once,
// each with the same share of seats; the queue whose first request would be
// finished soonest is served next.
package flow

import (
	"math"
	"time"
)

// serviceTime is what a request is taken to last where nothing is known of those
// before it. Kubernetes always guesses 3 ms; this server answers ten times faster, and
// learns from each queue's requests: otherwise a queue of slow ones is always taken for
// one of quick ones, and goes before others until it has been found out.
const serviceTime = 300 * time.Microsecond

// maxGuess bounds what is learned: one stalled client says little about the next.
const maxGuess = 5.0 // seconds

// Work is what a request is estimated to take.
type Work struct {
	Seats int // while it is served
	Final int // seats held after it
	Extra time.Duration
}

// width is how many seats are kept for a request as long as it holds any.
func (w Work) width() int { return max(w.Seats, w.Final) }

// total is the work in seat-seconds, with a guess in seconds at how long the request
// lasts.
func (w Work) total(guess float64) float64 {
	return float64(w.Seats)*guess + float64(w.Final)*w.Extra.Seconds()
}

// Queuing is how a level queues. No queues: what finds no seat is refused.
// Unlimited: nothing is ever refused or queued.
type Queuing struct {
	Queues, Hand, Length int
	Unlimited            bool
}

// Ticket is one request in a level. The zero Ticket is ready for Arrive; the level
// owns all but Data until Finish (or a release) or Cancel returned true.
type Ticket struct {
	Data any // the caller's

	work       Work
	queue      *queue
	prev, next *Ticket // in the queue
	arrived    float64 // virtual time of the arrival
	guess      float64 // seconds that it was taken to last when it came
	started    time.Duration
	running    bool
}

func (t *Ticket) total() float64 { return t.work.total(t.guess) }

// Running tells whether the request has been given its seats.
func (t *Ticket) Running() bool { return t.running }

// Work is what the ticket stands for: seats after the level's limit has been
// applied.
func (t *Ticket) Work() Work { return t.work }

type queue struct {
	index       int
	first, last *Ticket
	length      int
	waiting     float64 // seat-seconds of work of those that wait
	seats       int     // in use by requests from here
	running     int
	next        float64 // virtual time at which the next dispatched request begins

	serving float64 // seats of those that are served, without what is held afterwards
	since   float64 // sum over them of seats times the second in which they were to end

	guess float64 // seconds that the next request is taken to last
}

// over is the work of the requests that are served beyond what they were guessed to
// take. Kubernetes counts it when they finish; then a flow of slow requests goes on
// being served before those of others for as long as none of them finishes.
func (q *queue) over(now time.Duration) float64 {
	return max(0, q.serving*now.Seconds()-q.since)
}

// Level is the state of one priority level.
type Level struct {
	q      Queuing
	limit  int
	queues []*queue // may be more than q.Queues while some are drained

	r        float64 // virtual time
	now      time.Duration
	robin    int // index of the queue served last
	arrivals int

	active       int // queues that are not idle
	waiting      int // requests
	running      int
	seats        int // in use
	seatsWaiting int

	denied  int // times that the next request found too few seats
	demand  Integral
	started []*Ticket // of the call in progress
}

// NewLevel makes an idle level.
func NewLevel(now time.Duration, q Queuing, limit int) *Level {
	l := &Level{now: now, demand: Integral{last: now}}
	l.Configure(now, q, limit)
	return l
}

// Counts tell what a level is doing.
type Counts struct {
	Waiting, Running, Seats, SeatsWaiting, Limit, Queues int
	// Denied counts how often the next request found too few free seats.
	Denied int
	R      float64
}

// Counts returns them.
func (l *Level) Counts() Counts {
	return Counts{l.waiting, l.running, l.seats, l.seatsWaiting, l.limit, len(l.queues), l.denied, l.r}
}

// Idle tells that nothing waits or is served.
func (l *Level) Idle() bool { return l.waiting == 0 && l.running == 0 }

// Demand returns the demand for seats since the last call and begins anew.
func (l *Level) Demand(now time.Duration) Stats { return l.demand.Reset(now) }

// Configure changes queues and limit. It returns the tickets that may start now;
// the slice is good until the next call.
func (l *Level) Configure(now time.Duration, q Queuing, limit int) []*Ticket {
	l.begin(now)
	for i := len(l.queues); i < q.Queues; i++ {
		l.queues = append(l.queues, &queue{index: i, guess: serviceTime.Seconds()})
	}
	if q.Queues == 0 {
		q.Hand, q.Length = l.q.Hand, l.q.Length
	}
	l.q, l.limit = q, limit
	for i := len(l.queues) - 1; i >= 0; i-- {
		l.drop(l.queues[i])
	}
	return l.end()
}

// begin brings virtual time up to now: every call does so before it changes
// anything.
func (l *Level) begin(now time.Duration) {
	l.started = l.started[:0]
	if now > l.now {
		if l.active > 0 {
			l.r += float64(min(l.seats+l.seatsWaiting, l.limit)) / float64(l.active) * (now - l.now).Seconds()
		} else {
			l.r = 0 // nobody remembers the old one; small numbers are exact
		}
		l.now = now
	}
}

// end gives seats to whoever may have them.
func (l *Level) end() []*Ticket {
	for l.waiting > 0 && l.seats < l.limit && l.dispatch() {
	}
	l.demand.Set(l.now, float64(l.seats+l.seatsWaiting))
	return l.started
}

// Verdict is what Arrive decides.
type Verdict int

// Verdicts.
const (
	Run     Verdict = iota // the request has its seats
	Wait                   // it is queued: a later call returns its ticket, or Cancel it
	Full                   // its queue is full
	NoSeats                // there are no queues and too few seats
)

// Reason is the verdict in words of the metric of refusals.
func (v Verdict) Reason() string {
	switch v {
	case Full:
		return "queue-full"
	case NoSeats:
		return "concurrency-limit"
	}
	return ""
}

// Arrive decides about a new request. hash is that of its flow. Other tickets may
// start with it where it goes before none: they are returned, without t.
func (l *Level) Arrive(now time.Duration, t *Ticket, w Work, hash uint64) (Verdict, []*Ticket) {
	l.begin(now)
	w.Seats = max(w.Seats, 1)
	*t = Ticket{Data: t.Data, work: w, arrived: l.r}
	if l.q.Queues == 0 {
		if !l.fits(w.width()) {
			return NoSeats, nil
		}
		l.start(t)
		l.end()
		return Run, nil
	}
	q := l.choose(hash)
	if l.seats >= l.limit && q.length >= l.q.Length {
		return Full, nil
	}
	l.enqueue(q, t)
	l.bound(q)
	started := l.end()
	if !t.running {
		return Wait, started
	}
	for i, s := range started {
		if s == t {
			l.started = append(started[:i], started[i+1:]...)
			return Run, l.started
		}
	}
	return Run, started
}

// choose picks the queue of a flow: of its hand, the one with the least work
// waiting. Where the look begins changes with every arrival, so that no queue is
// preferred.
func (l *Level) choose(hash uint64) *queue {
	var dealt [maxHand]int
	hand := Deal(l.q.Queues, l.q.Hand, hash, dealt[:0])
	offset := l.arrivals % len(hand)
	l.arrivals++
	var best *queue
	for i := range hand {
		q := l.queues[hand[(offset+i)%len(hand)]]
		if best == nil || q.waiting < best.waiting {
			best = q
		}
	}
	return best
}

func (l *Level) enqueue(q *queue, t *Ticket) {
	if q.length == 0 && q.running == 0 {
		q.next = l.r
		l.active++
	}
	t.queue, t.prev, t.guess = q, q.last, q.guess
	if q.last == nil {
		q.first = t
	} else {
		q.last.next = t
	}
	q.last = t
	q.length++
	q.waiting += t.total()
	l.waiting++
	l.seatsWaiting += t.work.width()
}

// unlink takes a ticket out of its queue's waiting list.
func (l *Level) unlink(t *Ticket) {
	q := t.queue
	if t.prev == nil {
		q.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		q.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	q.length--
	if q.waiting -= t.total(); q.length == 0 {
		q.waiting = 0 // not what rounding left
	}
	l.waiting--
	l.seatsWaiting -= t.work.width()
}

// fits tells whether a request of so many seats may start. One that is wider than
// the level may when it is alone.
func (l *Level) fits(seats int) bool {
	switch {
	case l.q.Unlimited:
		return true
	case seats > l.limit:
		return l.running == 0
	}
	return l.seats+seats <= l.limit
}

func (l *Level) start(t *Ticket) {
	t.running, t.started = true, l.now
	l.running++
	l.seats += t.work.width()
	l.started = append(l.started, t)
}

// dispatch starts one waiting request; false: the one whose turn it is finds no
// room.
func (l *Level) dispatch() bool {
	q := l.turn()
	t := q.first
	if !l.fits(t.work.width()) {
		l.denied++
		return false
	}
	l.unlink(t)
	// More seats than the level has are held as fewer for longer: the same work.
	if t.work.Final > l.limit && l.limit > 0 {
		t.work.Extra = time.Duration(float64(t.work.Extra) * float64(t.work.Final) / float64(l.limit))
		t.work.Final = l.limit
	}
	l.robin = q.index
	l.start(t)
	q.seats += t.work.width()
	q.running++
	q.next += t.total()
	q.serving += float64(t.work.Seats)
	q.since += float64(t.work.Seats) * (l.now.Seconds() + t.guess)
	l.bound(q)
	return true
}

// turn is the queue whose first request would be finished soonest in virtual time;
// among equals the one that was served longest ago, round robin.
func (l *Level) turn() *queue {
	var best *queue
	soonest := math.Inf(1)
	n := len(l.queues)
	for i := 1; i <= n; i++ {
		q := l.queues[(l.robin+i)%n]
		if q.first == nil {
			continue
		}
		if end := q.next + q.over(l.now) + q.first.total(); end < soonest {
			best, soonest = q, end
		}
		if q.length == l.waiting {
			return q // nobody else waits
		}
	}
	return best
}

// bound keeps a queue that used less than its share from saving it up: no request
// begins before it arrived, in virtual time too.
func (l *Level) bound(q *queue) {
	if q.first != nil {
		q.next = max(q.next, q.first.arrived-q.over(l.now))
	}
}

// Finish ends the service of a running ticket. linger is how long its seats are
// still held: call Release then; 0: they are free already. The tickets that may
// start are returned.
func (l *Level) Finish(now time.Duration, t *Ticket) (linger time.Duration, started []*Ticket) {
	l.begin(now)
	l.running--
	if q := t.queue; q != nil {
		q.serving -= float64(t.work.Seats)
		q.since -= float64(t.work.Seats) * (t.started.Seconds() + t.guess)
		if q.running--; q.running == 0 {
			q.serving, q.since = 0, 0 // not what rounding left
		}
		// The guess at how long it would last is replaced by what it lasted.
		took := (now - t.started).Seconds()
		q.next -= float64(t.work.Seats) * (t.guess - took)
		q.guess += (min(took, maxGuess) - q.guess) / 8
		l.bound(q)
		if q.running == 0 && q.length == 0 {
			l.active--
		}
	}
	if t.work.Extra > 0 && t.work.Final > 0 {
		return t.work.Extra, l.end()
	}
	l.release(t)
	return 0, l.end()
}

// Release frees the seats that a finished ticket still held.
func (l *Level) Release(now time.Duration, t *Ticket) []*Ticket {
	l.begin(now)
	l.release(t)
	return l.end()
}

func (l *Level) release(t *Ticket) {
	l.seats -= t.work.width()
	if t.queue != nil {
		t.queue.seats -= t.work.width()
		l.drop(t.queue)
	}
}

// Cancel takes a waiting ticket out. It returns false where the ticket runs
// already: then it has to be finished.
func (l *Level) Cancel(now time.Duration, t *Ticket) (gone bool, started []*Ticket) {
	l.begin(now)
	if t.running {
		return false, l.end()
	}
	q := t.queue
	l.unlink(t)
	l.bound(q)
	if q.running == 0 && q.length == 0 {
		l.active--
		l.drop(q)
	}
	return true, l.end()
}

// drop removes a queue that is idle where there are more than wanted.
func (l *Level) drop(q *queue) {
	if len(l.queues) <= l.q.Queues || q.length > 0 || q.running > 0 || q.seats > 0 {
		return
	}
	l.queues = append(l.queues[:q.index], l.queues[q.index+1:]...)
	for i := q.index; i < len(l.queues); i++ {
		l.queues[i].index = i
	}
	if l.robin >= q.index {
		l.robin = max(l.robin-1, 0)
	}
}
