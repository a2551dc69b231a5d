package compose

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"skiff.dev/skiff/cli/compose/spec"
)

// hooks runs commands of a service's life in one of its containers, one after the
// other. One that fails ends it.
func (a *actor) hooks(ctx context.Context, id string, hooks []types.ServiceHook) error {
	for _, h := range hooks {
		options := client.ExecCreateOptions{
			User: h.User, Privileged: h.Privileged, Env: spec.Env(h.Environment), WorkingDir: h.WorkingDir, Cmd: h.Command,
			AttachStdout: true, AttachStderr: true,
		}
		code, err := execute(ctx, a.d, id, options, streams{out: io.Discard, err: a.say.out})
		if err != nil {
			return fmt.Errorf("hook %v: %w", []string(h.Command), err)
		}
		if code != 0 {
			return fmt.Errorf("hook %v exited with status code %d", []string(h.Command), code)
		}
	}
	return nil
}

// execute runs a command in a container, joined with the user's streams, and
// returns its exit code.
func execute(ctx context.Context, d executions, id string, o client.ExecCreateOptions, s streams) (int, error) {
	made, err := d.ExecCreate(ctx, id, o)
	if err != nil {
		return 0, err
	}
	conn, err := d.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: o.TTY})
	if err != nil {
		return 0, err
	}
	err = s.session(ctx, conn.HijackedResponse, o.AttachStdin, o.TTY, func(height, width uint) error {
		_, err := d.ExecResize(ctx, made.ID, client.ExecResizeOptions{Height: height, Width: width})
		return err
	})
	if err != nil {
		return 0, err
	}
	end, err := d.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
	return end.ExitCode, err
}

// findAny is like find, but a container that does not run will do.
func findAny(ctx context.Context, d containers, project, service string, number int) (container.Summary, error) {
	c, err := find(ctx, d, project, service, number)
	if !errors.Is(err, errNone) {
		return c, err
	}
	list, listErr := listContainers(ctx, d, project, true)
	if listErr != nil {
		return c, listErr
	}
	for _, c := range list {
		if c.Labels[spec.LabelService] == service && !oneOff(c) {
			return c, nil
		}
	}
	return c, fmt.Errorf("no container found for service %q", service)
}

// find is the container of a service with a number; 0 is the first that runs.
func find(ctx context.Context, d containers, project, service string, number int) (container.Summary, error) {
	list, err := listContainers(ctx, d, project, true)
	if err != nil {
		return container.Summary{}, err
	}
	for _, c := range list {
		if c.Labels[spec.LabelService] != service || oneOff(c) {
			continue
		}
		if number == numberOf(c) || (number == 0 && c.State == container.StateRunning) {
			return c, nil
		}
	}
	if number > 0 {
		return container.Summary{}, fmt.Errorf("service %q is not running container #%d", service, number)
	}
	return container.Summary{}, fmt.Errorf("service %q %w", service, errNone)
}
