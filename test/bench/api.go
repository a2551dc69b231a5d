package main

import (
	"context"
	"errors"

	"skiff.dev/skiff/test/workload"
)

// benchAPI measures the API alone: pods that nothing schedules.
func benchAPI(ctx context.Context, t *table, o *options, kubeconfig string, pids []int) (err error) {
	l, err := workload.Start(ctx, workload.Server{Name: "skiff", Kubeconfig: kubeconfig, PIDs: pids},
		workload.Options{Clients: o.clients, Count: o.n}, t.Row)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Stop()) }()
	for _, w := range workload.Works() {
		if err := l.Run(ctx, w); err != nil {
			return err
		}
	}
	return nil
}
