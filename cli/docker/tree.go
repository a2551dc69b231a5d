package docker

import (
	"errors"
	"fmt"
	"strings"

	"github.com/docker/cli/cli"
	pluginmanager "github.com/docker/cli/cli-plugins/manager"
	"github.com/docker/cli/cli/command"
	cliflags "github.com/docker/cli/cli/flags"
	"github.com/docker/cli/cli/version"
	"github.com/moby/moby/client/pkg/versions"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// libraryVersion is the version of Docker's commands, as `docker version` and the
// header User-Agent tell it. TestVersion holds it against go.mod.
const libraryVersion = "29.9.3"

// tree is the root command with all that hang below it.
type tree struct {
	root *cobra.Command
	top  *cli.TopLevelCommand
	opts *cliflags.ClientOptions
}

func newTree(dcli *command.DockerCli, name string) *tree {
	version.Version, version.GitCommit, version.BuildTime = libraryVersion, "unknown", "unknown"
	root := &cobra.Command{
		Use:                   "docker [OPTIONS] COMMAND [ARG...]",
		Short:                 "A self-sufficient runtime for containers",
		SilenceUsage:          true,
		SilenceErrors:         true,
		TraverseChildren:      true,
		Version:               libraryVersion + ", in skiff",
		DisableFlagsInUseLine: true,
		CompletionOptions:     cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.ShowHelp(dcli.Err())(cmd, args)
			}
			return fmt.Errorf("docker: unknown command: %[1]s %[2]s\n\nRun '%[1]s --help' for more information", name, args[0])
		},
	}
	root.SetIn(dcli.In())
	root.SetOut(dcli.Out())
	root.SetErr(dcli.Err())
	opts, _ := cli.SetupRootCommand(root)
	root.Annotations[cobra.CommandDisplayNameAnnotation] = name
	delete(root.Annotations, "additionalHelp")
	root.Flags().BoolP("version", "v", false, "Print version information and quit")
	showHelp := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd == root {
			// A plugin that does not answer is listed as such.
			if err := pluginmanager.AddPluginCommandStubs(dcli, root); err != nil {
				fmt.Fprintln(dcli.Err(), err)
			}
		}
		hideForeign(cmd)
		showHelp(cmd, args)
	})
	for _, construct := range registered {
		root.AddCommand(construct(dcli))
	}
	root.AddCommand(serviceCommand(dcli), stackCommand(dcli))
	for _, words := range [][]string{{"build"}, {"image", "build"}, {"builder", "build"}} {
		if cmd, _, err := root.Find(words); err == nil {
			withBuildKit(cmd, dcli)
		}
	}
	for _, v := range Verbs {
		if cmd, _, err := root.Find([]string{v.Name}); err == nil {
			cmd.Example = v.Example
			if strings.HasPrefix(name, "docker") {
				cmd.Example = strings.ReplaceAll(v.Example, "skiff ", "docker ")
			}
		}
	}
	return &tree{root: root, top: cli.NewTopLevelCommand(root, dcli, opts, root.Flags()), opts: opts}
}

// hideForeign leaves out of a command's help what is for engines in a swarm or for
// other systems. Docker's client asks the server, help does not need one here.
func hideForeign(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		if role, ok := c.Annotations["swarm"]; ok && role != "" {
			c.Hidden = true
		}
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if on := f.Annotations["ostype"]; len(on) == 1 && on[0] != "linux" {
			f.Hidden = true
		}
	})
}

// supported says whether the server's version of the API has a command and the
// flags it is given. The server is asked only for what names a version.
func supported(cmd *cobra.Command, dcli command.Cli) error {
	for c := cmd; c != nil; c = c.Parent() {
		if v, ok := c.Annotations["version"]; ok && versions.LessThan(dcli.CurrentVersion(), v) {
			return fmt.Errorf("%s requires API version %s, but the Docker daemon API version is %s", cmd.CommandPath(), v, dcli.CurrentVersion())
		}
	}
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			return
		}
		if v := f.Annotations["version"]; len(v) == 1 && versions.LessThan(dcli.CurrentVersion(), v[0]) {
			errs = append(errs, fmt.Errorf(`"--%s" requires API version %s, but the Docker daemon API version is %s`, f.Name, v[0], dcli.CurrentVersion()))
		}
		if on := f.Annotations["ostype"]; len(on) == 1 {
			if server := dcli.ServerInfo().OSType; server != "" && server != on[0] {
				errs = append(errs, fmt.Errorf(`"--%s" is only supported on a Docker daemon running on %s, but the Docker daemon is running on %s`, f.Name, on[0], server))
			}
		}
		if _, ok := f.Annotations["experimental"]; ok && !dcli.ServerInfo().HasExperimental {
			errs = append(errs, fmt.Errorf(`"--%s" is only supported on a Docker daemon with experimental features enabled`, f.Name))
		}
	})
	return errors.Join(errs...)
}
