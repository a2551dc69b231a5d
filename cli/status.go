package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"skiff.dev/skiff/cli/localapi"
)

func statusCommand(dirs *Dirs) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the running cluster is",
		Long: `Show how the running cluster is. The exit code is 0 when it is ready, 1 when it runs
but is not ready, 3 when it does not run, 4 when only root may ask. JSON goes to
standard output in the first two cases alone.`,
		Example: `  skiff status
  skiff status -o json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := localapi.NewClient(dirs.Run).Status(c.Context())
			switch {
			case errors.Is(err, localapi.ErrNotRunning):
				// A start that is under way holds its lock and does not answer yet.
				if pid, ok := Holder(dirs.Data); ok {
					fmt.Fprintf(c.ErrOrStderr(), "skiff is starting or stopping (process %d)\n", pid)
					return ExitError(1)
				}
				fmt.Fprintln(c.ErrOrStderr(), "skiff is not running; start it with: skiff up --detach")
				return ExitError(3)
			case errors.Is(err, localapi.ErrNotRoot):
				fmt.Fprintf(c.ErrOrStderr(), "skiff: %v\n", err)
				return ExitError(4)
			}
			if err != nil {
				return err
			}
			if err := printStatus(c.OutOrStdout(), s, output); err != nil {
				return err
			}
			if !s.Ready {
				return ExitError(1)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for text")
	return cmd
}

func printStatus(w io.Writer, s *localapi.Status, output string) error {
	switch output {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(s)
	case "":
	default:
		return fmt.Errorf("unknown output %q: json is the only one", output)
	}
	ready := "ready"
	if !s.Ready {
		ready = "not ready"
	}
	up := time.Since(s.StartedAt).Round(time.Second)
	fmt.Fprintf(w, "skiff %s is %s, up %s (process %d)\n", s.Version, ready, up, s.PID)
	if s.API != "" {
		fmt.Fprintf(w, "  api       %s\n  node      %s (%s)\n  runtime   %s\n", s.API, s.Node, s.NodeIP, s.Runtime)
		fmt.Fprintf(w, "  pods      %s, %d pods, %d containers running\n", s.PodCIDR, s.Pods, s.Running)
		fmt.Fprintf(w, "  services  %s, DNS %s\n", s.Services, s.DNS)
	} else {
		fmt.Fprintf(w, "  engine    alone, without a cluster; %d containers running\n  runtime   %s\n", s.Running, s.Runtime)
	}
	fmt.Fprintf(w, "  memory    %.1f MB\n  data      %s\n", float64(s.RSS)/1e6, s.DataDir)
	fmt.Fprintf(w, "  names     %s in those of interfaces, nftables and control groups\n", s.Instance)
	s.PrintShortages(w)
	for _, p := range s.Parts {
		if p.State != "running" {
			fmt.Fprintf(w, "  %s %s: %s\n", p.Name, p.State, p.Err)
		}
	}
	return nil
}
