package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/telemetry"
)

// run starts everything, tells that it is ready, and returns when it has stopped:
// by a signal, by `skiff down`, or because a part failed.
func run(ctx context.Context, c *Config, out io.Writer) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return &Fault{What: fmt.Sprintf("--log-level=%s is no level", c.LogLevel), Do: "give debug, info, warn or error"}
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	rep := newReporter(out)
	p := &process{
		cfg:      c,
		instance: c.Instance(),
		tel:      telemetry.New(os.Stderr, level),
		started:  time.Now(),
		stopping: make(chan localapi.StopRequest, 1),
		failed:   make(chan error, 1),
	}
	quietLibraries(p.tel)
	s := &stepper{tell: rep.step}
	starting, giveUp := context.WithCancel(ctx)
	p.giveUp = giveUp
	defer giveUp()
	if err := p.start(starting, s); err != nil {
		p.abandon(s)
		return silent{}
	}
	p.steps = s.done
	p.ready.Store(true)
	rep.ready()
	return p.serve(ctx, s)
}

// abandon takes back a start that failed. Containers of an earlier process that it
// had found run on, unless it was told to stop with them.
func (p *process) abandon(s *stepper) {
	p.cancelAll()
	stop := localapi.StopRequest{Containers: !p.adopted, Grace: time.Second}
	select {
	case r := <-p.stopping:
		if p.adopted {
			stop = r
		}
	default:
	}
	p.abandoned = true
	if stop.Containers && p.engine != nil {
		if err := p.stopContainers(stop.Grace); err != nil {
			p.tel.Log.Error("a start that failed cannot be taken back", "error", err)
		}
	}
	s.rollback()
}

// serve waits for a reason to stop and then takes the steps back.
func (p *process) serve(ctx context.Context, s *stepper) error {
	var containers localapi.StopRequest
	var cause error
	select {
	case <-ctx.Done():
		p.tel.Log.Info("stopping; containers go on running, the next start adopts them, skiff down stops them")
	case containers = <-p.stopping:
		p.tel.Log.Info("stopping with all containers")
	case cause = <-p.failed:
		p.tel.Log.Error("a part failed; stopping", "error", cause)
	}
	p.ready.Store(false)
	p.cancelAll()
	if containers.Containers {
		cause = errors.Join(cause, p.stopContainers(containers.Grace))
	}
	s.rollback()
	return cause
}

// component runs one part until the process ends. A part that returns before
// that has failed and ends the process.
func (p *process) component(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	part := &part{name: name, cancel: cancel, done: done}
	p.mu.Lock()
	p.parts = append(p.parts, part)
	p.mu.Unlock()
	go func() {
		defer close(done)
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		part.err.Store(&err)
		select {
		case p.failed <- fmt.Errorf("%s: %w", name, err):
		default: // another part's failure is stopping the process already
		}
	}()
}

// cancelAll ends the parts, the newest first, and waits for each.
func (p *process) cancelAll() {
	p.mu.Lock()
	parts := p.parts
	p.parts = nil
	p.mu.Unlock()
	for i := len(parts) - 1; i >= 0; i-- {
		parts[i].cancel()
		select {
		case <-parts[i].done:
		case <-time.After(10 * time.Second):
			p.tel.Log.Error("a part does not stop", "part", parts[i].name)
		}
	}
}

func (p *process) partStates() []localapi.Component {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []localapi.Component
	for _, part := range p.parts {
		c := localapi.Component{Name: part.name, State: "running"}
		if err := part.err.Load(); err != nil {
			c.State, c.Err = "failed", (*err).Error()
		}
		out = append(out, c)
	}
	return out
}
