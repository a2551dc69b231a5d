package containers

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// mountWords are the words that may follow a bind's target; of each kind there may
// be one.
var mountWords = [][]string{
	{"ro", "rw"}, {"z", "Z"}, {"nocopy"},
	{string(mount.ConsistencyFull), string(mount.ConsistencyCached), string(mount.ConsistencyDelegated)},
	propagationWords(),
}

func propagationWords() []string {
	var out []string
	for _, p := range mount.Propagations {
		out = append(out, string(p))
	}
	return out
}

// mountMode is what the words after a bind's target say.
type mountMode struct {
	readOnly, noCopy bool
	propagation      mount.Propagation
}

func parseMode(s string) (mountMode, bool) {
	var m mountMode
	if s == "" {
		return m, true
	}
	seen := map[int]bool{}
	for _, w := range strings.Split(s, ",") {
		kind := slices.IndexFunc(mountWords, func(words []string) bool { return slices.Contains(words, w) })
		if kind < 0 || seen[kind] {
			return m, false
		}
		seen[kind] = true
		switch {
		case w == "ro":
			m.readOnly = true
		case w == "nocopy":
			m.noCopy = true
		case kind == len(mountWords)-1:
			m.propagation = mount.Propagation(w)
		}
	}
	return m, true
}

// parseBind reads "source:target:mode" of Binds. Docker answers what cannot be read as
// an internal error.
func parseBind(s, driver string) (*mountPoint, error) {
	bad := func(why error) error {
		if why == nil {
			return route.Internalf("invalid volume specification: '%s'", s)
		}
		return route.Internalf("invalid volume specification: '%s': %s", s, why)
	}
	f := strings.SplitN(s, ":", 4)
	if f[0] == "" || len(f) > 3 {
		return nil, bad(nil)
	}
	in := mount.Mount{Type: mount.TypeVolume}
	mode := ""
	switch len(f) {
	case 1:
		in.Target = f[0]
	case 2:
		if _, ok := parseMode(f[1]); ok {
			return nil, bad(nil)
		}
		in.Source, in.Target = f[0], f[1]
	case 3:
		in.Source, in.Target, mode = f[0], f[1], f[2]
	}
	words, ok := parseMode(mode)
	if !ok {
		return nil, route.Internalf("invalid mode: %s", mode)
	}
	in.ReadOnly = words.readOnly
	if path.IsAbs(in.Source) {
		in.Type = mount.TypeBind
	} else if driver != "" {
		in.VolumeOptions = &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: driver}}
	}
	if words.noCopy {
		if in.VolumeOptions == nil {
			in.VolumeOptions = &mount.VolumeOptions{}
		}
		in.VolumeOptions.NoCopy = true
	}
	if words.propagation != "" {
		in.BindOptions = &mount.BindOptions{Propagation: words.propagation}
	}
	if err := checkSpec(&in); err != nil {
		return nil, bad(err)
	}
	m := newMount(&in)
	m.Mode = cmp.Or(mode, m.Mode)
	m.Unnamed = m.Type == mount.TypeVolume && m.Name == ""
	if m.Type == mount.TypeBind {
		m.Bind.CreateMountpoint = true // a directory, where nothing is
	}
	return m, nil
}

// checkTarget refuses places where nothing is mounted.
func checkTarget(p string) error {
	if path.Clean(p) == "/" {
		return errors.New("invalid specification: destination can't be '/'")
	}
	return checkAbsolute(p)
}

func checkAbsolute(p string) error {
	if !path.IsAbs(p) {
		return fmt.Errorf("invalid mount path: '%s' mount path must be absolute", p)
	}
	return nil
}

