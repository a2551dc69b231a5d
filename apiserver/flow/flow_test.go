package flow

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/utils/ptr"
)

func TestDeal(t *testing.T) {
	for seed := range uint64(500) {
		hash := Hash("schema", fmt.Sprint(seed))
		hand := Deal(16, 5, hash, nil)
		if len(hand) != 5 || !slices.IsSorted(hand) || len(slices.Compact(slices.Clone(hand))) != 5 || hand[0] < 0 || hand[4] > 15 {
			t.Fatalf("hash %x deals %v", hash, hand)
		}
	}
	if got := Deal(3, 8, 12345, nil); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("a hand larger than the deck is %v", got)
	}
	// Each queue is dealt about as often as any other.
	var count [64]int
	const flows = 20000
	for i := range flows {
		for _, c := range Deal(64, 6, Hash("s", fmt.Sprint("user-", i)), nil) {
			count[c]++
		}
	}
	for c, n := range count {
		if want := flows * 6 / 64; n < want*8/10 || n > want*12/10 {
			t.Errorf("queue %d is dealt %d times of %d expected", c, n, want)
		}
	}
}

func TestDivide(t *testing.T) {
	got := Divide(600, []Share{{Shares: 0}, {Shares: 40, Lendable: 25}, {Shares: 100, Lendable: 90}, {Shares: 10, Borrow: ptr.To[int32](0)}})
	want := []Limits{{0, 0, 600}, {160, 120, 760}, {400, 40, 1000}, {40, 40, 40}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if n := got[2].First(); n != 220 {
		t.Errorf("a level begins with %d seats", n)
	}
	for _, c := range []struct{ nominal, hand, want int }{{245, 6, 37}, {49, 6, 8}, {5, 8, 1}, {0, 8, 1}} {
		if got := MaxSeats(c.nominal, c.hand); got != c.want {
			t.Errorf("%d seats, hand %d: at most %d, want %d", c.nominal, c.hand, got, c.want)
		}
	}
}

func TestBorrow(t *testing.T) {
	for name, c := range map[string]struct {
		in   []Borrower
		want []int
	}{
		"nothing is asked for": {
			[]Borrower{{Limits: Limits{100, 50, 400}}, {Limits: Limits{300, 300, 400}}}, []int{57, 343}},
		"one is busy, the other idle": {
			[]Borrower{{Limits: Limits{100, 50, 400}, HighWatermark: 500, Smoothed: 500}, {Limits: Limits{300, 30, 700}}}, []int{370, 30}},
		"both are busy": {
			[]Borrower{{Limits: Limits{100, 50, 400}, HighWatermark: 500, Smoothed: 500}, {Limits: Limits{300, 30, 700}, HighWatermark: 900, Smoothed: 900}}, []int{100, 300}},
		"what may not borrow does not": {
			[]Borrower{{Limits: Limits{100, 50, 100}, HighWatermark: 500, Smoothed: 500}, {Limits: Limits{300, 30, 700}}}, []int{100, 300}},
		"the exempt take nearly all": {
			[]Borrower{{Exempt: true, HighWatermark: 390}, {Limits: Limits{100, 20, 400}, HighWatermark: 99, Smoothed: 99}, {Limits: Limits{300, 30, 700}, HighWatermark: 3, Smoothed: 3}}, []int{390, 20, 30}},
		"the exempt take some": {
			[]Borrower{{Exempt: true, HighWatermark: 330}, {Limits: Limits{100, 20, 400}, HighWatermark: 60, Smoothed: 60}, {Limits: Limits{300, 30, 700}, HighWatermark: 30, Smoothed: 30}}, []int{330, 40, 30}},
	} {
		got, _ := Borrow(c.in)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestBorrowKeepsBounds holds for random levels what the rule promises.
func TestBorrowKeepsBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		var in []Borrower
		total := 0
		for range 1 + r.IntN(6) {
			n := r.IntN(200)
			l := Limits{n, n - r.IntN(n+1), n + r.IntN(300)}
			d := r.IntN(500)
			in = append(in, Borrower{Limits: l, HighWatermark: d, Smoothed: float64(d) * r.Float64()})
			total += n
		}
		got, _ := Borrow(in)
		sum := 0
		for i, n := range got {
			sum += n
			if n < in[i].Min || n > in[i].Max {
				t.Fatalf("level %d of %+v has %d", i, in, n)
			}
		}
		if sum > total+len(in) {
			t.Fatalf("%+v: %v is more than %d", in, got, total)
		}
	}
}

func TestDemand(t *testing.T) {
	var i Integral
	i.Set(0, 2)
	i.Set(time.Second, 4)
	s := i.Reset(2 * time.Second)
	if s.Average != 3 || s.Std != 1 || s.HighWatermark != 4 || s.Span != 2 {
		t.Errorf("%+v", s)
	}
	if s = i.Reset(3 * time.Second); s.Average != 4 || s.Std != 0 || s.HighWatermark != 4 {
		t.Errorf("%+v", s)
	}
	if got := Smooth(1, Stats{Span: 1, Average: 3, Std: 1}); got != 4 {
		t.Errorf("a demand that rises is %v", got)
	}
	if got := Smooth(100, Stats{Span: 1}); math.Abs(got-97.7) > 1e-9 {
		t.Errorf("a demand that falls is %v", got)
	}
	if got := Smooth(7, Stats{}); got != 7 {
		t.Errorf("without an observation it is %v", got)
	}
}

func TestListWork(t *testing.T) {
	big := List{Objects: 5000, Size: 2000}
	with := func(change func(*List)) List { l := big; change(&l); return l }
	for name, c := range map[string]struct {
		l    List
		most int
		want int
	}{
		"from the cache":                   {big, 0, 10},
		"the level's bound":                {big, 8, 8},
		"one name":                         {with(func(l *List) { l.One = true }), 0, 1},
		"a page of the newest":             {with(func(l *List) { l.Limit = 50 }), 0, 1},
		"the next page":                    {with(func(l *List) { l.Limit, l.Continue = 500, "x" }), 0, 10},
		"exact, all":                       {with(func(l *List) { l.ResourceVersion, l.Match = "9", "Exact" }), 0, 100},
		"exact, selected":                  {with(func(l *List) { l.ResourceVersion, l.Match, l.Selects, l.Limit = "9", "Exact", true, 10 }), 0, 50},
		"limit at a revision is exact":     {with(func(l *List) { l.ResourceVersion, l.Limit = "9", 500 }), 0, 10},
		"not older than":                   {with(func(l *List) { l.ResourceVersion, l.Match = "9", "NotOlderThan" }), 0, 10},
		"a rule that does not exist":       {with(func(l *List) { l.Match = "Maybe" }), 0, 100},
		"watch from a revision":            {with(func(l *List) { l.Watch, l.ResourceVersion = true, "9" }), 0, 1},
		"watch from the state":             {with(func(l *List) { l.Watch = true }), 0, 10},
		"watch with initial events":        {with(func(l *List) { l.Watch, l.ResourceVersion, l.SendInitialEvents = true, "9", true }), 0, 10},
		"nothing there":                    {List{}, 0, 1},
		"objects of an unknown size":       {List{Objects: 3}, 0, 10},
		"small ones":                       {List{Objects: 100, Size: 500}, 0, 1},
		"a label selector reads the cache": {with(func(l *List) { l.Selects = true }), 0, 10},
	} {
		if got := ListWork(&c.l, c.most); got.Seats != c.want || got.Final != 0 {
			t.Errorf("%s: %+v, want %d", name, got, c.want)
		}
	}
}

func TestWriteWork(t *testing.T) {
	for _, c := range []struct {
		watchers, most int
		want           Work
	}{
		{0, 0, Work{Seats: 1}},
		{9, 0, Work{Seats: 1}},
		{10, 0, Work{1, 1, tellTime}},
		{95, 0, Work{1, 10, tellTime}},
		{1000, 0, Work{1, 10, 10 * tellTime}},
		{1000, 2, Work{1, 2, 50 * tellTime}},
	} {
		if got := WriteWork(c.watchers, c.most); got != c.want {
			t.Errorf("%d watchers, at most %d seats: %+v, want %+v", c.watchers, c.most, got, c.want)
		}
	}
}

func TestRetry(t *testing.T) {
	var r Retry
	for _, c := range []struct{ at, times, want int64 }{
		{100, 10, 1}, {101, 10, 2}, {102, 10, 2}, {103, 10, 4}, {104, 2, 4}, {107, 1, 8}, {120, 1, 7}, {121, 1, 6}, {200, 1, 5},
	} {
		var got int64
		for range c.times {
			got = r.Refuse(c.at)
		}
		if got != c.want {
			t.Errorf("second %d: Retry-After %d, want %d", c.at, got, c.want)
		}
	}
	for at := range int64(1000) {
		for range 200 {
			if got := r.Refuse(1000 + at); got > maxRetry {
				t.Fatalf("Retry-After %d", got)
			}
		}
	}
	if len(r.history) > 2*maxRetry {
		t.Errorf("%d seconds are remembered", len(r.history))
	}
}

// TestBootstrapSchemas sorts requests by the schemas that every cluster has.
func TestBootstrapSchemas(t *testing.T) {
	schemas := slices.Concat(bootstrap.MandatoryFlowSchemas, bootstrap.SuggestedFlowSchemas)
	Sort(schemas)
	node := func(r Request) Request {
		r.User, r.Groups = "system:node:n", []string{"system:nodes", "system:authenticated"}
		return r
	}
	account := func(ns, name string, r Request) Request {
		r.User, r.Groups = "system:serviceaccount:"+ns+":"+name, []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"}
		return r
	}
	pods := Request{Verb: "list", IsResource: true, Resource: "pods", Namespace: "default"}
	for name, c := range map[string]struct {
		r              Request
		want, distinct string
	}{
		"a master":                {Request{User: "admin", Groups: []string{"system:masters", "system:authenticated"}, Verb: "list", IsResource: true, Resource: "pods"}, "exempt", ""},
		"a node's lease":          {node(Request{Verb: "update", IsResource: true, Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-node-lease"}), "system-node-high", "system:node:n"},
		"a node's status":         {node(Request{Verb: "patch", IsResource: true, Resource: "nodes", Sub: "status"}), "system-node-high", "system:node:n"},
		"a node's pods":           {node(Request{Verb: "list", IsResource: true, Resource: "pods"}), "system-nodes", "system:node:n"},
		"a user":                  {Request{User: "ann", Groups: []string{"system:authenticated"}, Verb: "list", IsResource: true, Resource: "pods", Namespace: "x"}, "global-default", "ann"},
		"nobody's probe":          {Request{User: "system:anonymous", Groups: []string{"system:unauthenticated"}, Verb: "get", Path: "/healthz"}, "probes", ""},
		"nobody's anything":       {Request{User: "system:anonymous", Groups: []string{"system:unauthenticated"}, Verb: "get", Path: "/apis"}, "global-default", "system:anonymous"},
		"nobody at all":           {Request{User: "x", Verb: "get", Path: "/apis"}, "", ""},
		"a pod":                   {account("default", "app", pods), "service-accounts", "system:serviceaccount:default:app"},
		"a controller of kube":    {account("kube-system", "job-controller", pods), "kube-system-service-accounts", "default"},
		"the controller manager":  {Request{User: "system:kube-controller-manager", Groups: []string{"system:authenticated"}, Verb: "list", IsResource: true, Resource: "pods", Namespace: "x"}, "kube-controller-manager", "x"},
		"its election":            {Request{User: "system:kube-controller-manager", Groups: []string{"system:authenticated"}, Verb: "update", IsResource: true, Group: "coordination.k8s.io", Resource: "leases", Namespace: "kube-system"}, "system-leader-election", "system:kube-controller-manager"},
		"an access review of ann": {Request{User: "ann", Groups: []string{"system:authenticated"}, Verb: "create", IsResource: true, Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}, "global-default", "ann"},
	} {
		got := ""
		var schema *flowcontrolv1.FlowSchema
		for _, s := range schemas {
			if Matches(s, &c.r) {
				got, schema = s.Name, s
				break
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if schema != nil && Distinguisher(schema, &c.r) != c.distinct {
			t.Errorf("%s: flow %q, want %q", name, Distinguisher(schema, &c.r), c.distinct)
		}
	}
}

func TestNonResourcePaths(t *testing.T) {
	rule := []flowcontrolv1.NonResourcePolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/apis/*"}}}
	for p, want := range map[string]bool{"/healthz": true, "/healthz/ping": true, "/healthzx": false, "/apis": false, "/apis/apps": true, "/api": false} {
		if got := path(rule, &Request{Verb: "get", Path: p}); got != want {
			t.Errorf("%s: %v", p, got)
		}
	}
}

// FuzzLevel does random things to a level and holds what must always be true.
func FuzzLevel(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 200, 100, 50, 7, 9, 255, 0, 0, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		now := time.Duration(0)
		q := Queuing{Queues: 8, Hand: 3, Length: 4}
		l := NewLevel(now, q, 5)
		var waiting, running, held []*Ticket
		take := func(list *[]*Ticket, n byte) *Ticket {
			i := int(n) % len(*list)
			tk := (*list)[i]
			*list = slices.Delete(*list, i, i+1)
			return tk
		}
		begin := func(started []*Ticket) {
			for _, s := range started {
				i := slices.Index(waiting, s)
				if i < 0 {
					t.Fatal("a ticket that does not wait starts")
				}
				waiting = slices.Delete(waiting, i, i+1)
				running = append(running, s)
			}
		}
		for i := 0; i+1 < len(steps); i += 2 {
			op, n := steps[i], steps[i+1]
			now += time.Duration(n) * time.Microsecond
			switch {
			case op < 110:
				tk := &Ticket{}
				v, started := l.Arrive(now, tk, Work{int(n%4) + 1, int(op % 7), time.Duration(op%3) * time.Millisecond}, Hash("s", fmt.Sprint(n%5)))
				begin(started)
				switch v {
				case Run:
					running = append(running, tk)
				case Wait:
					waiting = append(waiting, tk)
				}
			case op < 180 && len(running) > 0:
				tk := take(&running, n)
				linger, started := l.Finish(now, tk)
				if linger > 0 {
					held = append(held, tk)
				}
				begin(started)
			case op < 210 && len(held) > 0:
				begin(l.Release(now, take(&held, n)))
			case op < 235 && len(waiting) > 0:
				tk := take(&waiting, n)
				gone, started := l.Cancel(now, tk)
				if !gone {
					t.Fatal("a waiting ticket is told to run")
				}
				begin(started)
			case op >= 235:
				begin(l.Configure(now, Queuing{Queues: 1 + int(n%12), Hand: 3, Length: 4}, int(n%9)))
			}
			seats, wait := 0, 0
			for _, tk := range slices.Concat(running, held) {
				seats += tk.work.width()
			}
			for _, tk := range waiting {
				wait += tk.work.width()
			}
			if c := l.Counts(); c.Waiting != len(waiting) || c.Running != len(running) || c.Seats != seats || c.SeatsWaiting != wait {
				t.Fatalf("%+v; %d wait for %d seats, %d run on %d", c, len(waiting), wait, len(running), seats)
			}
		}
		// Nobody waits for ever: whoever finishes lets the next begin.
		begin(l.Configure(now, q, 5))
		for len(waiting)+len(running)+len(held) > 0 {
			now += time.Millisecond
			switch {
			case len(held) > 0:
				begin(l.Release(now, take(&held, 0)))
			case len(running) > 0:
				tk := take(&running, 0)
				linger, started := l.Finish(now, tk)
				if linger > 0 {
					held = append(held, tk)
				}
				begin(started)
			default:
				t.Fatalf("%d wait though nothing runs: %+v", len(waiting), l.Counts())
			}
		}
		if c := l.Counts(); !l.Idle() || c.Seats != 0 || c.SeatsWaiting != 0 {
			t.Fatalf("%+v at the end", c)
		}
	})
}

func BenchmarkUncontended(b *testing.B) {
	l := NewLevel(0, Queuing{Queues: 128, Hand: 6, Length: 50}, 100)
	b.ReportAllocs()
	var now time.Duration
	for b.Loop() {
		now += time.Microsecond
		var tk Ticket
		l.Arrive(now, &tk, Work{Seats: 1}, Hash("service-accounts", "system:serviceaccount:ns:app"))
		l.Finish(now+time.Microsecond, &tk)
	}
}

// TestQuickBesideSlow: a flow of wide, slow requests fills the level. The narrow
// requests of another flow, one at a time, hardly ever wait: only for a wide one
// whose turn it is and that has not enough room yet.
func TestQuickBesideSlow(t *testing.T) {
	const slow = 400 * time.Millisecond
	l := NewLevel(0, Queuing{Queues: 128, Hand: 6, Length: 50}, 64)
	type end struct {
		at time.Duration
		t  *Ticket
	}
	var running []end
	greedy, calm := Hash("s", "greedy"), Hash("s", "calm")
	now := time.Duration(0)
	var quick *Ticket
	var asked, worst time.Duration
	waits, long := 0, 0
	begin := func(ts ...*Ticket) {
		for _, x := range ts {
			if x == quick {
				worst = max(worst, now-asked)
				if now-asked > 50*time.Millisecond {
					long++
				}
				running = append(running, end{now + time.Millisecond, x})
				continue
			}
			// Each lasts a little longer than the one before it, as on a busy machine.
			running = append(running, end{now + slow + time.Duration(len(running))*7*time.Millisecond, x})
		}
	}
	arrive := func(x *Ticket, seats int, hash uint64) {
		v, started := l.Arrive(now, x, Work{Seats: seats}, hash)
		begin(append([]*Ticket(nil), started...)...)
		if v == Run {
			begin(x)
		}
	}
	for range 100 {
		arrive(&Ticket{}, 10, greedy)
	}
	for now < 60*time.Second {
		if quick == nil && now > 5*time.Second {
			quick, asked = &Ticket{}, now
			waits++
			arrive(quick, 1, calm)
		}
		slices.SortStableFunc(running, func(a, b end) int { return int(a.at - b.at) })
		next := running[0]
		running = running[1:]
		now = max(now, next.at)
		_, started := l.Finish(now, next.t)
		begin(append([]*Ticket(nil), started...)...)
		if next.t == quick {
			quick = nil
		} else {
			arrive(&Ticket{}, 10, greedy)
		}
	}
	if waits < 1000 || long*2000 > waits || worst > time.Second {
		t.Errorf("of %d quick requests %d waited for more than 50 ms, one %v", waits, long, worst)
	}
}
