package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"skiff.dev/skiff/cli/compose/spec"
)

// fetch says what `up` and its like do about images.
type fetch struct {
	build   bool // build even if the image is there
	noBuild bool
	quiet   bool   // pull without telling
	pull    string // always, missing, never, or the services' own policies
}

// ensureImages makes the image of each service available, by pulling or building,
// and remembers their identifiers.
func (a *actor) ensureImages(ctx context.Context, f fetch) error {
	have, err := imagesOf(ctx, a.d, a.p, a.separator)
	if err != nil {
		return err
	}
	pull := map[string]types.ServiceConfig{}
	var build []types.ServiceConfig
	for _, name := range slices.Sorted(maps.Keys(a.p.Services)) {
		s := a.p.Services[name]
		ref := spec.Image(a.p.Name, s, a.separator)
		policy, age, err := s.GetPullPolicy()
		if err != nil {
			return fmt.Errorf("service %q: %w", name, err)
		}
		if f.pull != "" && f.pull != "policy" && policy != types.PullPolicyBuild {
			policy = f.pull
		}
		_, present := have[ref]
		switch {
		case s.Build != nil && !f.noBuild && (f.build || policy == types.PullPolicyBuild || (!present && (s.Image == "" || policy != types.PullPolicyAlways))):
			build = append(build, s)
		case s.Build != nil && s.Image == "":
			if !present {
				return fmt.Errorf("no such image: %s", ref)
			}
		case policy == types.PullPolicyAlways, policy == types.PullPolicyRefresh && a.stale(ctx, ref, present, age):
			pull[ref] = s
		case policy == types.PullPolicyNever && !present:
			return fmt.Errorf("no such image: %s: No such image: %s", ref, ref)
		case !present:
			pull[ref] = s
		}
	}
	for _, s := range build { // another service's build makes it
		delete(pull, a.imageRef(s))
	}
	puller := *a
	if f.quiet {
		puller.say = &progress{out: a.say.out, quiet: true}
	}
	g, gctx := errgroup.WithContext(ctx)
	for ref, s := range pull {
		g.Go(func() error { return puller.pull(gctx, s, ref) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := a.buildAll(ctx, build, buildFlags{}); err != nil {
		return err
	}
	a.images, err = imagesOf(ctx, a.d, a.p, a.separator)
	return err
}

// stale tells whether an image was last tagged longer ago than age.
func (a *actor) stale(ctx context.Context, ref string, present bool, age time.Duration) bool {
	if !present {
		return true
	}
	got, err := a.d.ImageInspect(ctx, ref)
	return err != nil || got.Metadata.LastTagTime.IsZero() || time.Since(got.Metadata.LastTagTime) > age
}

func (a *actor) pull(ctx context.Context, s types.ServiceConfig, ref string) error {
	return a.say.step("Image", ref, "Pulling", "Pulled", func() error {
		auth, err := registryAuth(ref)
		if err != nil {
			return err
		}
		options := client.ImagePullOptions{RegistryAuth: auth}
		if s.Platform != "" {
			platform, err := platforms.Parse(s.Platform)
			if err != nil {
				return err
			}
			options.Platforms = append(options.Platforms, platform)
		}
		stream, err := a.d.ImagePull(ctx, ref, options)
		if err != nil {
			return err
		}
		return drain(ctx, stream)
	})
}

func (a *actor) push(ctx context.Context, ref string) error {
	return a.say.step("Image", ref, "Pushing", "Pushed", func() error {
		auth, err := registryAuth(ref)
		if err != nil {
			return err
		}
		stream, err := a.d.ImagePush(ctx, ref, client.ImagePushOptions{RegistryAuth: auth})
		if err != nil {
			return err
		}
		return drain(ctx, stream)
	})
}

// drain reads a pull or push to its end, which is where its error is.
func drain(ctx context.Context, stream interface {
	io.Closer
	Wait(context.Context) error
}) error {
	return errors.Join(stream.Wait(ctx), stream.Close())
}

// registryAuth is the header with the user's credentials for an image's registry.
func registryAuth(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("invalid reference %q: %w", ref, err)
	}
	host := reference.Domain(named)
	if host == "docker.io" {
		host = "https://index.docker.io/v1/"
	}
	file, err := config.Load(config.Dir())
	if err != nil {
		return "", err
	}
	auth, err := file.GetAuthConfig(host)
	if err != nil {
		return "", fmt.Errorf("credentials for %s: %w", host, err)
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: auth.Username, Password: auth.Password, Auth: auth.Auth,
		ServerAddress: auth.ServerAddress, IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
	})
}

// pullAll pulls the images of services, each once.
func (a *actor) pullAll(ctx context.Context, p *types.Project, missing, ignoreBuildable, ignoreFailures bool) error {
	have := map[string]string{}
	if missing {
		var err error
		if have, err = imagesOf(ctx, a.d, p, a.separator); err != nil {
			return err
		}
	}
	todo := map[string]types.ServiceConfig{}
	for _, s := range p.Services {
		ref := a.imageRef(s)
		switch _, present := have[ref]; {
		case s.Image == "", present, ignoreBuildable && s.Build != nil, s.PullPolicy == types.PullPolicyBuild, s.PullPolicy == types.PullPolicyNever:
			a.say.say("Service", s.Name, "Skipped")
		default:
			todo[ref] = s
		}
	}
	for _, s := range p.Services {
		if ref := a.imageRef(s); s.Build != nil && ignoreBuildable {
			delete(todo, ref)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for ref, s := range todo {
		g.Go(func() error {
			err := a.pull(ctx, s, ref)
			if err != nil && ctx.Err() == nil && (ignoreFailures || s.Build != nil) {
				a.say.warn(fmt.Sprintf("pull %s: %v", ref, err))
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// pushAll pushes the images of services and the further tags that they build.
func (a *actor) pushAll(ctx context.Context, services []types.ServiceConfig, ignoreFailures bool) error {
	for _, s := range services {
		for _, ref := range append([]string{a.imageRef(s)}, s.Build.Tags...) {
			err := a.push(ctx, ref)
			if err != nil && ctx.Err() == nil && ignoreFailures {
				a.say.warn(fmt.Sprintf("push %s: %v", ref, err))
				continue
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
