package workload

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
)

func TestNumber(t *testing.T) {
	for f, want := range map[float64]string{0.07: "0.070", 12.34: "12.3", 7321.5: "7322"} {
		if got := number(f); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

func TestParseServer(t *testing.T) {
	for in, want := range map[string]Server{
		"a=/x/y.kubeconfig:1,22": {Name: "a", Kubeconfig: "/x/y.kubeconfig", PIDs: []int{1, 22}},
		"b=c:d:":                 {Name: "b", Kubeconfig: "c:d"},
	} {
		got, err := ParseServer(in)
		if err != nil || got.Name != want.Name || got.Kubeconfig != want.Kubeconfig || !slices.Equal(got.PIDs, want.PIDs) {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "a", "a=b", "=b:1", "a=b:x", "a=b:-1"} {
		if _, err := ParseServer(bad); err == nil {
			t.Errorf("%q gives no error", bad)
		}
	}
}

func TestParseWorks(t *testing.T) {
	if all, err := ParseWorks(""); err != nil || !slices.Equal(all, Works()) {
		t.Errorf("%v %v", all, err)
	}
	if _, err := ParseWorks("get,fly"); err == nil || !strings.Contains(err.Error(), `"fly"`) {
		t.Errorf("error %v", err)
	}
}

// TestSpread: each operation is done once, and the first error ends them all.
func TestSpread(t *testing.T) {
	l := &Load{clients: make([]kubernetes.Interface, 4)}
	seen := make([]bool, 100)
	m, err := l.spread(t.Context(), len(seen), 0, func(_ context.Context, _ kubernetes.Interface, i int) error {
		seen[i] = true
		return nil
	})
	if err != nil || m.n != len(seen) || len(m.times) != len(seen) || slices.Contains(seen, false) {
		t.Errorf("%+v %v %v", m, err, seen)
	}
	bad := errors.New("no")
	if _, err := l.spread(t.Context(), 1<<40, 0, func(context.Context, kubernetes.Interface, int) error { return bad }); err != bad {
		t.Errorf("error %v, want %v", err, bad)
	}
}

func TestQuantile(t *testing.T) {
	m := &measured{times: []time.Duration{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}
	if m.quantile(0.5) != 6 || m.quantile(0.99) != 10 || m.quantile(1) != 10 {
		t.Errorf("%v %v %v", m.quantile(0.5), m.quantile(0.99), m.quantile(1))
	}
}

func TestTables(t *testing.T) {
	var b strings.Builder
	(&Table{Out: &b}).Row(Figure{What: "x", Value: 3, Budget: 2, Unit: "ms"})
	if !strings.Contains(b.String(), "MISSED") {
		t.Errorf("no verdict in\n%s", b.String())
	}
	b.Reset()
	err := (&Beside{Out: &b}).Rows([]string{"a", "b"}, [][]Figure{
		{{What: "x", Value: 2, Unit: "ms"}, {What: "y", Value: 30, Unit: "/s", More: true}},
		{{What: "x", Value: 8, Unit: "ms"}, {What: "y", Value: 10, Unit: "/s", More: true}},
	})
	if err != nil || !strings.Contains(b.String(), "4.000\n") || !strings.Contains(b.String(), "3.000\n") {
		t.Errorf("%v\n%s", err, b.String())
	}
	if err := (&Beside{Out: &b}).Rows([]string{"a", "b"}, [][]Figure{{{What: "x"}}, {}}); err == nil {
		t.Error("a missing figure gives no error")
	}
}

func TestProc(t *testing.T) {
	me := []int{os.Getpid()}
	if _, err := CPUTime(me); err != nil {
		t.Error(err)
	}
	if rss, pss, err := Memory(me); err != nil || rss < 1<<20 || pss <= 0 || pss > rss {
		t.Errorf("%d %d %v", rss, pss, err)
	}
	if _, err := CPUTime([]int{1 << 30}); err == nil {
		t.Error("a process that is not there has processor time")
	}
}
