package cli

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"skiff.dev/skiff/cli/docker"
)

// dockerGroup is docker's part of skiff's own help.
const dockerGroup = "docker"

// dockerHelp are docker's verbs in skiff's own help; runEmbedded takes a command
// before it gets there.
func dockerHelp(dirs *Dirs) []*cobra.Command {
	cmds := []*cobra.Command{{
		Use:   "docker ARGUMENTS...",
		Short: "Docker's own command line, built in, for this engine or that of DOCKER_HOST",
		Long: `Docker's own command line, built in. It speaks to this instance's engine, unless -H,
--context, DOCKER_HOST or DOCKER_CONTEXT name another. Its everyday commands are also
verbs of skiff itself, and then are always for this instance. skiff has its own
commands under image (load, ls, pull, rm) and its own start and stop of a cluster (up
and down): skiff docker image ... is docker's.`,
		Example: `  skiff docker ps -a
  skiff docker image ls --digests
  DOCKER_HOST=tcp://build.example.com:2375 skiff docker info`,
	}}
	for _, v := range docker.Verbs {
		cmds = append(cmds, &cobra.Command{Use: v.Name, Short: v.Short, Example: v.Example, GroupID: dockerGroup})
	}
	for _, cmd := range cmds {
		cmd.DisableFlagParsing = true
		cmd.Run = func(*cobra.Command, []string) {}
		if cmd.GroupID == dockerGroup {
			cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
				dockerVerb(cmd.Context(), dirs, cmd.Name(), []string{"--help"})
			})
		}
	}
	return cmds
}

// dockerVerb runs one of docker's commands under skiff's name, if it is one that
// skiff has at its top level or under `image`.
func dockerVerb(ctx context.Context, dirs *Dirs, verb string, args []string) (code int, ok bool) {
	words := append([]string{verb}, args...)
	if verb == "image" {
		if len(args) == 0 || !slices.Contains(docker.ImageVerbs, args[0]) {
			return 0, false
		}
	} else if i := slices.IndexFunc(docker.Verbs, func(v docker.Verb) bool { return v.Name == verb }); i < 0 {
		return 0, false
	} else if as := docker.Verbs[i].As; as != nil {
		words = append(slices.Clone(as), args...)
	}
	return docker.Run(ctx, docker.Options{Name: "skiff", Args: words, Instance: instance{dirs}, Only: true}), true
}

// instance shows Dirs to docker's commands.
type instance struct{ dirs *Dirs }

// AddFlags leaves docker's help docker's: the flags are in skiff's.
func (i instance) AddFlags(fs *pflag.FlagSet) {
	i.dirs.addFlags(fs)
	for _, name := range []string{"data-dir", "run-dir"} {
		fs.Lookup(name).Hidden = true
	}
}

func (i instance) DockerSocket(fs *pflag.FlagSet) (string, error) {
	if err := i.dirs.settle(fs); err != nil {
		return "", err
	}
	return filepath.Join(i.dirs.Run, DockerSocket), nil
}

// settled shows Dirs to docker's commands where skiff's own flags are parsed.
type settled struct{ dirs *Dirs }

func (settled) AddFlags(*pflag.FlagSet) {}

func (s settled) DockerSocket(*pflag.FlagSet) (string, error) {
	return filepath.Join(s.dirs.Run, DockerSocket), nil
}
