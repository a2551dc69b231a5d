package main

import "skiff.dev/skiff/test/workload"

type table struct{ workload.Table }

// row prints one figure. budget is in the same unit, 0 for none; more tells
// whether a higher figure is the better one.
func (t *table) row(what string, figure, budget float64, unit string, more bool) {
	t.Row(workload.Figure{What: what, Value: figure, Budget: budget, Unit: unit, More: more})
}
