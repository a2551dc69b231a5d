package main

import (
	"fmt"
	"io"
)

// table prints figures as they come.
type table struct {
	out   io.Writer
	begun bool
}

// row prints one figure. budget is in the same unit, 0 for none; more tells
// whether a higher figure is the better one.
func (t *table) row(what string, figure, budget float64, unit string, more bool) {
	if !t.begun {
		fmt.Fprintf(t.out, "%-52s %12s %12s  %-8s\n", "what", "figure", "budget", "unit")
		t.begun = true
	}
	verdict, limit := "", ""
	if budget > 0 {
		limit = number(budget)
		verdict = "within"
		if (figure > budget) != more {
			verdict = "MISSED"
		}
	}
	fmt.Fprintf(t.out, "%-52s %12s %12s  %-8s %s\n", what, number(figure), limit, unit, verdict)
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
