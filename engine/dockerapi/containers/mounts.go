package containers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/mount"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// mountPoint is one mount of a container, decided when it was created.
type mountPoint struct {
	container.MountPoint
	// Own tells that the volume is anonymous and goes with the container.
	Own     bool               `json:",omitempty"`
	NoCopy  bool               `json:",omitempty"`
	Subpath string             `json:",omitempty"`
	Bind    *mount.BindOptions `json:",omitempty"`
	Tmpfs   []string           `json:",omitempty"`
	// Listed tells that inspect shows a tmpfs: that of --mount, not of --tmpfs.
	Listed bool `json:",omitempty"`
	// OfImage tells that the image asks for the volume, or Config.Volumes.
	OfImage bool `json:",omitempty"`
	// Unnamed tells that inspect does not show the volume's name, which the client did
	// not give.
	Unnamed bool `json:",omitempty"`
	// Holder is the engine's container that keeps the image of an image mount.
	Holder string `json:",omitempty"`
	// Spec of a volume that is made with the container.
	Spec *VolumeSpec `json:",omitempty"`
}

// fromOthers are the mounts of VolumesFrom; those of a later container take the place
// of an earlier one's.
func (a *Area) fromOthers(from []string) ([]mountPoint, error) {
	var out []mountPoint
	for _, f := range from {
		if f == "" {
			return nil, route.Invalidf("volumes-from specification cannot be an empty string")
		}
		name, mode, _ := strings.Cut(f, ":")
		words, ok := parseMode(mode)
		if !ok || words.propagation != "" || words.noCopy {
			return nil, route.Invalidf("invalid mode: %s", mode)
		}
		c, err := a.find(name)
		if err != nil {
			return nil, route.Invalid(err)
		}
		for _, m := range a.view(c).Mounts {
			if m.Type == mount.TypeTmpfs || m.Type == mount.TypeImage {
				continue
			}
			m.RW = m.RW && !words.readOnly
			m.Mode, m.Spec, m.NoCopy, m.Unnamed = "", nil, true, false
			out = append(without(out, m.Destination), m)
		}
	}
	return out, nil
}

func without(mounts []mountPoint, destination string) []mountPoint {
	return slices.DeleteFunc(mounts, func(m mountPoint) bool { return m.Destination == destination })
}

var errNoVolumes = route.NotImplemented(errors.New("this engine has no volumes"))

// makeMounts decides a container's mounts and makes its volumes; an image's files
// below a new volume's path are copied into it.
func (a *Area) makeMounts(ctx context.Context, c *cont) error {
	mounts, err := a.fromOthers(c.rec.HostConfig.VolumesFrom)
	if err != nil {
		return err
	}
	own, err := parseMounts(c.rec.HostConfig)
	if err != nil {
		return err
	}
	for i := range own {
		if err := a.keepFree(&own[i]); err != nil {
			return err
		}
		mounts = append(without(mounts, own[i].Destination), own[i])
	}
	mounts = withImages(mounts, c.rec.Config, c.rec.HostConfig.VolumeDriver)
	for i := range mounts {
		m := &mounts[i]
		switch m.Type {
		case mount.TypeVolume:
			err = a.makeVolume(ctx, c, m)
		case mount.TypeImage:
			err = a.holdImage(ctx, c, m)
		}
		if err != nil {
			return err
		}
		c.rec.Mounts = append(c.rec.Mounts, *m)
	}
	return nil
}

// keepFree lets mounts below a bind of what holds this engine's own data go when they
// go on the host: a container that kept them could not be removed.
func (a *Area) keepFree(m *mountPoint) error {
	root := filepath.Dir(filepath.Dir(a.o.Dir))
	if m.Type != mount.TypeBind || (!strings.HasPrefix(m.Source, root) && !strings.HasPrefix(root, m.Source)) {
		return nil
	}
	switch m.Bind.Propagation {
	case "":
		m.Propagation = mount.PropagationRSlave
	case mount.PropagationRSlave, mount.PropagationRShared:
	default:
		return route.Invalidf(`invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root, daemon root: %q, bind mount source: %q, propagation: %q`, root, m.Source, m.Bind.Propagation)
	}
	return nil
}

