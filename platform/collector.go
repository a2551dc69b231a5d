package platform

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// collectorLook is how often the size of the heap is looked at.
const collectorLook = 10 * time.Second

// gcPercent is how much the heap may grow over what lives before it is collected:
// Go's default of 100 while that is little memory, half of it where a large cluster's
// objects live, which would else take twice their size.
func gcPercent(live uint64) int {
	if live > 768<<20 {
		return 50
	}
	return 100
}

// tuneCollector follows the size of the heap until ctx ends, unless the environment
// says how to collect.
func tuneCollector(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(collectorLook)
	defer tick.Stop()
	now := 100
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		metrics.Read(sample)
		if want := gcPercent(sample[0].Value.Uint64()); want != now {
			debug.SetGCPercent(want)
			now = want
		}
	}
}
