// Command load puts a load on the API of any Kubernetes server and prints what an
// operation costs: processor time of the server's processes, from /proc, and what
// the clients see. Give the process ids of everything that the server is made of,
// its store included.
//
//	go run ./test/load --kubeconfig F --pids 1,2
//	go run ./test/load --kubeconfig F --pids 1,2 --work create,get --clients 64 --duration 10s
//	go run ./test/load --server skiff=F:1,2 --server kube=G:3,4
//
// With several servers each work meets one after the other, in the same run on the
// same machine, and the last columns say how many times better the first is.
// --rounds takes turns several times and prints medians.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"

	"skiff.dev/skiff/test/workload"
)

type options struct {
	workload.Options
	servers []workload.Server
	works   []string
	rounds  int
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		var stop context.CancelFunc
		var ctx context.Context
		ctx, stop = signal.NotifyContext(context.Background(), os.Interrupt)
		err = run(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	var one workload.Server
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	fs.StringVar(&one.Kubeconfig, "kubeconfig", "", "the server to load")
	fs.Func("pids", "process ids of that server, with commas", func(s string) (err error) {
		one.PIDs, err = workload.ParsePIDs(s)
		return err
	})
	fs.Func("server", "NAME=KUBECONFIG:PID,PID: one of several servers; repeat it", func(s string) error {
		srv, err := workload.ParseServer(s)
		o.servers = append(o.servers, srv)
		return err
	})
	works := fs.String("work", "", "works to do, with commas; nothing for all of them")
	fs.IntVar(&o.Clients, "clients", 64, "clients at once, each with its own connection")
	fs.IntVar(&o.Count, "count", 5000, "operations of a work, and objects in a list")
	fs.DurationVar(&o.Duration, "duration", 0, "how long a work lasts, instead of a number of operations")
	fs.IntVar(&o.rounds, "rounds", 1, "how often the works are done; medians are printed")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("%q is not understood", fs.Arg(0))
	}
	if one.Kubeconfig != "" {
		one.Name = "server"
		o.servers = append(o.servers, one)
	}
	if len(o.servers) == 0 || o.rounds < 1 {
		return nil, fmt.Errorf("give --kubeconfig or --server, and at least one round")
	}
	var err error
	o.works, err = workload.ParseWorks(*works)
	return o, err
}

// run does each work on each server in turns.
func run(ctx context.Context, o *options) (err error) {
	var loads []*workload.Load
	var names []string
	figures := make([][]workload.Figure, len(o.servers)) // of the work under way
	defer func() {
		for _, l := range loads {
			if stop := l.Stop(); stop != nil && err == nil {
				err = stop
			}
		}
	}()
	for i, s := range o.servers {
		l, err := workload.Start(ctx, s, o.Options, func(f workload.Figure) { figures[i] = append(figures[i], f) })
		if err != nil {
			return err
		}
		loads, names = append(loads, l), append(names, s.Name)
	}
	results := map[string][][][]workload.Figure{} // by work: round, server, figure
	for range o.rounds {
		for _, w := range o.works {
			for i, l := range loads {
				figures[i] = nil
				if err := l.Run(ctx, w); err != nil {
					return err
				}
			}
			results[w] = append(results[w], slices.Clone(figures))
		}
		for _, l := range loads {
			if err := l.Clear(ctx); err != nil {
				return err
			}
		}
	}
	return show(o, names, results)
}

func show(o *options, names []string, results map[string][][][]workload.Figure) error {
	table, beside := workload.Table{Out: os.Stdout}, workload.Beside{Out: os.Stdout}
	for _, w := range o.works {
		all := make([][]workload.Figure, len(names))
		for i := range names {
			var rounds [][]workload.Figure
			for _, r := range results[w] {
				rounds = append(rounds, r[i])
			}
			all[i] = workload.Medians(rounds)
		}
		if len(names) > 1 {
			if err := beside.Rows(names, all); err != nil {
				return err
			}
			continue
		}
		for _, f := range all[0] {
			table.Row(f)
		}
	}
	return nil
}
