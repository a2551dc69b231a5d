package compose

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

// actor carries out plans for one project on one engine.
type actor struct {
	d         docker
	docker    Docker
	p         *types.Project // nil where only labels are known
	name      string
	separator string
	say       *progress
	envFiles  []string
	images    map[string]string
	// timeout is how long stopping may take, nil for what the container says.
	timeout *int
	// renew makes anonymous volumes anew instead of handing them over.
	renew bool
	// volumes removes anonymous volumes with their containers.
	volumes bool
	// signal is what Kill sends.
	signal string
}

// parallel bounds how many containers of a service change at a time.
const parallel = 16

func (a *actor) carryOut(ctx context.Context, p *plan.Plan) error {
	for _, w := range p.Warnings {
		a.say.warn(w)
	}
	for _, name := range p.Kept {
		a.say.say("Container", name, "Running")
	}
	for _, act := range p.Prepare {
		if err := a.do(ctx, act); err != nil {
			return err
		}
	}
	if err := a.works(ctx, p.Make); err != nil {
		return err
	}
	if err := a.works(ctx, p.Start); err != nil {
		return err
	}
	for _, act := range p.Finish {
		if err := a.do(ctx, act); err != nil {
			return err
		}
	}
	return nil
}

// works carries out works in parallel, each when those that it comes after are
// done. The first failure ends all.
func (a *actor) works(ctx context.Context, works []plan.Work) error {
	done := map[string]chan struct{}{}
	for _, w := range works {
		done[w.Service] = make(chan struct{})
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range works {
		g.Go(func() error {
			for _, name := range w.After {
				if before, ok := done[name]; ok {
					select {
					case <-before:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			if err := a.wait(ctx, w); err != nil {
				return err
			}
			inner, ctx := errgroup.WithContext(ctx)
			inner.SetLimit(parallel)
			for _, act := range w.Do {
				inner.Go(func() error { return a.do(ctx, act) })
			}
			if err := inner.Wait(); err != nil {
				return err
			}
			close(done[w.Service])
			return nil
		})
	}
	return g.Wait()
}

func (a *actor) do(ctx context.Context, act plan.Action) error {
	switch act.Verb {
	case plan.CreateNetwork:
		return a.say.step("Network", act.Name, "Creating", "Created", func() error { return a.createNetwork(ctx, act) })
	case plan.CreateVolume:
		return a.say.step("Volume", act.Name, "Creating", "Created", func() error { return a.createVolume(ctx, act) })
	case plan.RemoveNetwork:
		return a.removing("Network", act.Name, func() error {
			_, err := a.d.NetworkRemove(ctx, act.ID, client.NetworkRemoveOptions{})
			return err
		})
	case plan.RemoveVolume:
		return a.removing("Volume", act.Name, func() error {
			_, err := a.d.VolumeRemove(ctx, act.ID, client.VolumeRemoveOptions{})
			return err
		})
	case plan.RemoveImage:
		return a.removing("Image", act.Name, func() error {
			_, err := a.d.ImageRemove(ctx, act.Name, client.ImageRemoveOptions{PruneChildren: true})
			return err
		})
	}
	return a.container(ctx, act)
}

// removing tells of things that are used by others or gone already instead of
// failing.
func (a *actor) removing(kind, name string, do func() error) error {
	a.say.say(kind, name, "Removing")
	err := do()
	switch {
	case err == nil:
		a.say.say(kind, name, "Removed")
	case cerrdefs.IsNotFound(err):
		a.say.say(kind, name, "No resource found to remove")
	case kind != "Network" && cerrdefs.IsConflict(err):
		a.say.say(kind, name, "Resource is still in use")
	default:
		a.say.say(kind, name, "Error")
		return err
	}
	return nil
}

func (a *actor) container(ctx context.Context, act plan.Action) error {
	target := act.ID
	if target == "" {
		target = act.Name
	}
	step := func(doing, done string, do func() error) error {
		return a.say.step("Container", act.Name, doing, done, do)
	}
	switch act.Verb {
	case plan.Create:
		return step("Creating", "Created", func() error {
			_, err := a.create(ctx, a.p.Services[act.Service], spec.Container{Name: act.Name, Number: act.Number})
			return err
		})
	case plan.Replace:
		return step("Recreate", "Recreated", func() error { return a.replace(ctx, act) })
	case plan.Remove:
		return a.remove(ctx, act)
	case plan.Start:
		return step("Starting", "Started", func() error { return a.start(ctx, act.Service, target) })
	case plan.Unpause:
		return step("Unpausing", "Unpaused", func() error {
			_, err := a.d.ContainerUnpause(ctx, target, client.ContainerUnpauseOptions{})
			return err
		})
	case plan.Restart:
		return step("Restarting", "Started", func() error {
			_, err := a.d.ContainerRestart(ctx, target, client.ContainerRestartOptions{Timeout: a.timeout})
			return err
		})
	case plan.Stop:
		return step("Stopping", "Stopped", func() error { return a.stop(ctx, act.Service, target) })
	case pauseVerb:
		return step("Pausing", "Paused", func() error {
			_, err := a.d.ContainerPause(ctx, target, client.ContainerPauseOptions{})
			return err
		})
	case killVerb:
		return step("Killing", "Killed", func() error {
			_, err := a.d.ContainerKill(ctx, target, client.ContainerKillOptions{Signal: a.signal})
			return err
		})
	}
	return fmt.Errorf("no way to %s", act.Verb)
}

// Verbs that only whole services have, never a plan of up or down.
const (
	pauseVerb plan.Verb = "pause"
	killVerb  plan.Verb = "kill"
)

func (a *actor) stop(ctx context.Context, service, id string) error {
	if a.p != nil {
		if err := a.hooks(ctx, id, a.p.Services[service].PreStop); err != nil {
			return err
		}
	}
	_, err := a.d.ContainerStop(ctx, id, client.ContainerStopOptions{Timeout: a.timeout})
	return err
}

func (a *actor) start(ctx context.Context, service, id string) error {
	if _, err := a.d.ContainerStart(ctx, id, client.ContainerStartOptions{}); err != nil {
		return err
	}
	if a.p == nil {
		return nil
	}
	return a.hooks(ctx, id, a.p.Services[service].PostStart)
}

func (a *actor) remove(ctx context.Context, act plan.Action) error {
	err := a.say.step("Container", act.Name, "Stopping", "Stopped", func() error {
		if err := a.stop(ctx, act.Service, act.ID); !cerrdefs.IsNotFound(err) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.removing("Container", act.Name, func() error {
		_, err := a.d.ContainerRemove(ctx, act.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: a.volumes})
		return err
	})
}

// create makes a container of a service, with what it finds in its files.
func (a *actor) create(ctx context.Context, s types.ServiceConfig, c spec.Container) (string, error) {
	c.Separator, c.EnvFiles = a.separator, a.envFiles
	c.ImageID = a.images[spec.Image(a.p.Name, s, a.separator)]
	c.Resolve = func(service string) (string, string, error) { return a.resolve(ctx, service) }
	req, err := spec.Create(a.p, s, c)
	if err != nil {
		return "", err
	}
	made, err := a.d.ContainerCreate(ctx, req)
	if err != nil {
		return "", err
	}
	for _, w := range made.Warnings {
		a.say.warn(w)
	}
	return made.ID, a.copyFiles(ctx, made.ID, spec.Files(a.p, s))
}

// copyFiles puts configs and secrets whose content is in the project into a
// container that does not run yet.
func (a *actor) copyFiles(ctx context.Context, id string, files []spec.File) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	some := false
	for _, f := range files {
		if !f.Inline {
			continue
		}
		some = true
		if err := w.WriteHeader(&tar.Header{Name: f.Target, Mode: f.Mode, Size: int64(len(f.Content)), Uid: f.UID, Gid: f.GID, ModTime: time.Now()}); err != nil {
			return err
		}
		if _, err := w.Write([]byte(f.Content)); err != nil {
			return err
		}
	}
	if !some {
		return nil
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err := a.d.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: &archive, CopyUIDGID: true})
	return err
}

// resolve finds the container of a service that others refer to: its first.
func (a *actor) resolve(ctx context.Context, service string) (id, name string, err error) {
	list, err := listContainers(ctx, a.d, a.name, true)
	if err != nil {
		return "", "", err
	}
	for _, c := range list {
		if c.Labels[spec.LabelService] == service && !oneOff(c) {
			return c.ID, nameOf(c), nil
		}
	}
	return "", "", fmt.Errorf("service %q has no container to share with", service)
}

// replace puts a new container in the place of an old one: made beside it under a
// name of its own, so that a failure leaves the old one as it is.
func (a *actor) replace(ctx context.Context, act plan.Action) error {
	s := a.p.Services[act.Service]
	old, err := a.d.ContainerInspect(ctx, act.ID, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	c := spec.Container{Name: act.ID[:min(12, len(act.ID))] + "_" + act.Name, Number: act.Number, Replaces: act.Name}
	if !a.renew {
		c.Inherit = map[string]string{}
		for _, m := range old.Container.Mounts {
			if m.Type == mount.TypeVolume && anonymousVolume(m.Name) && !named(s, m.Destination) {
				c.Inherit[m.Destination] = m.Name
			}
		}
	}
	id, err := a.create(ctx, s, c)
	if err != nil {
		return err
	}
	if err := a.stop(ctx, act.Service, act.ID); err != nil {
		return err
	}
	if _, err := a.d.ContainerRemove(ctx, act.ID, client.ContainerRemoveOptions{RemoveVolumes: a.renew}); err != nil {
		return err
	}
	_, err = a.d.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: act.Name})
	return err
}

// anonymousVolume tells names that the engine made up: 64 hexadecimal digits.
func anonymousVolume(name string) bool {
	return len(name) == 64 && !slices.ContainsFunc([]byte(name), func(b byte) bool {
		return (b < '0' || b > '9') && (b < 'a' || b > 'f')
	})
}

func named(s types.ServiceConfig, target string) bool {
	return slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == target && v.Source != "" })
}

