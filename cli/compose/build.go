package compose

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/platforms"
	"github.com/docker/cli/cli/config"
	"github.com/docker/go-units"
	"github.com/moby/go-archive"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/jsonmessage"
	"github.com/moby/patternmatcher/ignorefile"

	"skiff.dev/skiff/cli/compose/spec"
)

// buildFlags are those of `build` and `up --build`.
type buildFlags struct {
	noCache, pull, quiet, push bool
	args                       []string
	memory                     string
}

// buildAll builds images one after the other, so that what is told stays readable;
// the engine uses all cores for each.
func (a *actor) buildAll(ctx context.Context, services []types.ServiceConfig, f buildFlags) error {
	for _, s := range services {
		ref := spec.Image(a.p.Name, s, a.separator)
		if err := a.say.step("Image", ref, "Building", "Built", func() error { return a.build(ctx, s, ref, f) }); err != nil {
			return fmt.Errorf("build service %q: %w", s.Name, err)
		}
	}
	return nil
}

func (a *actor) build(ctx context.Context, s types.ServiceConfig, ref string, f buildFlags) error {
	b := s.Build
	if err := buildable(b); err != nil {
		return err
	}
	options, err := buildOptions(a.p, s, ref, f)
	if err != nil {
		return err
	}
	var content io.Reader
	if remote(b.Context) {
		options.RemoteContext = b.Context
		options.Dockerfile = b.Dockerfile
	} else {
		archive, name, err := buildContext(b)
		if err != nil {
			return err
		}
		defer archive.Close()
		content, options.Dockerfile = archive, name
	}
	got, err := a.d.ImageBuild(ctx, content, options)
	if err != nil {
		return err
	}
	out := a.say.out
	if f.quiet || a.say.quiet {
		out = io.Discard
	}
	return errors.Join(jsonmessage.DisplayStream(got.Body, out), got.Body.Close())
}

// buildable names what the build endpoint cannot carry, instead of leaving it out
// silently.
func buildable(b *types.BuildConfig) error {
	for name, set := range map[string]bool{
		"secrets": len(b.Secrets) > 0, "ssh": len(b.SSH) > 0, "additional_contexts": len(b.AdditionalContexts) > 0,
	} {
		if set {
			return fmt.Errorf("build.%s needs a session with the builder: build the image with `docker buildx build` and name it with image", name)
		}
	}
	return nil
}

func remote(context string) bool {
	if strings.HasPrefix(context, "git@") || strings.HasPrefix(context, "github.com/") {
		return true
	}
	u, err := url.Parse(context)
	return err == nil && u.Host != "" && slices.Contains([]string{"http", "https", "git", "ssh"}, u.Scheme)
}

func buildOptions(p *types.Project, s types.ServiceConfig, ref string, f buildFlags) (client.ImageBuildOptions, error) {
	b := s.Build
	o := client.ImageBuildOptions{
		Tags: append([]string{ref}, b.Tags...), NoCache: b.NoCache || f.noCache, PullParent: b.Pull || f.pull,
		Remove: true, Isolation: container.Isolation(b.Isolation), NetworkMode: b.Network, ShmSize: int64(b.ShmSize),
		CacheFrom: b.CacheFrom, ExtraHosts: b.ExtraHosts.AsList(":"), Target: b.Target,
		BuildArgs: map[string]*string{}, Labels: map[string]string{},
	}
	for k, v := range b.Labels {
		o.Labels[k] = v
	}
	o.Labels[spec.LabelProject] = p.Name
	o.Labels[spec.LabelService] = s.Name
	o.Labels[spec.LabelVersion] = spec.ComposeVersion
	maps.Copy(o.BuildArgs, b.Args.Resolve(p.Environment.Resolve))
	for _, arg := range f.args {
		k, v, given := strings.Cut(arg, "=")
		if !given {
			v = p.Environment[k]
		}
		o.BuildArgs[k] = &v
	}
	for name, u := range b.Ulimits {
		soft, hard := int64(u.Soft), int64(u.Hard)
		if u.Single != 0 {
			soft, hard = int64(u.Single), int64(u.Single)
		}
		o.Ulimits = append(o.Ulimits, &units.Ulimit{Name: name, Soft: soft, Hard: hard})
	}
	if f.memory != "" {
		n, err := units.RAMInBytes(f.memory)
		if err != nil {
			return o, fmt.Errorf("memory: %w", err)
		}
		o.Memory = n
	}
	names := []string(b.Platforms)
	if len(names) == 0 && s.Platform != "" {
		names = []string{s.Platform}
	}
	for _, name := range names {
		platform, err := platforms.Parse(name)
		if err != nil {
			return o, err
		}
		o.Platforms = append(o.Platforms, platform)
	}
	auths, err := allAuths()
	o.AuthConfigs = auths
	return o, err
}

