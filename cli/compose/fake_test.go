package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"
)

// fake is an engine in memory with what compose asks of one. It notes what changes
// it, a line a change. Methods that no test needs panic through the nil interface.
type fake struct {
	docker
	mu         sync.Mutex
	changes    []string
	containers map[string]*fakeContainer // by name
	networks   map[string]network.Network
	volumes    map[string]volume.Volume
	images     map[string]string
	next       int
	events     []chan events.Message
	// code is what containers of a service exit with as soon as they start.
	code map[string]int
}

type fakeContainer struct {
	id, name string
	request  client.ContainerCreateOptions
	state    container.ContainerState
	exit     int
	files    []byte
}

func newFake(images ...string) *fake {
	f := &fake{containers: map[string]*fakeContainer{}, networks: map[string]network.Network{}, volumes: map[string]volume.Volume{}, images: map[string]string{}, code: map[string]int{}}
	for _, i := range images {
		f.images[i] = "sha256:" + i
	}
	return f
}

func (f *fake) note(format string, args ...any) {
	f.changes = append(f.changes, fmt.Sprintf(format, args...))
}

// told are the changes since the last call, in a stable order of lines.
func (f *fake) told() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := strings.Join(f.changes, "\n")
	f.changes = nil
	if out != "" {
		out += "\n"
	}
	return out
}

func (f *fake) get(ref string) (*fakeContainer, error) {
	for _, c := range f.containers {
		if c.id == ref || c.name == ref {
			return c, nil
		}
	}
	return nil, fmt.Errorf("No such container: %s: %w", ref, cerrdefs.ErrNotFound)
}

// happen tells listeners; the caller holds the lock.
func (f *fake) happen(c *fakeContainer, action events.Action) {
	attributes := map[string]string{"name": c.name, "exitCode": fmt.Sprint(c.exit)}
	maps.Copy(attributes, c.request.Config.Labels)
	for _, l := range f.events {
		l <- events.Message{Type: "container", Action: action, Actor: events.Actor{ID: c.id, Attributes: attributes}, TimeNano: 1}
	}
}

func (f *fake) Events(ctx context.Context, _ client.EventsListOptions) client.EventsResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	l, errs := make(chan events.Message, 100), make(chan error, 1)
	f.events = append(f.events, l)
	context.AfterFunc(ctx, func() { errs <- ctx.Err() })
	return client.EventsResult{Messages: l, Err: errs}
}

func (f *fake) ContainerList(_ context.Context, o client.ContainerListOptions) (client.ContainerListResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out client.ContainerListResult
	for _, c := range f.containers {
		ok := o.All || c.state == container.StateRunning
		for want := range o.Filters["label"] {
			k, v, given := strings.Cut(want, "=")
			have, there := c.request.Config.Labels[k]
			ok = ok && there && (!given || have == v)
		}
		if ok {
			out.Items = append(out.Items, container.Summary{
				ID: c.id, Names: []string{"/" + c.name}, Image: c.request.Config.Image, Labels: c.request.Config.Labels, State: c.state, Status: string(c.state),
				Command: strings.Join(c.request.Config.Cmd, " "),
			})
		}
	}
	return out, nil
}

func (f *fake) ContainerCreate(_ context.Context, o client.ContainerCreateOptions) (client.ContainerCreateResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.images[o.Config.Image]; !ok {
		return client.ContainerCreateResult{}, fmt.Errorf("No such image: %s: %w", o.Config.Image, cerrdefs.ErrNotFound)
	}
	if _, ok := f.containers[o.Name]; ok {
		return client.ContainerCreateResult{}, fmt.Errorf("the name %s is taken: %w", o.Name, cerrdefs.ErrConflict)
	}
	f.next++
	c := &fakeContainer{id: fmt.Sprintf("%064d", f.next), name: o.Name, request: o, state: container.StateCreated}
	f.containers[o.Name] = c
	f.note("create %s of %s", o.Name, o.Config.Image)
	return client.ContainerCreateResult{ID: c.id}, nil
}

func (f *fake) ContainerStart(_ context.Context, ref string, _ client.ContainerStartOptions) (client.ContainerStartResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(ref)
	if err != nil {
		return client.ContainerStartResult{}, err
	}
	f.note("start %s", c.name)
	c.state = container.StateRunning
	f.happen(c, events.ActionStart)
	if code, ok := f.code[c.request.Config.Labels["com.docker.compose.service"]]; ok {
		c.state, c.exit = container.StateExited, code
		f.happen(c, events.ActionDie)
	}
	return client.ContainerStartResult{}, nil
}

func (f *fake) ContainerStop(_ context.Context, ref string, _ client.ContainerStopOptions) (client.ContainerStopResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(ref)
	if err != nil {
		return client.ContainerStopResult{}, err
	}
	if c.state == container.StateRunning {
		f.note("stop %s", c.name)
		c.state = container.StateExited
		f.happen(c, events.ActionDie)
	}
	return client.ContainerStopResult{}, nil
}

