package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/cli/pkg/kvfile"
	"go.yaml.in/yaml/v4"

	"skiff.dev/skiff/cli/compose/legacy"
)

// source says where a project is described: the flags that every verb has.
type source struct {
	files, profiles, envFiles []string
	name, directory           string
	compatibility             bool
}

// separator stands between the parts of a container's name.
func (s *source) separator() string {
	if s.compatibility {
		return "_"
	}
	return "-"
}

// loadOptions are what a verb wants to be different.
type loadOptions struct {
	services        []string // with what they depend on; empty: all
	noDeps          bool
	noInterpolation bool
	keepEnvFiles    bool
	allResources    bool
}

// maxFile bounds a compose file.
const maxFile = 16 << 20

// errNoFile is what there is to say where no compose file is.
var errNoFile = errors.New("no configuration file provided: not found")

// load reads a project. Files of version 1 are converted on the way.
func (s *source) load(ctx context.Context, o loadOptions) (*types.Project, error) {
	opts, details, err := s.read(ctx, o)
	if err != nil {
		return nil, err
	}
	p, err := loader.LoadWithContext(ctx, *details, opts...)
	if err != nil {
		return nil, withPlace(details.ConfigFiles, err)
	}
	for _, f := range details.ConfigFiles {
		p.ComposeFiles = append(p.ComposeFiles, f.Filename)
	}
	if len(o.services) > 0 {
		if p, err = choose(p, o); err != nil {
			return nil, err
		}
	}
	if !o.allResources {
		p = p.WithoutUnnecessaryResources()
	}
	return p, nil
}

// choose narrows a project to some services, which need not be in an active
// profile, and what they depend on.
func choose(p *types.Project, o loadOptions) (*types.Project, error) {
	p, err := p.WithServicesEnabled(o.services...)
	if err != nil {
		return nil, fmt.Errorf("no such service: %w", err)
	}
	for _, name := range o.services {
		if _, ok := p.Services[name]; !ok {
			return nil, fmt.Errorf("no such service: %s", name)
		}
	}
	if o.noDeps {
		return p.WithSelectedServices(o.services, types.IgnoreDependencies)
	}
	return p.WithSelectedServices(o.services)
}

// read finds and reads the files and says how they are to be understood.
func (s *source) read(ctx context.Context, o loadOptions) ([]func(*loader.Options), *types.ConfigDetails, error) {
	registerRaw()
	po, err := s.projectOptions()
	if err != nil {
		return nil, nil, err
	}
	if len(po.ConfigPaths) == 0 {
		return nil, nil, errNoFile
	}
	dir, err := po.GetWorkingDir()
	if err != nil {
		return nil, nil, err
	}
	details, err := po.ReadConfigFiles(ctx, dir, po)
	if err != nil {
		return nil, nil, err
	}
	named := false
	for i, f := range details.ConfigFiles {
		if len(f.Content) > maxFile {
			return nil, nil, fmt.Errorf("%s: more than %d MiB", f.Filename, maxFile>>20)
		}
		if err := wellFormed(f.Content); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", f.Filename, err)
		}
		if f.Content, err = legacy.Convert(f.Content); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", f.Filename, err)
		}
		details.ConfigFiles[i].Content = f.Content
		var top struct{ Name string }
		if yaml.Unmarshal(f.Content, &top) == nil && top.Name != "" {
			named = true
		}
	}
	details.Environment = po.Environment
	name, explicit := s.projectName(po)
	return []func(*loader.Options){func(lo *loader.Options) {
		if explicit || !named {
			lo.SetProjectName(name, explicit)
		}
		lo.Profiles = profiles(s.profiles, po.Environment)
		lo.SkipInterpolation = o.noInterpolation
		if !o.keepEnvFiles {
			loader.WithDiscardEnvFiles(lo)
		}
		lo.ResolvePaths = true
	}}, details, nil
}

// registerRaw adds the env_file format that takes values as they are written, as
// docker run --env-file does. The reading library keeps formats for the process.
var registerRaw = sync.OnceFunc(func() {
	dotenv.RegisterFormat("raw", func(r io.Reader, filename string, vars map[string]string, lookup func(string) (string, bool)) error {
		lines, err := kvfile.ParseFromReader(r, lookup)
		if err != nil {
			return fmt.Errorf("failed to parse env_file %s: %w", filename, err)
		}
		for _, line := range lines {
			key, value, _ := strings.Cut(line, "=")
			vars[key] = value
		}
		return nil
	})
})

// wellFormed tells the line of what YAML cannot be.
func wellFormed(text []byte) error {
	var doc yaml.Node
	return yaml.Unmarshal(text, &doc)
}

func (s *source) projectOptions() (*cli.ProjectOptions, error) {
	for _, f := range s.envFiles {
		if _, err := os.Stat(f); err != nil {
			return nil, fmt.Errorf("couldn't find env file: %s", f)
		}
	}
	po, err := cli.NewProjectOptions(s.files,
		cli.WithWorkingDirectory(s.directory),
		cli.WithOsEnv,
		cli.WithConfigFileEnv,
		cli.WithDefaultConfigPath,
		cli.WithEnvFiles(s.envFiles...),
		cli.WithDotEnv,
		cli.WithConfigFileEnv, // .env may say COMPOSE_FILE
		cli.WithDefaultConfigPath,
	)
	if err != nil {
		if strings.Contains(err.Error(), "no configuration file provided") {
			return po, errNoFile
		}
		return nil, err
	}
	if !s.compatibility {
		s.compatibility, _ = strconv.ParseBool(po.Environment["COMPOSE_COMPATIBILITY"])
	}
	return po, nil
}

// projectName is the name and whether somebody asked for it.
func (s *source) projectName(po *cli.ProjectOptions) (string, bool) {
	if s.name != "" {
		return s.name, true
	}
	if name := po.Environment["COMPOSE_PROJECT_NAME"]; name != "" {
		return name, true
	}
	dir, err := po.GetWorkingDir()
	if err != nil {
		return "", false
	}
	return loader.NormalizeProjectName(filepath.Base(dir)), false
}

func profiles(flags []string, env types.Mapping) []string {
	if len(flags) == 0 {
		flags = strings.FieldsFunc(env["COMPOSE_PROFILES"], func(r rune) bool { return r == ',' })
	}
	out := []string{}
	for _, p := range flags {
		if p = strings.TrimSpace(p); p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// known loads the project if there is a file, for verbs that can do with labels
// alone when the user named the project. The name is always there.
func (s *source) known(ctx context.Context) (*types.Project, string, error) {
	p, err := s.load(ctx, loadOptions{allResources: true})
	if err == nil {
		return p, p.Name, nil
	}
	name := s.name
	if name == "" {
		name = os.Getenv("COMPOSE_PROJECT_NAME")
	}
	if errors.Is(err, errNoFile) && name != "" {
		return nil, name, nil
	}
	return nil, "", err
}
