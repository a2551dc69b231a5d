// Package platform is the only wiring: the ordered list of components, their
// configuration, and the commands that start and stop them. Every other room is
// below it; main calls it alone.
package platform

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"skiff.dev/skiff/cli"
)

// Version of this program, as /version and status tell it.
const Version = "0.1.0"

// kubernetesVersion is whose API this is.
const kubernetesVersion = "v1.36.3"

// Main runs the command line and returns the exit code.
func Main(args []string) int {
	c := &Config{}
	return cli.Run(context.Background(), args, &c.Dirs, upCommand(c), downCommand(c), resetCommand(c), datastoreCommand(c), secretsCommand(c), engineCommand(c), dockerEnvCommand(c))
}

// orderly gives a command a context that ends with SIGINT or SIGTERM. Only those
// that have something to put back ask for it: every other command, kubectl above
// all, ends with the signal as any program does.
func orderly(run func(*cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the program at once
		cmd.SetContext(ctx)
		return run(cmd, args)
	}
}

func upCommand(c *Config) *cobra.Command {
	var background bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine, or go on with the one that is there",
		Long: `Start a cluster on this machine, or go on with the one that is there: containers
that still run are adopted as they are. Without --detach it stays in the
foreground; ending it leaves the containers running.`,
		Example: `  skiff up --detach
  skiff up --detach --data-dir /srv/a --listen 0.0.0.0:7443   # beside another one`,
		Args: cobra.NoArgs,
		RunE: orderly(func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("up"); err != nil {
				return err
			}
			if err := c.settle(cmd.Flags()); err != nil {
				return err
			}
			return quiet(runOrDetach(cmd, c, background))
		}),
	}
	c.flags(cmd.Flags())
	cmd.Flags().BoolVarP(&background, "detach", "d", false, "return when the node is ready and go on in the background")
	return cmd
}

func downCommand(c *Config) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster with its containers; what it stores stays",
		Example: `  skiff down
  skiff down --data-dir /srv/a`,
		Args: cobra.NoArgs,
		RunE: orderly(func(cmd *cobra.Command, _ []string) error {
			was, err := down(cmd.Context(), c, stopGrace)
			if err != nil {
				return err
			}
			if !was {
				fmt.Fprintln(cmd.OutOrStdout(), "skiff was not running")
				return nil
			}
			fmt.Fprintln(cmd.OutOrStdout(), "stopped; what it stores is in", c.Data)
			return nil
		}),
	}
}

func resetCommand(c *Config) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Stop the cluster and remove every trace of it, its data included",
		Example: `  skiff reset
  skiff reset --yes --data-dir /srv/a`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot("reset"); err != nil {
				return err
			}
			if !yes && !confirm(cmd, c.Data) {
				return errors.New("nothing was changed")
			}
			return orderly(func(cmd *cobra.Command, _ []string) error {
				if err := reset(cmd.Context(), c); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), "removed")
				return nil
			})(cmd, args)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func confirm(cmd *cobra.Command, dataDir string) bool {
	fmt.Fprintf(cmd.OutOrStdout(), "This stops the cluster and deletes everything in %s. Go on? [y/N] ", dataDir)
	var answer string
	if _, err := fmt.Fscanln(cmd.InOrStdin(), &answer); err != nil {
		return false
	}
	return answer == "y" || answer == "Y" || answer == "yes"
}

// quiet turns an error whose words have been printed into an exit code.
func quiet(err error) error {
	var s silent
	if errors.As(err, &s) {
		return cli.ExitError(1)
	}
	return err
}