// checkSpec refuses what cannot be mounted; whether a bind's source is there is for
// checkMount.
func checkSpec(in *mount.Mount) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("invalid mount config for type %q: %w", in.Type, fmt.Errorf(format, a...))
	}
	for _, o := range []struct {
		has  bool
		of   mount.Type
		name string
	}{
		{in.BindOptions != nil, mount.TypeBind, "BindOptions"}, {in.VolumeOptions != nil, mount.TypeVolume, "VolumeOptions"},
		{in.ImageOptions != nil, mount.TypeImage, "ImageOptions"}, {in.TmpfsOptions != nil, mount.TypeTmpfs, "TmpfsOptions"},
		{in.ClusterOptions != nil, mount.TypeCluster, "ClusterOptions"},
	} {
		if o.has && in.Type != o.of {
			return bad("field %s must not be specified", o.name)
		}
	}
	if in.Target == "" {
		return bad("field Target must not be empty")
	}
	if err := checkTarget(in.Target); err != nil {
		return bad("%w", err)
	}
	if err := checkSource(in); err != nil {
		return bad("%w", err)
	}
	return nil
}

func checkSource(in *mount.Mount) error {
	subpath := func(s string) error {
		if s != "" && !filepath.IsLocal(s) {
			return errors.New("subpath must be a relative path within the volume")
		}
		return nil
	}
	switch in.Type {
	case mount.TypeBind:
		if in.Source == "" {
			return errors.New("field Source must not be empty")
		}
		if o := in.BindOptions; o != nil && o.Propagation != "" && !slices.Contains(mount.Propagations, o.Propagation) {
			return fmt.Errorf("invalid propagation mode: %s", o.Propagation)
		}
		return checkAbsolute(in.Source)
	case mount.TypeVolume:
		o := in.VolumeOptions
		if o == nil || o.Subpath == "" {
			return nil
		}
		if in.Source == "" {
			return errors.New("must not set Subpath when using anonymous volumes")
		}
		return subpath(o.Subpath)
	case mount.TypeTmpfs:
		if in.Source != "" {
			return errors.New("field Source must not be specified")
		}
		_, err := tmpfsOptions(in)
		return err
	case mount.TypeImage:
		if in.Source == "" {
			return errors.New("field Source must not be empty")
		}
		if in.ImageOptions != nil {
			return subpath(in.ImageOptions.Subpath)
		}
		return nil
	}
	return errors.New("mount type unknown")
}

// tmpfsOptions are the options of a tmpfs in the words of mount.
func tmpfsOptions(in *mount.Mount) ([]string, error) {
	var out []string
	if in.ReadOnly {
		out = append(out, "ro")
	}
	o := in.TmpfsOptions
	if o == nil {
		return out, nil
	}
	if o.Mode != 0 {
		out = append(out, fmt.Sprintf("mode=%o", o.Mode))
	}
	if o.SizeBytes != 0 {
		out = append(out, fmt.Sprintf("size=%d", o.SizeBytes))
	}
	for _, kv := range o.Options {
		if len(kv) < 1 || len(kv) > 2 {
			return nil, errors.New("invalid option array length")
		}
		if kv[0] != "exec" && kv[0] != "noexec" {
			return nil, errors.New("invalid option: " + kv[0])
		}
		out = append(out, strings.Join(kv, "="))
	}
	return out, nil
}

// checkMount is checkSpec, and refuses a bind of what is not there.
func checkMount(in *mount.Mount) error {
	if err := checkSpec(in); err != nil {
		return route.Invalid(err)
	}
	if in.Type != mount.TypeBind || (in.BindOptions != nil && in.BindOptions.CreateMountpoint) {
		return nil
	}
	_, err := os.Stat(in.Source)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return route.Invalidf("invalid mount config for type %q: bind source path does not exist: %s", in.Type, in.Source)
	case err != nil:
		return route.Invalid(fmt.Errorf("invalid mount config for type %q: %w", in.Type, err))
	}
	return nil
}

