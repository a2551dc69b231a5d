package workload

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Options say how much load there is.
type Options struct {
	Clients  int           // at once, each with a connection of its own
	Count    int           // operations of a work, and objects in a list
	Duration time.Duration // how long a work lasts; 0: Count operations
}

// Figure is something measured. Budget is in the same unit, 0 for none; More tells
// whether a higher figure is the better one.
type Figure struct {
	What   string
	Value  float64
	Budget float64
	Unit   string
	More   bool
}

// Load is one server under load.
type Load struct {
	Server
	o       Options
	clients []kubernetes.Interface
	report  func(Figure)
	// space is the namespace of the load's objects, another one each time: a server
	// without controllers never finishes deleting one.
	space string
	pods  int // that are there
}

// Start connects the clients and makes the load's namespace. Stop takes it away.
func Start(ctx context.Context, s Server, o Options, report func(Figure)) (*Load, error) {
	if o.Clients < 1 || o.Count < 1 {
		return nil, fmt.Errorf("a load of %d clients and %d operations is none", o.Clients, o.Count)
	}
	l := &Load{Server: s, o: o, report: report, space: fmt.Sprintf("skiff-bench-%x", time.Now().UnixMilli())}
	for range o.Clients {
		c, err := Client(s.Kubeconfig, "")
		if err != nil {
			return nil, err
		}
		l.clients = append(l.clients, c)
	}
	if err := prepare(ctx, l.clients[0], l.space); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	return l, nil
}

// Clear deletes what the works have made, so that they can be done again.
func (l *Load) Clear(ctx context.Context) error {
	c := l.clients[0].CoreV1()
	if l.pods > 0 {
		if err := c.Pods(l.space).DeleteCollection(ctx, now, metav1.ListOptions{}); err != nil {
			return err
		}
		l.pods = 0
	}
	return c.ConfigMaps(l.space).DeleteCollection(ctx, now, metav1.ListOptions{})
}

// Stop deletes all that the load has made. A server without controllers keeps the
// empty namespace.
func (l *Load) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := l.Clear(ctx); err != nil {
		return err
	}
	return l.clients[0].CoreV1().Namespaces().Delete(ctx, l.space, metav1.DeleteOptions{})
}

var now = metav1.DeleteOptions{GracePeriodSeconds: new(int64)}

// work is a kind of load, by the name that chooses it.
type work struct {
	name string
	do   func(*Load, context.Context) error
}

var works = []work{
	{"one", (*Load).oneWriter},
	{"create", (*Load).create},
	{"get", (*Load).get},
	{"list", (*Load).list},
	{"label", (*Load).label},
	{"watch", (*Load).watch},
	{"apply", (*Load).apply},
	{"delete", (*Load).deleteAll},
}

// Works are the names of all works in the order in which they make sense.
func Works() []string {
	var names []string
	for _, w := range works {
		names = append(names, w.name)
	}
	return names
}

// ParseWorks reads names with commas between them; nothing means all.
func ParseWorks(s string) ([]string, error) {
	if s == "" {
		return Works(), nil
	}
	names := strings.Split(s, ",")
	for _, n := range names {
		if !slices.Contains(Works(), n) {
			return nil, fmt.Errorf("%q is no work; there are %s", n, strings.Join(Works(), ", "))
		}
	}
	return names, nil
}

// Run does one work.
func (l *Load) Run(ctx context.Context, name string) error {
	for _, w := range works {
		if w.name == name {
			if err := w.do(l, ctx); err != nil {
				return fmt.Errorf("%s: %s: %w", l.Name, name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("%q is no work", name)
}

type operation func(ctx context.Context, c kubernetes.Interface, i int) error

// measured is what a load took.
type measured struct {
	n     int
	took  time.Duration
	cpu   time.Duration
	times []time.Duration // of each operation, sorted
}

func (m *measured) quantile(q float64) time.Duration {
	return m.times[min(int(q*float64(len(m.times))), len(m.times)-1)]
}

// measure runs op over the clients, n times or as long as the options say, and
// reports the server's processor time and what the clients saw.
func (l *Load) measure(ctx context.Context, what string, n int, cpu, rate float64, op operation) (*measured, error) {
	before, err := CPUTime(l.PIDs)
	if err != nil {
		return nil, err
	}
	m, err := l.spread(ctx, n, l.o.Duration, op)
	if err != nil {
		return nil, err
	}
	after, err := CPUTime(l.PIDs)
	if err != nil {
		return nil, err
	}
	m.cpu = after - before
	if len(l.PIDs) > 0 {
		l.report(Figure{what + ", server CPU", MS(m.cpu) / float64(m.n), cpu, "ms", false})
	}
	l.report(Figure{what, float64(m.n) / m.took.Seconds(), rate, "/s", true})
	l.report(Figure{what + ", p50", MS(m.quantile(0.5)), 0, "ms", false})
	l.report(Figure{what + ", p99", MS(m.quantile(0.99)), 0, "ms", false})
	return m, nil
}

// spread runs op over the clients. A duration counts instead of n if it is given.
func (l *Load) spread(ctx context.Context, n int, d time.Duration, op operation) (*measured, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	more := func(i int) bool {
		if d > 0 {
			return time.Since(begin) < d
		}
		return i < n
	}
	var next atomic.Int64
	times := make([][]time.Duration, len(l.clients))
	var wg sync.WaitGroup
	for k, c := range l.clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; more(i) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := op(ctx, c, i); err != nil {
					cancel(err)
					return
				}
				times[k] = append(times[k], time.Since(start))
			}
		})
	}
	wg.Wait()
	m := &measured{took: time.Since(begin), times: slices.Concat(times...)}
	m.n = len(m.times)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	slices.Sort(m.times)
	return m, nil
}

// need makes pods until there are as many as the options say.
func (l *Load) need(ctx context.Context) error {
	if l.pods >= l.o.Count {
		return nil
	}
	first := l.pods
	m, err := l.spread(ctx, l.o.Count-first, 0, func(ctx context.Context, c kubernetes.Interface, i int) error {
		_, err := c.CoreV1().Pods(l.space).Create(ctx, Pod(first+i), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("make pods: %w", err)
	}
	l.pods += m.n
	return nil
}

// Medians is one figure of several rounds' each.
func Medians(rounds [][]Figure) []Figure {
	var out []Figure
	for i, f := range rounds[0] {
		var values []float64
		for _, r := range rounds {
			if i < len(r) && r[i].What == f.What {
				values = append(values, r[i].Value)
			}
		}
		slices.Sort(values)
		f.Value = values[len(values)/2]
		out = append(out, f)
	}
	return out
}
