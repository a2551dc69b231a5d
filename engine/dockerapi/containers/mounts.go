package containers

import (
	"cmp"
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
	// Spec of a volume that is made with the container.
	Spec *VolumeSpec `json:",omitempty"`
}

// bindModes are the words that may follow a bind's target.
var bindModes = []string{"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent"}

// parseBind reads "source:target:mode" of Binds.
func parseBind(s, driver string) (*mountPoint, error) {
	f := strings.Split(s, ":")
	m := &mountPoint{}
	m.RW = true
	switch {
	case len(f) == 1:
		m.Destination = f[0]
	case len(f) == 2, len(f) == 3:
		m.Source, m.Destination = f[0], f[1]
		if len(f) == 3 {
			m.Mode = f[2]
		}
	default:
		return nil, route.Invalidf("invalid volume specification: '%s'", s)
	}
	if m.Destination == "" || (len(f) > 1 && m.Source == "") || !path.IsAbs(m.Destination) {
		return nil, route.Invalidf("invalid volume specification: '%s'", s)
	}
	if path.Clean(m.Destination) == "/" {
		return nil, route.Invalidf("invalid volume specification: '%s': invalid mount config for type \"%s\": invalid specification: destination can't be '/'", s, kindOf(m.Source))
	}
	m.Destination = path.Clean(m.Destination)
	if m.Mode != "" {
		for _, w := range strings.Split(m.Mode, ",") {
			switch {
			case w == "ro":
				m.RW = false
			case w == "nocopy":
				m.NoCopy = true
			case slices.Contains(mount.Propagations, mount.Propagation(w)):
				if !path.IsAbs(m.Source) {
					return nil, route.Invalidf("invalid mode: %s", m.Mode)
				}
				m.Propagation = mount.Propagation(w)
			case !slices.Contains(bindModes, w):
				return nil, route.Invalidf("invalid mode: %s", m.Mode)
			}
		}
	}
	m.Type = kindOf(m.Source)
	if m.Type == mount.TypeBind {
		m.Source = path.Clean(m.Source)
		m.Propagation = cmp.Or(m.Propagation, mount.PropagationRPrivate)
		m.Bind = &mount.BindOptions{CreateMountpoint: true}
		return m, nil
	}
	m.Name, m.Source = m.Source, ""
	if m.Name != "" {
		if err := checkVolumeName(m.Name); err != nil {
			return nil, err
		}
	}
	m.Own = m.Name == ""
	m.Spec = &VolumeSpec{Name: m.Name, Driver: driver}
	return m, nil
}

func kindOf(source string) mount.Type {
	if path.IsAbs(source) {
		return mount.TypeBind
	}
	return mount.TypeVolume
}

func checkVolumeName(name string) error {
	if !validName.MatchString(name) {
		return route.Invalidf("create %s: %q includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path", name, name)
	}
	return nil
}

// parseMount reads one of Mounts.
func parseMount(in *mount.Mount) (*mountPoint, error) {
	bad := func(format string, a ...any) error {
		return route.Invalidf("invalid mount config for type %q: %s", in.Type, fmt.Sprintf(format, a...))
	}
	if in.Target == "" {
		return nil, bad("field Target must not be empty")
	}
	if !path.IsAbs(in.Target) {
		return nil, bad("invalid mount path: '%s' mount path must be absolute", in.Target)
	}
	m := &mountPoint{}
	m.Type, m.Destination, m.RW = in.Type, path.Clean(in.Target), !in.ReadOnly
	if m.Destination == "/" {
		return nil, bad("invalid specification: destination can't be '/'")
	}
	switch in.Type {
	case mount.TypeBind:
		if in.Source == "" {
			return nil, bad("field Source must not be empty")
		}
		if !path.IsAbs(in.Source) {
			return nil, bad("invalid mount path: '%s' mount path must be absolute", in.Source)
		}
		if in.VolumeOptions != nil {
			return nil, bad("field VolumeOptions must not be specified")
		}
		m.Source, m.Bind = path.Clean(in.Source), in.BindOptions
		if m.Bind == nil {
			m.Bind = &mount.BindOptions{}
		}
		if p := m.Bind.Propagation; p != "" && !slices.Contains(mount.Propagations, p) {
			return nil, bad("invalid propagation mode: %s", p)
		}
		m.Propagation = cmp.Or(m.Bind.Propagation, mount.PropagationRPrivate)
		if _, err := os.Stat(m.Source); errors.Is(err, fs.ErrNotExist) && !m.Bind.CreateMountpoint {
			return nil, bad("bind source path does not exist: %s", m.Source)
		}
	case mount.TypeVolume:
		if in.BindOptions != nil {
			return nil, bad("field BindOptions must not be specified")
		}
		m.Name, m.Mode = in.Source, "z"
		m.Own = m.Name == ""
		m.Spec = &VolumeSpec{Name: in.Source}
		if o := in.VolumeOptions; o != nil {
			m.NoCopy, m.Subpath, m.Spec.Labels = o.NoCopy, o.Subpath, o.Labels
			if o.DriverConfig != nil {
				m.Spec.Driver, m.Spec.Options = o.DriverConfig.Name, o.DriverConfig.Options
			}
			if m.Subpath != "" && !filepath.IsLocal(m.Subpath) {
				return nil, bad("subpath must be a relative path within the volume")
			}
		}
		if m.Name != "" {
			if err := checkVolumeName(m.Name); err != nil {
				return nil, err
			}
		}
	case mount.TypeTmpfs:
		if in.Source != "" {
			return nil, bad("field Source must not be specified")
		}
		m.Tmpfs, m.Listed = []string{"noexec", "nosuid", "nodev"}, true
		if o := in.TmpfsOptions; o != nil {
			if o.SizeBytes < 0 {
				return nil, bad("tmpfs size must not be negative")
			}
			if o.SizeBytes > 0 {
				m.Tmpfs = append(m.Tmpfs, fmt.Sprintf("size=%d", o.SizeBytes))
			}
			if o.Mode != 0 {
				m.Tmpfs = append(m.Tmpfs, fmt.Sprintf("mode=%o", o.Mode))
			}
			for _, kv := range o.Options {
				if len(kv) == 0 || len(kv) > 2 {
					return nil, bad("invalid tmpfs option")
				}
				m.Tmpfs = append(m.Tmpfs, strings.Join(kv, "="))
			}
		}
		if in.ReadOnly {
			m.Tmpfs = append(m.Tmpfs, "ro")
		}
	default:
		return nil, route.Invalidf("invalid mount config for type %q: mount type unknown", in.Type)
	}
	return m, nil
}

