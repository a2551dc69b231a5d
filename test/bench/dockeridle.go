package main

import (
	"context"
	"errors"
	"time"

	"skiff.dev/skiff/test/workload"
)

// idle is what 100 containers that do nothing cost in the engine's own processes. It
// comes before what leaves a large heap behind.
func (b *dockerBench) idle(ctx context.Context) error {
	const n = 100
	for _, e := range b.engines {
		pids, err := e.pids()
		if err != nil {
			return err
		}
		rss, pss, err := workload.Memory(pids)
		if err != nil {
			return err
		}
		err = e.startMany(ctx, n, 8)
		if err == nil {
			err = wait(ctx, 5*time.Second)
		}
		if err == nil {
			pids, err = e.pids()
		}
		if err == nil {
			var rssAfter, pssAfter int64
			if rssAfter, pssAfter, err = workload.Memory(pids); err == nil {
				b.row(e, "memory for 100 idle containers beyond them, RSS", float64(rssAfter-rss)/1e6, 100, "MB", false)
				b.row(e, "memory for 100 idle containers beyond them, PSS", float64(pssAfter-pss)/1e6, 0, "MB", false)
			}
		}
		if err := errors.Join(err, e.removeAll(ctx)); err != nil {
			return err
		}
	}
	return nil
}
