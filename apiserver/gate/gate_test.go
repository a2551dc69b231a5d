package gate

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver/flow"
	"skiff.dev/skiff/kinds"
)

type one struct{}

func (one) Estimate(int) (flow.Work, int) { return flow.Work{Seats: 1}, -1 }

func newGate(t testing.TB, total int, objects ...kinds.Object) *Gate {
	t.Helper()
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	g := New(total, m)
	for _, o := range objects {
		g.Apply(kinds.Event{New: o})
	}
	g.Digest()
	return g
}

func newLevel(name string, shares, queues, hand, length int32) *flowcontrolv1.PriorityLevelConfiguration {
	return &flowcontrolv1.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-" + "level"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: &shares, LendablePercent: ptr.To[int32](0), BorrowingLimitPercent: ptr.To[int32](0),
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeQueue, Queuing: &flowcontrolv1.QueuingConfiguration{Queues: queues, HandSize: hand, QueueLengthLimit: length}}}}}
}

func everybody(name, level string) *flowcontrolv1.FlowSchema {
	return &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "uid-schema"}, Spec: flowcontrolv1.FlowSchemaSpec{
		PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: level}, MatchingPrecedence: 500,
		DistinguisherMethod: &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
		Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "*"}}},
			ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}, ClusterScope: true, Namespaces: []string{"*"}}},
		}}}}
}

var get = flow.Request{User: "ann", Verb: "get", IsResource: true, Resource: "pods", Namespace: "x"}

func TestTurns(t *testing.T) {
	g := newGate(t, 1, newLevel("few", 100, 4, 1, 2), everybody("all", "few"))
	ctx := context.Background()
	var first Pass
	if retry := g.Enter(ctx, &first, &get, one{}, time.Hour); retry != 0 {
		t.Fatal("the first is refused")
	}
	if l, s := first.Headers(); l[0] != "uid-level" || s[0] != "uid-schema" {
		t.Error(l, s)
	}
	if schema, level := first.Names(); schema != "all" || level != "few" {
		t.Error(schema, level)
	}
	// The next waits, and its client goes.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	var second Pass
	if retry := g.Enter(gone, &second, &get, one{}, time.Hour); retry != 1 {
		t.Errorf("who went is told %d", retry)
	}
	second.Leave() // nothing happens
	// One waits too long: not at all.
	if retry := g.Enter(ctx, &Pass{}, &get, one{}, 0); retry != 1 {
		t.Errorf("who waited is told %d", retry)
	}
	done := make(chan int64)
	third := &Pass{}
	go func() { done <- g.Enter(ctx, third, &get, one{}, time.Hour) }()
	for g.waiting("few") == 0 {
		time.Sleep(0)
	}
	first.Leave()
	first.Leave() // counts once
	if retry := <-done; retry != 0 {
		t.Errorf("who waited for a seat is told %d", retry)
	}
	third.Leave()
	if n := g.counts("few"); n.Running != 0 || n.Seats != 0 {
		t.Errorf("%+v", n)
	}
}

func (g *Gate) counts(level string) flow.Counts {
	g.mu.Lock()
	l := g.levels[level]
	g.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.Counts()
}

func (g *Gate) waiting(level string) int { return g.counts(level).Waiting }

// TestLevelGoes holds that who is in a level that nobody configures any more is
// served, and that the level is forgotten after that.
func TestLevelGoes(t *testing.T) {
	l := newLevel("few", 100, 4, 1, 2)
	g := newGate(t, 10, l, everybody("all", "few"))
	var p Pass
	if g.Enter(context.Background(), &p, &get, one{}, time.Hour) != 0 {
		t.Fatal("refused")
	}
	if d := g.Statuses(); len(d) != 1 || d[0].Condition.Reason != "Found" {
		t.Errorf("%+v", d)
	}
	g.Apply(kinds.Event{Old: l})
	<-g.Changed()
	g.Digest()
	if g.levels["few"] == nil {
		t.Error("a level that is in use is gone")
	}
	d := g.Statuses()
	if len(d) != 1 || d[0].Condition.Status != flowcontrolv1.ConditionTrue || d[0].Condition.Reason != "NotFound" ||
		d[0].Condition.Message != `This FlowSchema references the PriorityLevelConfiguration object named "few" but there is no such object` {
		t.Errorf("%+v", d)
	}
	p.Leave()
	g.Borrow()
	<-g.Changed()
	g.Digest()
	if g.levels["few"] != nil {
		t.Error("a level that nobody configures stays")
	}
	var q Pass
	if g.Enter(context.Background(), &q, &get, one{}, time.Hour) != 0 {
		t.Fatal("refused")
	}
	defer q.Leave()
	if schema, level := q.Names(); schema != "catch-all" || level != "catch-all" {
		t.Error(schema, level)
	}
}