// newMount is the mount of a specification that has been checked.
func newMount(in *mount.Mount) *mountPoint {
	m := &mountPoint{}
	m.Type, m.Destination, m.RW = in.Type, path.Clean(in.Target), !in.ReadOnly
	switch in.Type {
	case mount.TypeBind:
		m.Source, m.Bind = path.Clean(in.Source), &mount.BindOptions{}
		if in.BindOptions != nil {
			m.Bind = in.BindOptions
		}
		m.Propagation = cmp.Or(m.Bind.Propagation, mount.PropagationRPrivate)
	case mount.TypeVolume:
		m.Name, m.Mode, m.Spec = in.Source, "z", &VolumeSpec{Name: in.Source}
		m.Own = m.Name == ""
		if o := in.VolumeOptions; o != nil {
			m.NoCopy, m.Subpath, m.Spec.Labels = o.NoCopy, o.Subpath, o.Labels
			if o.DriverConfig != nil {
				m.Spec.Driver, m.Spec.Options = o.DriverConfig.Name, o.DriverConfig.Options
			}
		}
	case mount.TypeTmpfs:
		m.Listed = true
		m.Tmpfs, _ = tmpfsOptions(in) // checked
		m.Tmpfs = withUsual(m.Tmpfs)
	case mount.TypeImage:
		m.Name, m.Source, m.RW, m.Propagation = in.Source, in.Source, false, mount.PropagationRPrivate
		if in.ImageOptions != nil {
			m.Subpath = in.ImageOptions.Subpath
		}
	}
	return m
}

// withUsual adds what a tmpfs usually is; "exec" and its like undo that.
func withUsual(options []string) []string {
	out := []string{}
	for _, usual := range []string{"noexec", "nosuid", "nodev"} {
		if !slices.Contains(options, strings.TrimPrefix(usual, "no")) {
			out = append(out, usual)
		}
	}
	return append(out, options...)
}

// parseMounts decides all mounts but those of other containers and of the image.
func parseMounts(h *container.HostConfig) ([]mountPoint, error) {
	var out []mountPoint
	at := map[string]bool{}
	add := func(m *mountPoint, named string) error {
		if at[m.Destination] {
			return route.Invalidf("Duplicate mount point: %s", named)
		}
		at[m.Destination] = true
		out = append(out, *m)
		return nil
	}
	tmpfs := map[string]bool{}
	for p := range h.Tmpfs {
		tmpfs[p] = true
	}
	for _, b := range h.Binds {
		m, err := parseBind(b, h.VolumeDriver)
		if err != nil {
			return nil, err
		}
		if tmpfs[m.Destination] {
			return nil, route.Invalidf("Duplicate mount point: %s", m.Destination)
		}
		if err := add(m, m.Destination); err != nil {
			return nil, err
		}
	}
	for i := range h.Mounts {
		if err := checkMount(&h.Mounts[i]); err != nil {
			return nil, err
		}
		if err := add(newMount(&h.Mounts[i]), h.Mounts[i].Target); err != nil {
			return nil, err
		}
	}
	for p, options := range h.Tmpfs {
		m := &mountPoint{Tmpfs: []string{}}
		m.Type, m.Destination, m.RW = mount.TypeTmpfs, path.Clean(p), true
		for _, o := range strings.Split(options, ",") {
			if o != "" {
				m.Tmpfs = append(m.Tmpfs, o)
			}
		}
		m.Tmpfs = withUsual(m.Tmpfs)
		if !at[m.Destination] {
			out = append(out, *m)
		}
	}
	return out, nil
}

// withImages adds the volumes that the image, or Config.Volumes, asks for, where
// nothing else is mounted, and puts the mounts in order: outer ones first.
func withImages(mounts []mountPoint, c *container.Config, driver string) []mountPoint {
	for p := range c.Volumes {
		p = path.Clean(p)
		if slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.Destination == p }) {
			continue
		}
		m := mountPoint{Own: true, OfImage: true, Spec: &VolumeSpec{Driver: driver}}
		m.Type, m.Destination, m.RW = mount.TypeVolume, p, true
		mounts = append(mounts, m)
	}
	slices.SortStableFunc(mounts, func(x, y mountPoint) int { return strings.Compare(x.Destination, y.Destination) })
	return mounts
}