func allAuths() (map[string]registry.AuthConfig, error) {
	file, err := config.Load(config.Dir())
	if err != nil {
		return nil, err
	}
	all, err := file.GetAllCredentials()
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	out := map[string]registry.AuthConfig{}
	for host, auth := range all {
		out[host] = registry.AuthConfig{
			Username: auth.Username, Password: auth.Password, Auth: auth.Auth,
			ServerAddress: auth.ServerAddress, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
		}
	}
	return out, nil
}

// buildContext is the archive of a build and the name of the Dockerfile in it. A
// Dockerfile that is written in the compose file or lies outside the context comes
// in under a name of its own.
func buildContext(b *types.BuildConfig) (io.ReadCloser, string, error) {
	st, err := os.Stat(b.Context)
	if err != nil {
		return nil, "", fmt.Errorf("unable to prepare context: %w", err)
	}
	if !st.IsDir() {
		return nil, "", fmt.Errorf("unable to prepare context: %s is not a directory", b.Context)
	}
	name := b.Dockerfile
	if name == "" {
		name = "Dockerfile"
	}
	var extra []byte
	if b.DockerfileInline != "" {
		extra, name = []byte(b.DockerfileInline), ".dockerfile.inline"
	} else {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(b.Context, name)
		}
		rel, err := filepath.Rel(b.Context, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			if extra, err = os.ReadFile(path); err != nil {
				return nil, "", fmt.Errorf("failed to read dockerfile: %w", err)
			}
			name = ".dockerfile.outside"
		} else {
			if _, err := os.Stat(path); err != nil {
				return nil, "", fmt.Errorf("failed to read dockerfile: %w", err)
			}
			name = filepath.ToSlash(rel)
		}
	}
	exclude, err := ignored(b.Context, name)
	if err != nil {
		return nil, "", err
	}
	archive, err := archive.TarWithOptions(b.Context, &archive.TarOptions{ExcludePatterns: exclude, ChownOpts: &archive.ChownOpts{}})
	if err != nil {
		return nil, "", err
	}
	if extra != nil {
		archive = prepend(archive, name, extra)
	}
	return archive, name, nil
}

// ignored are the patterns of .dockerignore, or of the one beside the Dockerfile;
// those two files themselves always go along.
func ignored(dir, dockerfile string) ([]string, error) {
	for _, name := range []string{dockerfile + ".dockerignore", ".dockerignore"} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(patterns) > 0 {
			patterns = append(patterns, "!"+name, "!"+dockerfile)
		}
		return patterns, nil
	}
	return nil, nil
}

// prepend puts one more file in front of an archive.
func prepend(archive io.ReadCloser, name string, content []byte) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0)})
		if err == nil {
			_, err = t.Write(content)
		}
		if err == nil {
			err = t.Flush() // without the end marks: the archive goes on
		}
		if err == nil {
			_, err = io.Copy(w, archive)
		}
		w.CloseWithError(errors.Join(err, archive.Close()))
	}()
	return r
}
