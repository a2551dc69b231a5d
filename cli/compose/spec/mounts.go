package spec

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/mount"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// mounts are the volumes, configs and secrets of a container. What binds and the
// mount list can both say is a bind where docker compose makes it one: host paths
// that may be created and named volumes without options.
func mounts(p *types.Project, s types.ServiceConfig, c Container) (binds []string, out []mount.Mount, err error) {
	taken := map[string]bool{}
	for _, v := range s.Volumes {
		taken[v.Target] = true
		switch v.Type {
		case types.VolumeTypeBind:
			if v.Bind == nil || (v.Bind.CreateHostPath && v.Bind.Recursive == "") {
				binds = append(binds, bind(v.Source, v))
				continue
			}
			out = append(out, mount.Mount{Type: mount.TypeBind, Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly, Consistency: mount.Consistency(v.Consistency), BindOptions: bindOptions(v.Bind)})
		case types.VolumeTypeVolume, "":
			m, asBind := volumeMount(p, v)
			switch {
			case v.Source == "" && c.Inherit[v.Target] != "":
				m.Source = c.Inherit[v.Target]
				out = append(out, m)
			case asBind:
				binds = append(binds, bind(m.Source, v))
			case v.Source == "" && v.Volume == nil && !v.ReadOnly: // anonymous, in Config.Volumes
			default:
				out = append(out, m)
			}
		case types.VolumeTypeTmpfs:
			m := mount.Mount{Type: mount.TypeTmpfs, Target: v.Target, ReadOnly: v.ReadOnly}
			if v.Tmpfs != nil {
				m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: int64(v.Tmpfs.Size), Mode: os.FileMode(v.Tmpfs.Mode)}
			}
			out = append(out, m)
		case types.VolumeTypeImage:
			m := mount.Mount{Type: mount.TypeImage, Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
			if v.Image != nil && v.Image.SubPath != "" {
				m.ImageOptions = &mount.ImageOptions{Subpath: v.Image.SubPath}
			}
			out = append(out, m)
		default:
			out = append(out, mount.Mount{Type: mount.Type(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly})
		}
	}
	for _, target := range sortedKeys(c.Inherit) {
		if !taken[target] {
			out = append(out, mount.Mount{Type: mount.TypeVolume, Source: c.Inherit[target], Target: target})
		}
	}
	for _, f := range Files(p, s) {
		if !f.Inline {
			out = append(out, mount.Mount{Type: mount.TypeBind, Source: f.Source, Target: f.Target, ReadOnly: true, BindOptions: &mount.BindOptions{}})
		}
	}
	if s.UseAPISocket {
		binds = append(binds, "/var/run/docker.sock:/var/run/docker.sock")
	}
	return binds, out, nil
}

// volumeMount is v as a mount, and whether a bind says the same.
func volumeMount(p *types.Project, v types.ServiceVolumeConfig) (mount.Mount, bool) {
	m := mount.Mount{Type: mount.TypeVolume, Target: v.Target, ReadOnly: v.ReadOnly, Source: v.Source}
	if known, ok := p.Volumes[v.Source]; ok {
		m.Source = known.Name
	}
	asBind := v.Source != "" && (v.Volume == nil || (v.Volume.Subpath == "" && len(v.Volume.Labels) == 0))
	if v.Volume != nil && !asBind {
		m.VolumeOptions = &mount.VolumeOptions{NoCopy: v.Volume.NoCopy, Subpath: v.Volume.Subpath, Labels: v.Volume.Labels}
	}
	return m, asBind
}

func bind(source string, v types.ServiceVolumeConfig) string {
	options := []string{"rw"}
	if v.ReadOnly {
		options[0] = "ro"
	}
	if v.Bind != nil {
		if v.Bind.SELinux != "" {
			options = append(options, v.Bind.SELinux)
		}
		if v.Bind.Propagation != "" {
			options = append(options, v.Bind.Propagation)
		}
	}
	if v.Volume != nil && v.Volume.NoCopy {
		options = append(options, "nocopy")
	}
	return source + ":" + v.Target + ":" + strings.Join(options, ",")
}

func bindOptions(b *types.ServiceVolumeBind) *mount.BindOptions {
	o := &mount.BindOptions{Propagation: mount.Propagation(b.Propagation), CreateMountpoint: bool(b.CreateHostPath)}
	switch b.Recursive {
	case "disabled":
		o.NonRecursive = true
	case "writable":
		o.ReadOnlyNonRecursive = true
	case "readonly":
		o.ReadOnlyForceRecursive = true
	}
	return o
}

// anonymous are the mount points whose volumes have no name and are not inherited.
func anonymous(s types.ServiceConfig, c Container) map[string]struct{} {
	out := map[string]struct{}{}
	for _, v := range s.Volumes {
		if v.Source == "" && (v.Type == types.VolumeTypeVolume || v.Type == "") && v.Volume == nil && !v.ReadOnly && c.Inherit[v.Target] == "" {
			out[v.Target] = struct{}{}
		}
	}
	return out
}

// securityOpt sends the content of a seccomp profile instead of its name, and
// takes out what the API has fields for.
func securityOpt(p *types.Project, in []string) (out, masked, readonly []string, err error) {
	for _, o := range in {
		key, value, ok := strings.Cut(o, "=")
		if !ok {
			key, value, _ = strings.Cut(o, ":")
		}
		if o == "systempaths=unconfined" {
			masked, readonly = []string{}, []string{}
			continue
		}
		if key == "seccomp" && value != "unconfined" && value != "builtin" {
			if !filepath.IsAbs(value) {
				value = filepath.Join(p.WorkingDir, value)
			}
			text, err := os.ReadFile(value)
			if err != nil {
				return nil, nil, nil, fmt.Errorf("opening seccomp profile: %w", err)
			}
			if !json.Valid(text) {
				return nil, nil, nil, fmt.Errorf("seccomp profile %s is not JSON", value)
			}
			o = "seccomp=" + string(text)
		}
		out = append(out, o)
	}
	return out, masked, readonly, nil
}
