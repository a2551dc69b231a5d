package compose

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

// wait returns when what a work waits for holds.
func (a *actor) wait(ctx context.Context, w plan.Work) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, wait := range w.Waits {
		if wait.Condition == types.ServiceConditionStarted {
			continue // the order of works sees to that
		}
		g.Go(func() error {
			err := a.holds(ctx, wait.Service, wait.Condition)
			if err != nil && !wait.Required && ctx.Err() == nil {
				a.say.warn(fmt.Sprintf("optional dependency %q failed to start: %v", wait.Service, err))
				return nil
			}
			if err != nil {
				return fmt.Errorf("dependency failed to start: %w", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// holds waits until a condition holds for each container of a service.
func (a *actor) holds(ctx context.Context, service, condition string) error {
	list, err := listContainers(ctx, a.d, a.name, true)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range list {
		if c.Labels[spec.LabelService] != service || oneOff(c) {
			continue
		}
		id, name := c.ID, nameOf(c)
		g.Go(func() error {
			switch condition {
			case types.ServiceConditionHealthy:
				a.say.say("Container", name, "Waiting")
				if err := healthy(ctx, a.d, id, name, false); err != nil {
					a.say.say("Container", name, "Error")
					return err
				}
				a.say.say("Container", name, "Healthy")
			case types.ServiceConditionCompletedSuccessfully:
				a.say.say("Container", name, "Waiting")
				code, err := exited(ctx, a.d, id)
				if err != nil {
					return err
				}
				if code != 0 {
					a.say.say("Container", name, "Error")
					return fmt.Errorf("service %q didn't complete successfully: exit %d", service, code)
				}
				a.say.say("Container", name, "Exited")
			case runningOrHealthy:
				if err := healthy(ctx, a.d, id, name, true); err != nil {
					return err
				}
				a.say.say("Container", name, "Healthy")
			default:
				return fmt.Errorf("unsupported condition %q", condition)
			}
			return nil
		})
	}
	return g.Wait()
}

// runningOrHealthy is what `up --wait` waits for: healthy where there is a check,
// running otherwise.
const runningOrHealthy = "running_or_healthy"

// watcher is what healthy needs of an engine.
type watcher interface {
	ContainerInspect(context.Context, string, client.ContainerInspectOptions) (client.ContainerInspectResult, error)
	Events(context.Context, client.EventsListOptions) client.EventsResult
}

// healthy waits until a container is healthy, looking at it again with each of its
// events. It fails when the container is unhealthy or ends; one without a check
// fails too, unless running is enough.
func healthy(ctx context.Context, d watcher, id, name string, running bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := d.Events(ctx, client.EventsListOptions{Filters: make(client.Filters).Add("container", id).Add("type", "container")})
	for {
		got, err := d.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return err
		}
		state := got.Container.State
		switch {
		case state == nil:
			return fmt.Errorf("container %s has no state", name)
		case state.Status == container.StateExited || state.Status == container.StateDead:
			return fmt.Errorf("container %s exited (%d)", name, state.ExitCode)
		case state.Health == nil || state.Health.Status == container.NoHealthcheck || state.Health.Status == "":
			if !running {
				return fmt.Errorf("container %s has no healthcheck configured", name)
			}
			if state.Status == container.StateRunning {
				return nil
			}
		case state.Health.Status == container.Healthy:
			return nil
		case state.Health.Status == container.Unhealthy:
			return fmt.Errorf("container %s is unhealthy", name)
		}
		select {
		case <-events.Messages:
		case err := <-events.Err:
			if err != nil {
				return fmt.Errorf("events of container %s: %w", name, err)
			}
			return fmt.Errorf("events of container %s ended", name)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// exited waits for the end of a container, or tells how it ended before.
func exited(ctx context.Context, d containers, id string) (int, error) {
	wait := d.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case r := <-wait.Result:
		if r.Error != nil {
			return 0, fmt.Errorf("wait for container: %s", r.Error.Message)
		}
		return int(r.StatusCode), nil
	case err := <-wait.Error:
		return 0, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func ipamPool(p *types.IPAMPool) (network.IPAMConfig, error) {
	var out network.IPAMConfig
	var err error
	if p.Subnet != "" {
		if out.Subnet, err = netip.ParsePrefix(p.Subnet); err != nil {
			return out, err
		}
	}
	if p.IPRange != "" {
		if out.IPRange, err = netip.ParsePrefix(p.IPRange); err != nil {
			return out, err
		}
	}
	if p.Gateway != "" {
		if out.Gateway, err = netip.ParseAddr(p.Gateway); err != nil {
			return out, err
		}
	}
	for name, text := range p.AuxiliaryAddresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return out, err
		}
		if out.AuxAddress == nil {
			out.AuxAddress = map[string]netip.Addr{}
		}
		out.AuxAddress[name] = a
	}
	return out, nil
}
