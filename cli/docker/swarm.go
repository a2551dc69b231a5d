package docker

import (
	"errors"
	"fmt"

	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
)

// errNoSwarmClient is for an engine in a swarm, which skiff's never is: its docker
// commands cannot speak to one.
var errNoSwarmClient = errors.New("this engine is in a swarm, and skiff has no commands for services and stacks; use the docker client")

func serviceCommand(dcli command.Cli) *cobra.Command {
	return refusing(dcli, "service", "Manage Swarm services", "create", "inspect", "logs", "ls", "ps", "rm", "rollback", "scale", "update")
}

func stackCommand(dcli command.Cli) *cobra.Command {
	return refusing(dcli, "stack", "Manage Swarm stacks", "config", "deploy", "ls", "ps", "rm", "services")
}

// refusing is a group of commands that need a swarm: each answers what the engine
// answers to it.
func refusing(dcli command.Cli, name, short string, verbs ...string) *cobra.Command {
	group := &cobra.Command{
		Use: name, Short: short,
		Args:                  cli.NoArgs,
		RunE:                  command.ShowHelp(dcli.Err()),
		Annotations:           map[string]string{"version": "1.24", "swarm": "manager"},
		DisableFlagsInUseLine: true,
	}
	for _, v := range verbs {
		group.AddCommand(&cobra.Command{
			Use:                fmt.Sprintf("%s [OPTIONS] [ARG...]", v),
			Short:              "Answers that this engine is in no swarm",
			DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if _, err := dcli.Client().ServiceList(cmd.Context(), client.ServiceListOptions{}); err != nil {
					return err
				}
				return errNoSwarmClient
			},
		})
	}
	return group
}