func (a *Area) makeVolume(ctx context.Context, c *cont, m *mountPoint) error {
	if a.o.Volumes == nil {
		return errNoVolumes
	}
	spec := VolumeSpec{Name: m.Name}
	if m.Spec != nil {
		spec = *m.Spec
	}
	if m.OfImage {
		if err := a.checkPlace(ctx, c.rec.ID, m.Destination); err != nil {
			return err
		}
	}
	v, err := a.o.Volumes.Use(ctx, spec, c.rec.ID)
	if err != nil {
		return err
	}
	m.Name, m.Driver, m.Source, m.Spec = v.Name, v.Driver, v.Mountpoint, nil
	if m.NoCopy || m.Subpath != "" {
		return nil
	}
	if v, err = a.o.Volumes.Mount(ctx, v.Name, c.rec.ID); err != nil {
		return err
	}
	return errors.Join(a.copyUp(ctx, c.rec.ID, m.Destination, v.Mountpoint), a.o.Volumes.Unmount(ctx, v.Name, c.rec.ID))
}

// checkPlace refuses a volume where the image has a file.
func (a *Area) checkPlace(ctx context.Context, id, at string) error {
	return a.o.Engine.InRoot(ctx, id, engine.RootOptions{Bare: true}, func() error {
		if st, err := os.Stat(path.Join("/", at)); err == nil && !st.IsDir() {
			return fmt.Errorf("cannot mount volume over existing file, file exists %s", at)
		}
		return nil
	})
}

// copyUp copies what the image has at a path into an empty volume.
func (a *Area) copyUp(ctx context.Context, id, from, to string) error {
	entries, err := os.ReadDir(to)
	if err != nil || len(entries) > 0 {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	done := make(chan error, 1)
	go func() {
		err := a.o.Engine.InRoot(ctx, id, engine.RootOptions{Bare: true}, func() error {
			st, err := os.Stat(from)
			if err != nil || !st.IsDir() {
				return nil //nolint:nilerr // there is nothing to copy
			}
			return writeTar(ctx, w, from, ".", true)
		})
		w.Close()
		done <- err
	}()
	err = untarInto(ctx, to, r)
	r.Close()
	return errors.Join(err, <-done)
}

// releaseVolumes ends a container's use of its volumes; with own its anonymous ones go.
func (a *Area) releaseVolumes(ctx context.Context, c *cont, own bool) {
	if a.o.Volumes == nil {
		return
	}
	for _, m := range c.rec.Mounts {
		if m.Type == mount.TypeVolume {
			a.notify("release a volume", c.rec.ID, a.o.Volumes.Unuse(ctx, m.Name, c.rec.ID, own && m.Own))
		}
	}
}

// mountVolumes makes the volumes ready for a run, and says where they are.
func (a *Area) mountVolumes(ctx context.Context, v *view) (map[string]string, error) {
	at := map[string]string{}
	for _, m := range v.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		if a.o.Volumes == nil {
			return nil, errNoVolumes
		}
		vol, err := a.o.Volumes.Mount(ctx, m.Name, v.ID)
		if err != nil {
			return nil, err // those before it are unmounted with what else the run had
		}
		at[m.Destination] = vol.Mountpoint
	}
	return at, nil
}

// tellMounted publishes that the volumes are mounted.
func (a *Area) tellMounted(v *view) {
	for _, m := range v.Mounts {
		if m.Type != mount.TypeVolume {
			continue
		}
		a.o.Events.Publish(events.VolumeEventType, events.ActionMount, m.Name, map[string]string{
			"driver": m.Driver, "container": v.ID, "destination": m.Destination,
			"read/write": strconv.FormatBool(m.RW), "propagation": string(m.Propagation),
		})
	}
}

