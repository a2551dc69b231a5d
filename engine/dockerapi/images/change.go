package images

import (
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// changeable are the instructions that import and commit take.
var changeable = []string{"cmd", "entrypoint", "healthcheck", "env", "expose", "label", "onbuild", "stopsignal", "user", "volume", "workdir"}

// changed applies lines of a Dockerfile to a copy of an image's config.
func changed(c dockerspec.DockerOCIImageConfig, lines []string) (dockerspec.DockerOCIImageConfig, error) {
	if len(lines) == 0 {
		return c, nil
	}
	parsed, err := parser.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return c, route.Invalid(err)
	}
	words := shell.NewLex(parsed.EscapeToken)
	c.Env, c.OnBuild = slices.Clone(c.Env), slices.Clone(c.OnBuild)
	c.Labels, c.Volumes, c.ExposedPorts = maps.Clone(c.Labels), maps.Clone(c.Volumes), maps.Clone(c.ExposedPorts)
	for _, n := range parsed.AST.Children {
		if !slices.Contains(changeable, strings.ToLower(n.Value)) {
			return c, route.Invalidf("%s is not a valid change command", n.Value)
		}
		cmd, err := instructions.ParseCommand(n)
		if err != nil {
			return c, route.Invalid(err)
		}
		if err := expand(cmd, words, c.Env); err != nil {
			return c, route.Invalid(err)
		}
		if err := apply(&c, cmd); err != nil {
			return c, route.Invalid(err)
		}
	}
	return c, nil
}

// expand puts the values of the environment in the places of their names.
func expand(cmd instructions.Command, words *shell.Lex, env []string) error {
	values := shell.EnvsFromSlice(env)
	if x, ok := cmd.(instructions.SupportsSingleWordExpansion); ok {
		if err := x.Expand(func(word string) (string, error) {
			out, _, err := words.ProcessWord(word, values)
			return out, err
		}); err != nil {
			return err
		}
	}
	x, ok := cmd.(*instructions.ExposeCommand)
	if !ok {
		return nil
	}
	var ports []string
	for _, p := range x.Ports {
		more, err := words.ProcessWords(p, values)
		if err != nil {
			return err
		}
		ports = append(ports, more...)
	}
	x.Ports = ports
	return nil
}

func apply(c *dockerspec.DockerOCIImageConfig, cmd instructions.Command) error {
	shell := func(line instructions.ShellDependantCmdLine) []string {
		if !line.PrependShell {
			return line.CmdLine
		}
		if len(c.Shell) > 0 {
			return append(slices.Clone(c.Shell), strings.Join(line.CmdLine, " "))
		}
		return []string{"/bin/sh", "-c", strings.Join(line.CmdLine, " ")}
	}
	switch x := cmd.(type) {
	case *instructions.CmdCommand:
		c.Cmd = shell(x.ShellDependantCmdLine)
	case *instructions.EntrypointCommand:
		c.Entrypoint = shell(x.ShellDependantCmdLine)
	case *instructions.HealthCheckCommand:
		c.Healthcheck = x.Health
	case *instructions.EnvCommand:
		for _, kv := range x.Env {
			c.Env = setEnv(c.Env, kv.Key, kv.Value)
		}
	case *instructions.LabelCommand:
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		for _, kv := range x.Labels {
			c.Labels[kv.Key] = kv.Value
		}
	case *instructions.ExposeCommand:
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		for _, p := range x.Ports {
			if !strings.Contains(p, "/") {
				p += "/tcp"
			}
			c.ExposedPorts[p] = struct{}{}
		}
	case *instructions.VolumeCommand:
		if c.Volumes == nil {
			c.Volumes = map[string]struct{}{}
		}
		for _, v := range x.Volumes {
			if v = strings.TrimSpace(v); v == "" {
				return errors.New("VOLUME specified can not be an empty string")
			}
			c.Volumes[v] = struct{}{}
		}
	case *instructions.OnbuildCommand:
		c.OnBuild = append(c.OnBuild, x.Expression)
	case *instructions.StopSignalCommand:
		c.StopSignal = x.Signal
	case *instructions.UserCommand:
		c.User = x.User
	case *instructions.WorkdirCommand:
		dir := x.Path
		if !path.IsAbs(dir) {
			dir = path.Join("/", c.WorkingDir, dir)
		}
		c.WorkingDir = path.Clean(dir)
	}
	return nil
}

func setEnv(env []string, key, value string) []string {
	for i, e := range env {
		if k, _, _ := strings.Cut(e, "="); k == key {
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}
