package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

// attachFlags say whose output an attached `up` shows and when it ends.
type attachFlags struct {
	only, not                        []string
	deps, noPrefix, noColour, stamps bool
	abort, abortFailure              bool
	codeFrom                         string
}

func (f *attachFlags) flags(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.only, "attach", nil, "show the output of this service only")
	fs.StringArrayVar(&f.not, "no-attach", nil, "do not show the output of this service")
	fs.BoolVar(&f.deps, "attach-dependencies", false, "show the output of dependencies as well")
	fs.BoolVar(&f.noPrefix, "no-log-prefix", false, "no container name in front of lines")
	fs.BoolVar(&f.noColour, "no-color", false, "no colours")
	fs.BoolVar(&f.stamps, "timestamps", false, "time in front of lines")
	fs.BoolVar(&f.abort, "abort-on-container-exit", false, "stop all when one container ends")
	fs.BoolVar(&f.abortFailure, "abort-on-container-failure", false, "stop all when one container fails")
	fs.StringVar(&f.codeFrom, "exit-code-from", "", "end with the exit code of this service; implies --abort-on-container-exit")
}

// attachment shows the output of a project's containers while they run.
type attachment struct {
	act     *actor
	print   *printer
	flags   *attachFlags
	show    map[string]bool
	follows sync.WaitGroup
	running map[string]followed // by identifier: what is waited for
	code    int
	// ended is when the last run of a container ended: what it said until then is not
	// shown.
	ended map[string]string
	// seen are the containers whose start was told, awaited those that the plan
	// started and that ended before that: what is told of them is still to come.
	seen, awaited map[string]bool
}

// followed is a container whose output is shown; said is closed when all of it is.
type followed struct {
	label string
	said  chan struct{}
}

// upAttached carries out a plan, shows what the containers say and returns when
// all have ended. The first interrupt stops them, the second kills them.
func (a *app) upAttached(cmd *cobra.Command, act *actor, todo *plan.Plan, services []string, f *attachFlags) error {
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	s := streamsOf(cmd)
	if _, ok := act.p.Services[f.codeFrom]; f.codeFrom != "" && !ok {
		return fmt.Errorf("no such service: %s", f.codeFrom)
	}
	at := &attachment{
		seen: map[string]bool{}, awaited: map[string]bool{}, ended: map[string]string{},
		act: act, flags: f, show: attachable(act.p, services, f), running: map[string]followed{},
		print: newPrinter(s.out, s.err, a.colour(s, f.noColour), !f.noPrefix),
	}
	happens := act.d.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).Add("type", "container").Add("label", spec.LabelProject+"="+act.name)})
	if err := at.already(ctx); err != nil {
		return unreachable(err)
	}
	started := make(chan error, 1)
	go func() { started <- at.begin(ctx, todo, s) }()
	up := false
	for {
		select {
		case err := <-started:
			if err != nil {
				return err
			}
			up = true
			if err := at.catchUp(ctx, todo); err != nil {
				return err
			}
		case m := <-happens.Messages:
			stop, err := at.event(ctx, m)
			if err != nil {
				return err
			}
			if stop {
				fmt.Fprintln(s.err, "Aborting on container exit...")
				return at.abort(ctx, signals)
			}
		case err := <-happens.Err:
			return fmt.Errorf("events of the project: %w", errors.Join(err, ctx.Err()))
		case <-signals:
			fmt.Fprintln(s.err, "Gracefully Stopping... press Ctrl+C again to force")
			if err := at.abort(ctx, signals); err != nil && !errors.As(err, new(ExitCode)) {
				return err
			}
			return ExitCode(130)
		}
		if up && len(at.running)+len(at.awaited) == 0 && f.codeFrom == "" {
			at.follows.Wait()
			return nil
		}
	}
}

// begin carries out the plan. From the first start on the containers speak.
func (at *attachment) begin(ctx context.Context, todo *plan.Plan, s streams) error {
	making, starting := *todo, plan.Plan{Start: todo.Start, Finish: todo.Finish}
	making.Start, making.Finish = nil, nil
	if err := at.act.carryOut(ctx, &making); err != nil {
		return err
	}
	var names []string
	err := at.each(ctx, func(c container.Summary) {
		names = append(names, label(at.act.name, at.act.separator, nameOf(c)))
	})
	if err != nil {
		return err
	}
	slices.Sort(names)
	fmt.Fprintln(s.out, "Attaching to "+strings.Join(names, ", "))
	silent := *at.act
	silent.say = &progress{out: at.act.say.out, quiet: true}
	return silent.carryOut(ctx, &starting)
}

// already follows containers that run before anything is started: what they said
// before is not shown.
func (at *attachment) already(ctx context.Context) error {
	return at.each(ctx, func(c container.Summary) {
		if c.State == container.StateRunning {
			at.follow(ctx, c.ID, nameOf(c), client.ContainerLogsOptions{Follow: true, Tail: "0"})
			return
		}
		got, err := at.act.d.ContainerInspect(ctx, c.ID, client.ContainerInspectOptions{})
		if err == nil && got.Container.State != nil && got.Container.State.FinishedAt != never {
			at.ended[c.ID] = got.Container.State.FinishedAt
		}
	})
}

// never is the time of what has not happened.
const never = "0001-01-01T00:00:00Z"