func (f *fake) ContainerRemove(_ context.Context, ref string, o client.ContainerRemoveOptions) (client.ContainerRemoveResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(ref)
	if err != nil {
		return client.ContainerRemoveResult{}, err
	}
	f.note("remove %s", c.name)
	delete(f.containers, c.name)
	return client.ContainerRemoveResult{}, nil
}

func (f *fake) ContainerRename(_ context.Context, ref string, o client.ContainerRenameOptions) (client.ContainerRenameResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(ref)
	if err != nil {
		return client.ContainerRenameResult{}, err
	}
	f.note("rename %s to %s", c.name, o.NewName)
	delete(f.containers, c.name)
	c.name = o.NewName
	f.containers[c.name] = c
	return client.ContainerRenameResult{}, nil
}

func (f *fake) ContainerInspect(_ context.Context, ref string, _ client.ContainerInspectOptions) (client.ContainerInspectResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(ref)
	if err != nil {
		return client.ContainerInspectResult{}, err
	}
	state := &container.State{Status: c.state, Running: c.state == container.StateRunning, ExitCode: c.exit}
	if c.request.Config.Healthcheck != nil {
		state.Health = &container.Health{Status: container.Healthy}
		if slices.Contains(c.request.Config.Healthcheck.Test, "false") {
			state.Health.Status = container.Unhealthy
		}
	}
	return client.ContainerInspectResult{Container: container.InspectResponse{ID: c.id, State: state, Config: c.request.Config}}, nil
}

func (f *fake) ContainerWait(_ context.Context, ref string, _ client.ContainerWaitOptions) client.ContainerWaitResult {
	f.mu.Lock()
	defer f.mu.Unlock()
	result, errs := make(chan container.WaitResponse, 1), make(chan error, 1)
	c, err := f.get(ref)
	switch {
	case err != nil:
		errs <- err
	case c.state == container.StateExited:
		result <- container.WaitResponse{StatusCode: int64(c.exit)}
	default:
		errs <- errors.New("it would wait for ever")
	}
	return client.ContainerWaitResult{Result: result, Error: errs}
}

func (f *fake) ContainerLogs(_ context.Context, ref string, _ client.ContainerLogsOptions) (client.ContainerLogsResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(ref)
	if err != nil {
		return nil, err
	}
	var framed bytes.Buffer
	text := "this is " + c.name + "\n"
	framed.Write([]byte{byte(stdcopy.Stdout), 0, 0, 0, 0, 0, 0, byte(len(text))})
	framed.WriteString(text)
	return io.NopCloser(&framed), nil
}

func (f *fake) CopyToContainer(_ context.Context, ref string, o client.CopyToContainerOptions) (client.CopyToContainerResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(ref)
	if err == nil {
		c.files, err = io.ReadAll(o.Content)
		f.note("copy into %s", c.name)
	}
	return client.CopyToContainerResult{}, err
}

func (f *fake) NetworkList(context.Context, client.NetworkListOptions) (client.NetworkListResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out client.NetworkListResult
	for _, n := range f.networks {
		out.Items = append(out.Items, network.Summary{Network: n})
	}
	return out, nil
}

func (f *fake) NetworkCreate(_ context.Context, name string, o client.NetworkCreateOptions) (client.NetworkCreateResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("network %s", name)
	f.networks[name] = network.Network{ID: name, Name: name, Labels: o.Labels}
	return client.NetworkCreateResult{ID: name}, nil
}

func (f *fake) NetworkRemove(_ context.Context, name string, _ client.NetworkRemoveOptions) (client.NetworkRemoveResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("remove network %s", name)
	delete(f.networks, name)
	return client.NetworkRemoveResult{}, nil
}

func (f *fake) VolumeList(context.Context, client.VolumeListOptions) (client.VolumeListResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return client.VolumeListResult{Items: slices.Collect(maps.Values(f.volumes))}, nil
}

func (f *fake) VolumeCreate(_ context.Context, o client.VolumeCreateOptions) (client.VolumeCreateResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("volume %s", o.Name)
	f.volumes[o.Name] = volume.Volume{Name: o.Name, Labels: o.Labels}
	return client.VolumeCreateResult{}, nil
}

func (f *fake) VolumeRemove(_ context.Context, name string, _ client.VolumeRemoveOptions) (client.VolumeRemoveResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("remove volume %s", name)
	delete(f.volumes, name)
	return client.VolumeRemoveResult{}, nil
}

func (f *fake) ImageInspect(_ context.Context, ref string, _ ...client.ImageInspectOption) (client.ImageInspectResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok := f.images[ref]
	if !ok {
		return client.ImageInspectResult{}, fmt.Errorf("No such image: %s: %w", ref, cerrdefs.ErrNotFound)
	}
	return client.ImageInspectResult{InspectResponse: image.InspectResponse{ID: id}}, nil
}

// command notes docker's own command and makes the image that a build is to make.
func (f *fake) command(_ context.Context, args ...string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("docker %s", strings.Join(args, " "))
	for i, arg := range args {
		if arg == "--tag" {
			f.images[args[i+1]] = "sha256:" + args[i+1]
		}
	}
	return 0
}