func (a *Area) unmountVolumes(ctx context.Context, v *view) error {
	errs := []error{a.o.Mounter.Clear(a.mountsDir(v.ID))}
	for _, m := range v.Mounts {
		if m.Type == mount.TypeVolume && a.o.Volumes != nil {
			errs = append(errs, a.o.Volumes.Unmount(ctx, m.Name, v.ID))
			a.o.Events.Publish(events.VolumeEventType, events.ActionUnmount, m.Name, map[string]string{"driver": m.Driver, "container": v.ID})
		}
	}
	return errors.Join(errs...)
}

// engineMounts are the mounts as the engine wants them. Sources of binds that are
// asked for so are made as directories.
func (a *Area) engineMounts(ctx context.Context, v *view, volumes map[string]string) (out []engine.Mount, err error) {
	dir := a.dir(v.ID)
	if of := v.HostConfig.NetworkMode.ConnectedContainer(); of != "" {
		dir = a.dir(of)
	}
	for _, name := range etcFiles {
		target := "/etc/" + name
		if !slices.ContainsFunc(v.Mounts, func(m mountPoint) bool { return m.Destination == target }) {
			out = append(out, engine.Mount{Source: filepath.Join(dir, name), Target: target, ReadOnly: v.HostConfig.ReadonlyRootfs})
		}
	}
	for _, m := range v.Mounts {
		e := engine.Mount{Target: m.Destination, ReadOnly: !m.RW, Propagation: string(m.Propagation)}
		switch m.Type {
		case mount.TypeTmpfs:
			e.Type, e.Options, e.ReadOnly = "tmpfs", m.Tmpfs, false
			if !slices.ContainsFunc(m.Tmpfs, func(o string) bool { return strings.HasPrefix(o, "mode=") }) {
				e.Options = append(slices.Clone(m.Tmpfs), "mode=1777")
			}
		case mount.TypeVolume:
			if e.Source, err = a.below(v, &m, volumes[m.Destination]); err != nil {
				return nil, err
			}
		case mount.TypeImage:
			if e.Source, err = a.mountImage(ctx, v, &m); err != nil {
				return nil, err
			}
			if e.Source, err = a.below(v, &m, e.Source); err != nil {
				return nil, err
			}
		default:
			e.Source = m.Source
			if b := m.Bind; b != nil {
				e.NonRecursive = b.NonRecursive
				st, err := os.Stat(m.Source)
				below := err == nil && st.IsDir() // a file has no mounts below it
				e.RecursiveReadOnly = !m.RW && below && !b.ReadOnlyNonRecursive && !v.PlainReadOnly
				if b.ReadOnlyNonRecursive && b.ReadOnlyForceRecursive && !m.RW {
					return nil, route.Internalf("mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive")
				}
				if b.CreateMountpoint {
					if _, err := os.Stat(m.Source); errors.Is(err, fs.ErrNotExist) {
						if err := os.MkdirAll(m.Source, 0o755); err != nil {
							return nil, fmt.Errorf("error while creating mount source path '%s': %w", m.Source, err)
						}
					}
				}
			}
		}
		out = append(out, e)
	}
	return out, nil
}

// binds are the mounts through which the files of a container that does not run are
// reached.
func (a *Area) binds(v *view) []engine.Mount {
	var out []engine.Mount
	for _, m := range v.Mounts {
		if m.Type == mount.TypeTmpfs || m.Type == mount.TypeImage || m.Source == "" {
			continue
		}
		if _, err := os.Stat(m.Source); err == nil {
			out = append(out, engine.Mount{Source: filepath.Join(m.Source, m.Subpath), Target: m.Destination, ReadOnly: !m.RW})
		}
	}
	return out
}

// reason is why a system call failed, in the system's words alone.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}

// holdVolumes notes again, in a new process, which volumes a container uses.
func (a *Area) holdVolumes(ctx context.Context, c *cont, running bool) error {
	var errs []error
	for _, m := range c.rec.Mounts {
		if m.Type != mount.TypeVolume || a.o.Volumes == nil {
			continue
		}
		_, err := a.o.Volumes.Use(ctx, VolumeSpec{Name: m.Name}, c.rec.ID)
		if err == nil && running {
			_, err = a.o.Volumes.Mount(ctx, m.Name, c.rec.ID)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