// catchUp looks for what events have not told yet, once all is started.
func (at *attachment) catchUp(ctx context.Context, todo *plan.Plan) error {
	started := map[string]bool{}
	for _, w := range todo.Start {
		for _, a := range w.Do {
			started[a.Name] = true
		}
	}
	return at.each(ctx, func(c container.Summary) {
		_, followed := at.running[c.ID]
		switch {
		case followed || at.seen[c.ID]:
		case c.State == container.StateRunning || c.State == container.StateRestarting:
			at.follow(ctx, c.ID, nameOf(c), client.ContainerLogsOptions{Follow: true, Since: at.ended[c.ID]})
		case started[nameOf(c)]:
			at.awaited[c.ID] = true
		}
	})
}

func (at *attachment) each(ctx context.Context, do func(container.Summary)) error {
	list, err := listContainers(ctx, at.act.d, at.act.name, true)
	if err != nil {
		return err
	}
	for _, c := range list {
		if at.show[c.Labels[spec.LabelService]] && !oneOff(c) {
			at.print.expect(label(at.act.name, at.act.separator, nameOf(c)))
			do(c)
		}
	}
	return nil
}

func (at *attachment) follow(ctx context.Context, id, name string, o client.ContainerLogsOptions) {
	short := label(at.act.name, at.act.separator, name)
	said := make(chan struct{})
	at.running[id] = followed{short, said}
	at.print.expect(short)
	o.Timestamps = at.flags.stamps
	at.follows.Go(func() {
		defer close(said)
		if err := at.print.follow(ctx, at.act.d, id, short, o); err != nil {
			at.print.note(short, "logs: "+err.Error())
		}
	})
}

// event takes what happened to a container of the project. It tells whether all
// has to stop now.
func (at *attachment) event(ctx context.Context, m events.Message) (stop bool, err error) {
	service := m.Actor.Attributes[spec.LabelService]
	if m.Actor.Attributes[spec.LabelOneOff] == "True" {
		return false, nil
	}
	switch m.Action {
	case events.ActionStart:
		at.seen[m.Actor.ID] = true
		delete(at.awaited, m.Actor.ID)
		if _, ok := at.running[m.Actor.ID]; !ok && at.show[service] {
			at.follow(ctx, m.Actor.ID, m.Actor.Attributes["name"], client.ContainerLogsOptions{Follow: true, Since: at.ended[m.Actor.ID]})
		}
	case events.ActionDie:
		was, shown := at.running[m.Actor.ID]
		delete(at.running, m.Actor.ID)
		at.ended[m.Actor.ID] = fmt.Sprintf("%d.%09d", m.TimeNano/int64(time.Second), m.TimeNano%int64(time.Second))
		code, _ := strconv.Atoi(m.Actor.Attributes["exitCode"])
		tell := func() {
			if shown {
				<-was.said // the end of the container is the end of what it says
				at.print.note(was.label, fmt.Sprintf("exited with code %d", code))
			}
		}
		if service == at.flags.codeFrom {
			at.code = code
		}
		if at.ends(code) && !at.again(ctx, m.Actor.ID) {
			tell()
			if at.flags.codeFrom == "" {
				at.code = code
			}
			return true, nil
		}
		at.follows.Go(tell)
	}
	return false, nil
}

// ends tells whether all has to stop when a container ends with a code.
func (at *attachment) ends(code int) bool {
	return at.flags.codeFrom != "" || at.flags.abort || (at.flags.abortFailure && code != 0)
}

// again tells whether the engine starts a container again by its restart policy.
func (at *attachment) again(ctx context.Context, id string) bool {
	got, err := at.act.d.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	return err == nil && got.Container.State != nil && (got.Container.State.Restarting || got.Container.State.Running)
}

// abort stops the project; one more signal kills it.
func (at *attachment) abort(ctx context.Context, signals <-chan os.Signal) error {
	e, err := at.act.observe(ctx)
	if err != nil {
		return err
	}
	stopping := running(e)
	todo, err := plan.Each(at.act.p, stopping, plan.Stop, nil, true)
	if err != nil {
		return err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- at.act.carryOut(ctx, todo) }()
	select {
	case err = <-stopped:
	case <-signals:
		kill, planErr := plan.Each(at.act.p, stopping, killVerb, nil, true)
		if planErr != nil {
			return planErr
		}
		at.act.signal = "SIGKILL"
		err = at.act.carryOut(ctx, kill)
	}
	if err != nil {
		return err
	}
	at.follows.Wait()
	return exit(at.code, nil)
}

// running leaves only the containers that run.
func running(e plan.Exists) plan.Exists {
	var keep []plan.Container
	for _, c := range e.Containers {
		if c.State == "running" || c.State == "restarting" || c.State == "paused" {
			keep = append(keep, c)
		}
	}
	e.Containers = keep
	return e
}

// wanted is what `up --wait` waits for: that a service runs or is healthy, or that it
// has done its work where others wait for that.
func wanted(p *types.Project, service string) string {
	for _, s := range p.Services {
		if s.DependsOn[service].Condition == types.ServiceConditionCompletedSuccessfully {
			return types.ServiceConditionCompletedSuccessfully
		}
	}
	return runningOrHealthy
}

// waitAll waits until every service runs or is healthy.
func (a *actor) waitAll(ctx context.Context, p *types.Project, limit time.Duration) error {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	g, gctx := errgroup.WithContext(ctx)
	for name := range p.Services {
		g.Go(func() error { return a.holds(gctx, name, wanted(p, name)) })
	}
	err := g.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("application not healthy after " + limit.String())
	}
	return err
}