func (a *actor) createNetwork(ctx context.Context, act plan.Action) error {
	n := a.p.Networks[act.Key]
	hash, err := spec.NetworkHash(n)
	if err != nil {
		return err
	}
	options := client.NetworkCreateOptions{
		Driver: n.Driver, Options: n.DriverOpts, Internal: n.Internal, Attachable: n.Attachable,
		EnableIPv4: n.EnableIPv4, EnableIPv6: n.EnableIPv6,
		Labels: withLabels(n.Labels, map[string]string{
			spec.LabelProject: a.name, spec.LabelNetwork: act.Key, spec.LabelVersion: spec.ComposeVersion, spec.LabelHash: hash,
		}),
	}
	if options.Driver == "" {
		options.Driver = "bridge"
	}
	if options.IPAM, err = ipam(n.Ipam); err != nil {
		return fmt.Errorf("network %q: %w", act.Key, err)
	}
	_, err = a.d.NetworkCreate(ctx, act.Name, options)
	return err
}

func ipam(c types.IPAMConfig) (*network.IPAM, error) {
	if c.Driver == "" && len(c.Config) == 0 && len(c.Options) == 0 {
		return nil, nil
	}
	out := &network.IPAM{Driver: c.Driver, Options: c.Options}
	for _, pool := range c.Config {
		one, err := ipamPool(pool)
		if err != nil {
			return nil, err
		}
		out.Config = append(out.Config, one)
	}
	return out, nil
}

func (a *actor) createVolume(ctx context.Context, act plan.Action) error {
	v := a.p.Volumes[act.Key]
	hash, err := spec.VolumeHash(v)
	if err != nil {
		return err
	}
	_, err = a.d.VolumeCreate(ctx, client.VolumeCreateOptions{
		Name: act.Name, Driver: v.Driver, DriverOpts: v.DriverOpts,
		Labels: withLabels(v.Labels, map[string]string{
			spec.LabelProject: a.name, spec.LabelVolume: act.Key, spec.LabelVersion: spec.ComposeVersion, spec.LabelHash: hash,
		}),
	})
	return err
}

func withLabels(own types.Labels, ours map[string]string) map[string]string {
	for k, v := range own {
		if _, taken := ours[k]; !taken {
			ours[k] = v
		}
	}
	return ours
}