// checkMounts refuses what cannot be mounted, before anything is made.
func checkMounts(c *container.Config, h *container.HostConfig) error {
	_, err := parseMounts(c, h)
	return err
}

// parseMounts decides all mounts but those of other containers: later ones take the
// place of earlier ones at the same path only where Docker has them do so.
func parseMounts(c *container.Config, h *container.HostConfig) ([]mountPoint, error) {
	var out []mountPoint
	at := map[string]bool{}
	add := func(m *mountPoint) error {
		if at[m.Destination] {
			return route.Invalidf("Duplicate mount point: %s", m.Destination)
		}
		at[m.Destination] = true
		out = append(out, *m)
		return nil
	}
	for _, b := range h.Binds {
		m, err := parseBind(b, h.VolumeDriver)
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for i := range h.Mounts {
		m, err := parseMount(&h.Mounts[i])
		if err != nil {
			return nil, err
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for p, options := range h.Tmpfs {
		if !path.IsAbs(p) || path.Clean(p) == "/" {
			return nil, route.Invalidf("invalid tmpfs mount path: '%s'", p)
		}
		m := &mountPoint{Tmpfs: []string{"noexec", "nosuid", "nodev"}}
		m.Type, m.Destination, m.RW = mount.TypeTmpfs, path.Clean(p), true
		for _, o := range strings.Split(options, ",") {
			if o == "" {
				continue
			}
			// "exec" and its like undo what is usual.
			m.Tmpfs = slices.DeleteFunc(m.Tmpfs, func(x string) bool { return x == "no"+o })
			m.Tmpfs = append(m.Tmpfs, o)
		}
		if err := add(m); err != nil {
			return nil, err
		}
	}
	for p := range c.Volumes {
		p = path.Clean(p)
		if !path.IsAbs(p) || p == "/" {
			return nil, route.Invalidf("invalid volume specification: '%s'", p)
		}
		if at[p] {
			continue
		}
		m := &mountPoint{Own: true, Spec: &VolumeSpec{Driver: h.VolumeDriver}}
		m.Type, m.Destination, m.RW = mount.TypeVolume, p, true
		if err := add(m); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(x, y mountPoint) int { return strings.Compare(x.Destination, y.Destination) })
	return out, nil
}

// fromOthers adds the mounts of VolumesFrom.
func (a *Area) fromOthers(mounts []mountPoint, from []string) ([]mountPoint, error) {
	for _, f := range from {
		name, mode, _ := strings.Cut(f, ":")
		if mode != "" && mode != "ro" && mode != "rw" && mode != "z" && mode != "Z" {
			return nil, route.Invalidf("invalid mode for volumes-from: %s", mode)
		}
		c, err := a.find(name)
		if err != nil {
			return nil, err
		}
		for _, m := range a.view(c).Mounts {
			if m.Type == mount.TypeTmpfs || slices.ContainsFunc(mounts, func(x mountPoint) bool { return x.Destination == m.Destination }) {
				continue
			}
			if mode == "ro" {
				m.RW = false
			}
			m.Mode = cmp.Or(mode, m.Mode)
			m.Spec = nil
			mounts = append(mounts, m)
		}
	}
	return mounts, nil
}

var errNoVolumes = route.NotImplemented(errors.New("this engine has no volumes"))

// makeMounts decides a container's mounts and makes its volumes; an image's files
// below a new volume's path are copied into it.
func (a *Area) makeMounts(ctx context.Context, c *cont) error {
	mounts, err := parseMounts(c.rec.Config, c.rec.HostConfig)
	if err == nil {
		mounts, err = a.fromOthers(mounts, c.rec.HostConfig.VolumesFrom)
	}
	if err != nil {
		return err
	}
	for i := range mounts {
		m := &mounts[i]
		switch m.Type {
		case mount.TypeVolume:
			if err := a.makeVolume(ctx, c, m); err != nil {
				return err
			}
			c.rec.Mounts = append(c.rec.Mounts, *m)
		default:
			c.rec.Mounts = append(c.rec.Mounts, *m)
		}
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
	var errs []error
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
func (a *Area) engineMounts(v *view, volumes map[string]string) ([]engine.Mount, error) {
	var out []engine.Mount
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
			e.Source = volumes[m.Destination]
			if m.Subpath != "" {
				root, err := os.OpenRoot(e.Source)
				if err != nil {
					return nil, err
				}
				_, err = root.Stat(m.Subpath)
				root.Close()
				if err != nil {
					return nil, route.Invalidf("cannot access path %s: %s", filepath.Join(e.Source, m.Subpath), reason(err))
				}
				e.Source = filepath.Join(e.Source, m.Subpath)
			}
		default:
			e.Source = m.Source
			if b := m.Bind; b != nil {
				e.NonRecursive = b.NonRecursive
				e.RecursiveReadOnly = !m.RW && b.ReadOnlyForceRecursive
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
		if m.Type == mount.TypeTmpfs || m.Source == "" {
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