func TestBroken(t *testing.T) {
	broken := newLevel("few", 100, 4, 1, 2)
	broken.Spec.Limited = nil
	g := newGate(t, 10, broken, everybody("all", "few"))
	if g.levels["few"] != nil || g.Statuses()[0].Condition.Reason != "NotFound" {
		t.Error("a level without a limit is used")
	}
}

// TestMaintain decides what becomes of objects that people or older releases have
// touched.
func TestMaintain(t *testing.T) {
	suggested := bootstrap.SuggestedFlowSchemas[0]
	named := func(name string, generation int64, annotation string, spec flowcontrolv1.FlowSchemaSpec) *flowcontrolv1.FlowSchema {
		s := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: generation}, Spec: spec}
		if annotation != "" {
			s.Annotations = map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: annotation}
		}
		return s
	}
	other := suggested.Spec
	other.MatchingPrecedence = 4711
	change := func(o *flowcontrolv1.FlowSchema) *Change {
		for _, c := range Maintain(func(want kinds.Object) kinds.Object {
			if o != nil && want.GetName() == o.Name {
				if _, ok := want.(*flowcontrolv1.FlowSchema); ok {
					return o
				}
			}
			return nil
		}, []kinds.Object{o}) {
			if s, ok := c.Object.(*flowcontrolv1.FlowSchema); ok && s.Name == o.Name {
				return &c
			}
		}
		return nil
	}
	for name, c := range map[string]struct {
		have       *flowcontrolv1.FlowSchema
		changes    bool
		annotation string
		precedence int32
	}{
		"as it should be":         {named(suggested.Name, 1, "true", suggested.Spec), false, "", 0},
		"of an older release":     {named(suggested.Name, 1, "true", other), true, "true", suggested.Spec.MatchingPrecedence},
		"changed by somebody":     {named(suggested.Name, 2, "", other), true, "false", 4711},
		"untouched, no note":      {named(suggested.Name, 1, "", other), true, "true", suggested.Spec.MatchingPrecedence},
		"kept by somebody":        {named(suggested.Name, 2, "false", other), false, "", 0},
		"the mandatory are fixed": {named("catch-all", 5, "false", other), true, "true", 10000},
	} {
		got := change(c.have)
		if (got != nil) != c.changes {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		if got == nil {
			continue
		}
		s := got.Object.(*flowcontrolv1.FlowSchema)
		if got.Create || got.Delete || s.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] != c.annotation || s.Spec.MatchingPrecedence != c.precedence {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := change(named("left-over", 1, "true", other)); got == nil || !got.Delete {
		t.Errorf("an object that nobody suggests any more: %+v", got)
	}
	if got := change(named("mine", 1, "", other)); got != nil {
		t.Errorf("somebody's own: %+v", got)
	}
	created := Maintain(func(kinds.Object) kinds.Object { return nil }, nil)
	for _, c := range created {
		if !c.Create || c.Object.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey] != "true" {
			t.Errorf("%+v", c)
		}
	}
	if len(created) != 8+11 {
		t.Errorf("%d objects are made", len(created))
	}
}

func TestWatches(t *testing.T) {
	var w Watches
	all := w.Add(Watched{Resource: "pods"})
	w.Add(Watched{Resource: "pods", Namespace: "x"})
	w.Add(Watched{Resource: "pods", Namespace: "x", Name: "p"})
	w.Add(Watched{Resource: "pods", Namespace: "y"})
	k := Watched{Resource: "pods", Namespace: "x", Name: "p"}
	if n := w.Interested(k); n != 3 {
		t.Error(n)
	}
	all()
	if n := w.Interested(Watched{Resource: "pods", Namespace: "x"}); n != 1 {
		t.Error(n)
	}
}

func TestLimits(t *testing.T) {
	l := NewLimits(1, 0)
	leave, ok := l.Enter(false)
	if _, again := l.Enter(false); !ok || again {
		t.Error("one place is taken by two")
	}
	if _, ok := l.Enter(true); !ok {
		t.Error("writes are not bounded")
	}
	leave()
	if _, ok := l.Enter(false); !ok {
		t.Error("the place is not free again")
	}
}

func BenchmarkEnter(b *testing.B) {
	var objects []kinds.Object
	for _, o := range bootstrap.SuggestedPriorityLevelConfigurations {
		objects = append(objects, o)
	}
	for _, o := range bootstrap.SuggestedFlowSchemas {
		objects = append(objects, o)
	}
	g := newGate(b, 600, objects...)
	for name, r := range map[string]flow.Request{
		"exempt": {User: "admin", Groups: []string{"system:masters", "system:authenticated"}, Verb: "get", IsResource: true, Resource: "pods", Namespace: "x"},
		"user":   {User: "ann", Groups: []string{"system:authenticated"}, Verb: "get", IsResource: true, Resource: "pods", Namespace: "x"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var p Pass
				if g.Enter(context.Background(), &p, &r, one{}, time.Minute) != 0 {
					b.Fatal("refused")
				}
				p.Leave()
			}
		})
	}
}
