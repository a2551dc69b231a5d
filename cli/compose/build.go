package compose

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

// Docker runs one of docker's own commands on the engine that compose speaks to and
// returns its exit code.
type Docker func(ctx context.Context, args ...string) int

// buildFlags are those of `build` and `up --build`.
type buildFlags struct {
	noCache, pull, quiet, push bool
	args, ssh                  []string
	memory, provenance, sbom   string
}

// buildAll builds images one after the other, so that what is told stays readable;
// the engine uses all cores for each. One that is a context of another comes first.
func (a *actor) buildAll(ctx context.Context, services []types.ServiceConfig, f buildFlags) error {
	order, err := buildOrder(a.p, services)
	if err != nil {
		return err
	}
	for _, s := range order {
		ref := a.imageRef(s)
		if err := a.say.step("Image", ref, "Building", "Built", func() error { return a.build(ctx, s, ref, f) }); err != nil {
			return fmt.Errorf("build service %q: %w", s.Name, err)
		}
	}
	return nil
}

// buildOrder adds the services whose images are contexts of others and puts each
// behind those it needs.
func buildOrder(p *types.Project, services []types.ServiceConfig) ([]types.ServiceConfig, error) {
	all, needs := p.AllServices(), map[string][]string{}
	var add func(types.ServiceConfig) error
	add = func(s types.ServiceConfig) error {
		if _, known := needs[s.Name]; known {
			return nil
		}
		needs[s.Name] = nil
		for _, from := range s.Build.AdditionalContexts {
			name, ok := strings.CutPrefix(from, types.ServicePrefix)
			if !ok {
				continue
			}
			of, ok := all[name]
			if !ok || of.Build == nil {
				return fmt.Errorf("service %q: the context %q is no service that is built", s.Name, from)
			}
			needs[s.Name] = append(needs[s.Name], name)
			if err := add(of); err != nil {
				return err
			}
		}
		return nil
	}
	for _, s := range services {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	names, err := plan.Order(needs)
	if err != nil {
		return nil, err
	}
	var out []types.ServiceConfig
	for _, name := range names {
		out = append(out, all[name])
	}
	return out, nil
}

// build is docker's build with the arguments that say what the file says.
func (a *actor) build(ctx context.Context, s types.ServiceConfig, ref string, f buildFlags) error {
	f.quiet = f.quiet || a.say.quiet
	args, err := buildArgs(a.p, s, ref, a.separator, f)
	if err != nil {
		return err
	}
	if s.Build.DockerfileInline != "" {
		dir, err := os.MkdirTemp("", "skiff-compose-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		file := filepath.Join(dir, "Dockerfile")
		if err := os.WriteFile(file, []byte(s.Build.DockerfileInline), 0o600); err != nil {
			return err
		}
		args = slices.Insert(args, 1, "--file", file)
	}
	for _, name := range secretVariables(a.p, s) {
		// They may come from an env file; the build command looks in the environment,
		// not in its arguments, which others can read.
		if err := os.Setenv(name, a.p.Environment[name]); err != nil {
			return err
		}
	}
	if code := a.docker(ctx, args...); code != 0 {
		return fmt.Errorf("the build of %s ended with exit code %d", ref, code)
	}
	return nil
}

// remote tells a context that the engine fetches.
func remote(context string) bool {
	if strings.HasPrefix(context, "git@") || strings.HasPrefix(context, "github.com/") {
		return true
	}
	u, err := url.Parse(context)
	return err == nil && u.Host != "" && slices.Contains([]string{"http", "https", "git", "ssh"}, u.Scheme)
}

// buildArgs are the arguments of `docker build` for a service. A Dockerfile that is
// written in the compose file is left to the caller.
func buildArgs(p *types.Project, s types.ServiceConfig, ref, separator string, f buildFlags) ([]string, error) {
	b := s.Build
	args := []string{"build"}
	add := func(flag string, values ...string) {
		for _, v := range values {
			args = append(args, "--"+flag, v)
		}
	}
	one := func(flag, v string) {
		if v != "" {
			add(flag, v)
		}
	}
	on := func(flag string, is bool) {
		if is {
			args = append(args, "--"+flag)
		}
	}
	if b.Privileged {
		return nil, fmt.Errorf("build.privileged: builds have no privileges here")
	}
	for _, e := range b.Entitlements {
		if e != "network.host" {
			return nil, fmt.Errorf("build.entitlements: %s is not granted here", e)
		}
	}
	if b.Dockerfile != "" && b.DockerfileInline == "" {
		file := b.Dockerfile
		if !filepath.IsAbs(file) && !remote(b.Context) {
			file = filepath.Join(b.Context, file)
		}
		add("file", file)
	}
	add("tag", append([]string{ref}, b.Tags...)...)
	for _, k := range slices.Sorted(maps.Keys(b.Args)) {
		if v := b.Args[k]; v != nil {
			add("build-arg", k+"="+*v)
		} else if v, ok := p.Environment[k]; ok {
			add("build-arg", k+"="+v)
		}
	}
	for _, arg := range f.args {
		if k, _, given := strings.Cut(arg, "="); !given {
			arg = k + "=" + p.Environment[k]
		}
		add("build-arg", arg)
	}
	labels := map[string]string{}
	maps.Copy(labels, b.Labels)
	labels[spec.LabelProject], labels[spec.LabelService], labels[spec.LabelVersion] = p.Name, s.Name, spec.ComposeVersion
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		add("label", k+"="+labels[k])
	}
	one("target", b.Target)
	one("network", b.Network)
	one("isolation", b.Isolation)
	one("memory", f.memory)
	if b.ShmSize > 0 {
		add("shm-size", strconv.FormatInt(int64(b.ShmSize), 10))
	}
	on("no-cache", b.NoCache || f.noCache)
	add("no-cache-filter", b.NoCacheFilter...)
	on("pull", b.Pull || f.pull)
	add("cache-from", b.CacheFrom...)
	add("cache-to", b.CacheTo...)
	add("add-host", b.ExtraHosts.AsList("=")...)
	platforms := []string(b.Platforms)
	if len(platforms) == 0 && s.Platform != "" {
		platforms = []string{s.Platform}
	}
	one("platform", strings.Join(platforms, ","))
	for _, name := range slices.Sorted(maps.Keys(b.Ulimits)) {
		u := b.Ulimits[name]
		if u.Single != 0 {
			add("ulimit", fmt.Sprintf("%s=%d", name, u.Single))
		} else {
			add("ulimit", fmt.Sprintf("%s=%d:%d", name, u.Soft, u.Hard))
		}
	}
	one("provenance", cmp.Or(f.provenance, b.Provenance))
	one("sbom", cmp.Or(f.sbom, b.SBOM))
	for _, k := range slices.Sorted(maps.Keys(b.AdditionalContexts)) {
		from := b.AdditionalContexts[k]
		if name, ok := strings.CutPrefix(from, types.ServicePrefix); ok {
			from = "docker-image://" + spec.Image(p.Name, p.AllServices()[name], separator)
		}
		add("build-context", k+"="+from)
	}
	for _, key := range b.SSH {
		arg := key.ID
		if key.Path != "" {
			arg += "=" + key.Path
		}
		add("ssh", arg)
	}
	add("ssh", f.ssh...)
	for _, ref := range b.Secrets {
		arg, err := secretArg(p, ref)
		if err != nil {
			return nil, err
		}
		add("secret", arg)
	}
	if f.quiet {
		add("progress", "quiet")
	}
	return append(args, b.Context), nil
}

// secretArg is a secret in the words of docker build: by a file or by the name of a
// variable.
func secretArg(p *types.Project, ref types.ServiceSecretConfig) (string, error) {
	id := ref.Target
	if id == "" {
		id = ref.Source
	}
	secret, ok := p.Secrets[ref.Source]
	switch {
	case !ok:
		return "", fmt.Errorf("build.secrets: undefined secret %q", ref.Source)
	case bool(secret.External):
		return "", fmt.Errorf("build.secrets: unsupported external secret %s", ref.Source)
	case secret.Environment != "":
		return fmt.Sprintf("id=%s,type=env,env=%s", id, secret.Environment), nil
	case secret.File != "":
		return fmt.Sprintf("id=%s,type=file,src=%s", id, secret.File), nil
	}
	return "", fmt.Errorf("build.secrets: secret %q is neither a file nor a variable", ref.Source)
}

// secretVariables are the variables that hold secrets of a build.
func secretVariables(p *types.Project, s types.ServiceConfig) (names []string) {
	for _, ref := range s.Build.Secrets {
		name := p.Secrets[ref.Source].Environment
		if _, ok := p.Environment[name]; ok && name != "" {
			names = append(names, name)
		}
	}
	return names
}
