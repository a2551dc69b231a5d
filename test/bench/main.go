// Command bench measures a whole Skiff from outside, as its users meet it, and
// prints each figure beside its budget: real processes, real containers, real
// clients over TLS. Server CPU is what /proc says the server's processes took
// around a load, divided by the operations, so it does not depend on the load
// program sharing the processors.
//
//	go run ./test/bench                          everything, on an instance of its own
//	go run ./test/bench -only api -n 2000        a part of it, shorter
//	go run ./test/bench -only scheduler          without an instance
//	go run ./test/bench -only docker             containers and images, by the docker client
//	go run ./test/bench -only crds               500 custom resource definitions
//	go run ./test/bench -only scale              150,000 pods on 5,000 nodes
//	go run ./test/bench -kubeconfig F -pids 1,2  the API part against any server
//
// The load of the API is package workload's; the command load puts it on any server,
// or on several in turns.
//
// Figures hold for the machine that they were taken on; compare ratios of one run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"skiff.dev/skiff/test/workload"
)

type options struct {
	program    string
	kubeconfig string
	pids       []int
	only       string
	docker     string
	work       string
	n          int
	clients    int
	pods       int
	nodes      int
	idle       time.Duration
}

func main() {
	var o options
	var pids string
	flag.StringVar(&o.program, "skiff", "bin/skiff", "the program to measure")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "measure this server's API instead of an instance of our own")
	flag.StringVar(&pids, "pids", "", "process ids of that server, for its CPU, with commas")
	flag.StringVar(&o.only, "only", "", "store, scheduler, start, pods, docker, api, crds or scale; nothing for all but crds and scale")
	flag.StringVar(&o.docker, "docker", "docker", "the docker client")
	flag.StringVar(&o.work, "work", "", "of docker: run, exec, idle, parallel, rebuild, copy or pull; nothing for all")
	flag.IntVar(&o.n, "n", 5000, "operations, and objects in a list")
	flag.IntVar(&o.clients, "clients", 64, "clients at once")
	flag.IntVar(&o.pods, "pods", 150000, "pods of scale")
	flag.IntVar(&o.nodes, "nodes", 5000, "nodes of scale")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long an idle instance, and one of scale, is watched")
	flag.Parse()
	var err error
	if o.pids, err = workload.ParsePIDs(pids); err != nil {
		fatal(fmt.Errorf("-pids: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, &o); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func run(ctx context.Context, o *options) error {
	t := &table{workload.Table{Out: os.Stdout}}
	if o.kubeconfig != "" {
		return benchAPI(ctx, t, o, o.kubeconfig, o.pids)
	}
	if o.only == "scale" {
		return benchScale(ctx, t, o)
	}
	want := func(part string) bool { return o.only == "" || o.only == part }
	if want("store") {
		if err := benchStore(ctx, t); err != nil {
			return err
		}
	}
	if want("scheduler") {
		if err := benchScheduler(ctx, t); err != nil {
			return err
		}
	}
	if !want("start") && !want("pods") && !want("docker") && !want("api") && o.only != "crds" {
		return nil
	}
	inst, err := startInstance(ctx, o.program, t)
	if err != nil {
		return err
	}
	defer inst.reset()
	if o.only == "crds" {
		return benchCRDs(ctx, t, inst, o.idle)
	}
	if want("start") {
		if err := inst.benchIdle(ctx, t, o.idle); err != nil {
			return err
		}
	}
	if want("pods") {
		if err := benchPods(ctx, t, inst); err != nil {
			return err
		}
	}
	if want("docker") {
		if err := benchDocker(ctx, t, o, inst); err != nil {
			return err
		}
	}
	if want("api") {
		return benchAPI(ctx, t, o, inst.kubeconfig(), inst.pids())
	}
	return nil
}
