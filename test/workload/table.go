package workload

import (
	"fmt"
	"io"
)

// Table prints figures as they come.
type Table struct {
	Out   io.Writer
	begun bool
}

// Row prints one figure beside its budget.
func (t *Table) Row(f Figure) {
	if !t.begun {
		fmt.Fprintf(t.Out, "%-52s %12s %12s  %-8s\n", "what", "figure", "budget", "unit")
		t.begun = true
	}
	verdict, limit := "", ""
	if f.Budget > 0 {
		limit = number(f.Budget)
		verdict = "within"
		if (f.Value > f.Budget) != f.More {
			verdict = "MISSED"
		}
	}
	fmt.Fprintf(t.Out, "%-52s %12s %12s  %-8s %s\n", f.What, number(f.Value), limit, f.Unit, verdict)
}

// Beside prints figures of several servers beside each other, and how many times
// better the first server is than each other.
type Beside struct {
	Out   io.Writer
	begun bool
}

// Rows prints what each server gave for one work: the same figures in the same
// order.
func (t *Beside) Rows(names []string, figures [][]Figure) error {
	if !t.begun {
		fmt.Fprintf(t.Out, "%-52s", "what")
		for _, n := range names {
			fmt.Fprintf(t.Out, " %12s", n)
		}
		fmt.Fprintf(t.Out, "  %-5s", "unit")
		for range names[1:] {
			fmt.Fprintf(t.Out, " %8s", "times")
		}
		fmt.Fprintln(t.Out)
		t.begun = true
	}
	for i, f := range figures[0] {
		fmt.Fprintf(t.Out, "%-52s", f.What)
		for s := range figures {
			if i >= len(figures[s]) || figures[s][i].What != f.What {
				return fmt.Errorf("%s has no figure for: %s", names[s], f.What)
			}
			fmt.Fprintf(t.Out, " %12s", number(figures[s][i].Value))
		}
		fmt.Fprintf(t.Out, "  %-5s", f.Unit)
		for s := range figures[1:] {
			fmt.Fprintf(t.Out, " %8s", number(times(f, figures[s+1][i])))
		}
		fmt.Fprintln(t.Out)
	}
	return nil
}

// times says how many times better a is than b.
func times(a, b Figure) float64 {
	x, y := b.Value, a.Value
	if a.More {
		x, y = y, x
	}
	if y == 0 {
		return 0
	}
	return x / y
}

func number(f float64) string {
	switch {
	case f >= 1000:
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	default:
		return fmt.Sprintf("%.3f", f)
	}
}
