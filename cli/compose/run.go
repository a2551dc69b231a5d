package compose

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"skiff.dev/skiff/cli/compose/spec"
)

// runFlags are those of `run`.
type runFlags struct {
	detach, remove, servicePorts, useAliases, noDeps, noTTY, interactive bool
	name, user, workdir, entrypoint                                      string
	env, labels, volumes, publish, capAdd, capDrop                       []string
	entrypointGiven                                                      bool
}

// oneOffService is a service as `run` starts it: the flags over the file.
func oneOffService(p *types.Project, s types.ServiceConfig, f runFlags, command []string, tty bool) (types.ServiceConfig, error) {
	s.ContainerName = ""
	s.Restart = ""
	if s.Deploy != nil {
		deploy := *s.Deploy
		deploy.RestartPolicy = nil
		s.Deploy = &deploy
	}
	if len(command) > 0 {
		s.Command = command
	}
	if f.entrypointGiven {
		s.Entrypoint = strings.Fields(f.entrypoint)
		if len(command) == 0 {
			s.Command = []string{}
		}
	}
	if f.user != "" {
		s.User = f.user
	}
	if f.workdir != "" {
		s.WorkingDir = f.workdir
	}
	s.Tty, s.StdinOpen = tty, f.interactive
	s.Environment = maps.Clone(s.Environment)
	if s.Environment == nil {
		s.Environment = types.MappingWithEquals{}
	}
	s.Environment = s.Environment.OverrideBy(types.NewMappingWithEquals(f.env).Resolve(p.Environment.Resolve))
	s.Labels = maps.Clone(s.Labels)
	for _, l := range f.labels {
		k, v, _ := strings.Cut(l, "=")
		s.Labels = s.Labels.Add(k, v)
	}
	s.CapAdd, s.CapDrop = append(s.CapAdd[:len(s.CapAdd):len(s.CapAdd)], f.capAdd...), append(s.CapDrop[:len(s.CapDrop):len(s.CapDrop)], f.capDrop...)
	for _, text := range f.volumes {
		v, err := format.ParseVolume(text)
		if err != nil {
			return s, fmt.Errorf("volume %q: %w", text, err)
		}
		if v.Type == types.VolumeTypeBind && !strings.HasPrefix(v.Source, "/") {
			v.Source = p.WorkingDir + "/" + v.Source
		}
		s.Volumes = append(s.Volumes[:len(s.Volumes):len(s.Volumes)], v)
	}
	if !f.servicePorts {
		s.Ports = nil
	}
	for _, text := range f.publish {
		ports, err := types.ParsePortConfig(text)
		if err != nil {
			return s, fmt.Errorf("publish %q: %w", text, err)
		}
		s.Ports = append(s.Ports, ports...)
	}
	return s, nil
}

// run starts what a service depends on and then one container beside the service's
// own; beside tells that those are there. It returns the exit code of that container.
func (a *actor) run(ctx context.Context, service string, beside bool, f runFlags, command []string, s streams) (int, error) {
	_, isTerminal := s.terminal()
	tty := !f.noTTY && !f.detach && isTerminal && s.outTerminal()
	config, err := oneOffService(a.p, a.p.Services[service], f, command, tty)
	if err != nil {
		return 0, err
	}
	var random [6]byte
	if _, err := rand.Read(random[:]); err != nil {
		return 0, err
	}
	c := spec.Container{Number: 1, OneOff: true, Aliases: f.useAliases, AutoRemove: f.remove && f.detach, Beside: beside, Slug: hex.EncodeToString(random[:]), Name: f.name}
	if c.Name == "" {
		c.Name = strings.Join([]string{a.name, service, "run", c.Slug}, a.separator)
	}
	id, err := a.create(ctx, config, c)
	if err != nil {
		return 0, err
	}
	if f.detach {
		if err := a.startOnce(ctx, id, config); err != nil {
			return 0, err
		}
		fmt.Fprintln(s.out, c.Name)
		return 0, nil
	}
	code, err := a.attachOnce(ctx, id, config, s)
	if f.remove {
		// The user's interrupt ends the container, not its removal.
		_, removeErr := a.d.ContainerRemove(context.WithoutCancel(ctx), id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
		if err == nil {
			err = removeErr
		}
	}
	return code, err
}

func (a *actor) startOnce(ctx context.Context, id string, s types.ServiceConfig) error {
	if _, err := a.d.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		return err
	}
	return a.hooks(ctx, id, s.PostStart)
}

func (a *actor) attachOnce(ctx context.Context, id string, config types.ServiceConfig, s streams) (int, error) {
	conn, err := a.d.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdin: config.StdinOpen, Stdout: true, Stderr: true})
	if err != nil {
		return 0, err
	}
	end := a.d.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if err := a.startOnce(ctx, id, config); err != nil {
		conn.Close()
		return 0, err
	}
	err = s.session(ctx, conn.HijackedResponse, config.StdinOpen, config.Tty, func(height, width uint) error {
		_, err := a.d.ContainerResize(ctx, id, client.ContainerResizeOptions{Height: height, Width: width})
		return err
	})
	if err != nil {
		return 0, err
	}
	select {
	case r := <-end.Result:
		return int(r.StatusCode), nil
	case err := <-end.Error:
		return 0, err
	}
}
