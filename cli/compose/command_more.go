package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

func (a *app) scaleCommand() *cobra.Command {
	var noDeps bool
	cmd := &cobra.Command{
		Use: "scale SERVICE=REPLICAS...", Short: "Change how many containers services have",
		Example: "  skiff compose scale web=3 worker=0",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var services []string
			for _, arg := range args {
				name, count, ok := strings.Cut(arg, "=")
				if _, err := strconv.ParseUint(count, 10, 16); !ok || name == "" || err != nil {
					return fmt.Errorf("invalid scale specifier: %s", arg)
				}
				services = append(services, name)
			}
			f := upFlags{fetch: fetch{pull: "policy"}, detach: true, noDeps: noDeps, scale: args}
			return a.up(cmd, services, &f)
		},
	}
	cmd.Flags().BoolVar(&noDeps, "no-deps", false, "without the services that are depended on")
	return cmd
}

func (a *app) waitCommand() *cobra.Command {
	var down bool
	cmd := &cobra.Command{
		Use: "wait SERVICE...", Short: "Wait for the end of services; end with the exit code of the first that ends",
		Example: "  skiff compose wait tests",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, services []string) error {
			act, err := a.labelled(cmd, services)
			if err != nil {
				return err
			}
			e, err := act.observe(cmd.Context())
			if err != nil {
				return err
			}
			type end struct {
				code int
				err  error
			}
			var waiting int
			ends := make(chan end, len(e.Containers))
			for _, c := range e.Containers {
				if !slices.Contains(services, c.Service) || c.OneOff || !alive(c) {
					continue
				}
				waiting++
				go func() {
					code, err := exited(cmd.Context(), act.d, c.ID)
					if err == nil {
						fmt.Fprintf(cmd.OutOrStdout(), "container %q exited with status code %d\n", c.ID, code)
					}
					ends <- end{code, err}
				}()
			}
			if waiting == 0 {
				return fmt.Errorf("no containers for project %q", act.name)
			}
			first := <-ends
			if first.err != nil {
				return first.err
			}
			if down {
				return exit(first.code, act.carryOut(cmd.Context(), plan.Down(act.p, e, plan.DownOptions{Separator: act.separator})))
			}
			for range waiting - 1 {
				if next := <-ends; next.err != nil {
					return next.err
				}
			}
			return exit(first.code, nil)
		},
	}
	cmd.Flags().BoolVar(&down, "down-project", false, "take the project down when the first container ends")
	return cmd
}

func (a *app) volumesCommand() *cobra.Command {
	var quiet bool
	var format string
	cmd := &cobra.Command{
		Use: "volumes [SERVICE...]", Short: "List volumes",
		Example: "  skiff compose volumes -q",
		RunE: func(cmd *cobra.Command, services []string) error {
			act, err := a.labelled(cmd, services)
			if err != nil {
				return err
			}
			used := map[string]bool{}
			if len(services) > 0 {
				list, err := listContainers(cmd.Context(), act.d, act.name, true)
				if err != nil {
					return unreachable(err)
				}
				for _, c := range list {
					for _, m := range c.Mounts {
						used[m.Name] = used[m.Name] || slices.Contains(services, c.Labels[spec.LabelService])
					}
				}
			}
			got, err := act.d.VolumeList(cmd.Context(), client.VolumeListOptions{Filters: make(client.Filters).Add("label", spec.LabelProject+"="+act.name)})
			if err != nil {
				return unreachable(err)
			}
			rows := [][]string{{"DRIVER", "VOLUME NAME"}}
			for _, v := range got.Items {
				switch {
				case len(services) > 0 && !used[v.Name]:
				case quiet:
					fmt.Fprintln(cmd.OutOrStdout(), v.Name)
				case format == "json":
					if err := json.NewEncoder(cmd.OutOrStdout()).Encode(v); err != nil {
						return err
					}
				default:
					rows = append(rows, []string{v.Driver, v.Name})
				}
			}
			if quiet || format == "json" {
				return nil
			}
			return table(cmd.OutOrStdout(), rows...)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "names alone")
	cmd.Flags().StringVar(&format, "format", "table", "table or json")
	return cmd
}

// onContainer is a command of docker's about the container of a service. words are
// the arguments that come before the container's identifier and after it.
func (a *app) onContainer(cmd *cobra.Command, service string, index int, before, after []string) error {
	act, err := a.labelled(cmd, []string{service})
	if err != nil {
		return err
	}
	c, err := find(cmd.Context(), act.d, act.name, service, index)
	if err != nil {
		return unreachable(err)
	}
	return exit(a.docker(cmd.Context(), slices.Concat(before, []string{c.ID}, after)...), nil)
}

func (a *app) attachCommand() *cobra.Command {
	var index int
	var keys string
	var noStdin, proxy bool
	cmd := &cobra.Command{
		Use: "attach SERVICE", Short: "Join standard input and output with those of a running container",
		Example: "  skiff compose attach --no-stdin web",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onContainer(cmd, args[0], index, []string{"attach", "--detach-keys=" + keys, fmt.Sprintf("--no-stdin=%t", noStdin), fmt.Sprintf("--sig-proxy=%t", proxy)}, nil)
		},
	}
	cmd.Flags().IntVar(&index, "index", 0, "the container with this number")
	cmd.Flags().StringVar(&keys, "detach-keys", "", "keys that leave the container running, ctrl-p,ctrl-q where none are given")
	cmd.Flags().BoolVar(&noStdin, "no-stdin", false, "without standard input")
	cmd.Flags().BoolVar(&proxy, "sig-proxy", true, "hand signals on")
	return cmd
}

func (a *app) commitCommand() *cobra.Command {
	var index int
	var pause bool
	var author, message string
	var changes []string
	cmd := &cobra.Command{
		Use: "commit SERVICE [NAME[:TAG]]", Short: "Make an image of a container and its changes",
		Example: "  skiff compose commit -m 'with curl' web web:curl",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			before := []string{"commit", fmt.Sprintf("--no-pause=%t", !pause), "--author", author, "--message", message}
			for _, c := range changes {
				before = append(before, "--change", c)
			}
			return a.onContainer(cmd, args[0], index, before, args[1:])
		},
	}
	cmd.Flags().IntVar(&index, "index", 0, "the container with this number")
	cmd.Flags().BoolVarP(&pause, "pause", "p", true, "pause the container meanwhile")
	cmd.Flags().StringVarP(&author, "author", "a", "", "author of the image")
	cmd.Flags().StringVarP(&message, "message", "m", "", "message of the image")
	cmd.Flags().StringArrayVarP(&changes, "change", "c", nil, "Dockerfile instruction to apply")
	return cmd
}

func (a *app) exportCommand() *cobra.Command {
	var index int
	var output string
	cmd := &cobra.Command{
		Use: "export SERVICE", Short: "Write a container's files as a tar archive",
		Example: "  skiff compose export -o web.tar web",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			before := []string{"export"}
			if output != "" {
				before = append(before, "--output", output)
			}
			return a.onContainer(cmd, args[0], index, before, nil)
		},
	}
	cmd.Flags().IntVar(&index, "index", 0, "the container with this number")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, standard output where none is given")
	return cmd
}

func (a *app) statsCommand() *cobra.Command {
	var all, noStream, noTrunc bool
	var format string
	cmd := &cobra.Command{
		Use: "stats [SERVICE]", Short: "Show what containers use",
		Example: "  skiff compose stats --no-stream",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, services []string) error {
			act, err := a.labelled(cmd, services)
			if err != nil {
				return err
			}
			list, err := listContainers(cmd.Context(), act.d, act.name, all)
			if err != nil {
				return unreachable(err)
			}
			args := []string{"stats", fmt.Sprintf("--all=%t", all), fmt.Sprintf("--no-stream=%t", noStream), fmt.Sprintf("--no-trunc=%t", noTrunc), "--format", format}
			none := len(args)
			for _, c := range list {
				if len(services) == 0 || slices.Contains(services, c.Labels[spec.LabelService]) {
					args = append(args, c.ID)
				}
			}
			if len(args) == none { // docker's command would show those of others
				return fmt.Errorf("no containers for project %q", act.name)
			}
			return exit(a.docker(cmd.Context(), args...), nil)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "stopped ones as well")
	cmd.Flags().BoolVar(&noStream, "no-stream", false, "once, not again and again")
	cmd.Flags().BoolVar(&noTrunc, "no-trunc", false, "whole identifiers")
	cmd.Flags().StringVar(&format, "format", "", "table, json or a template")
	return cmd
}

// errRefused is a verb of docker compose's that this one does not have.
var errRefused = errors.New("not supported")

// refused are docker compose's verbs that are not there, each with what does the
// same.
func refused() []*cobra.Command {
	var out []*cobra.Command
	for _, v := range []struct{ name, short, instead string }{
		{"watch", "Rebuild and restart services when files change (not supported)", "run `skiff compose up -d --build` after a change, or bind the source directory"},
		{"publish", "Publish the application to a registry (not supported)", "push the images (skiff compose push) and give the file along"},
		{"bridge", "Convert the application into another model (not supported)", "`skiff compose convert` writes Kubernetes manifests"},
	} {
		out = append(out, &cobra.Command{
			Use: v.name, Short: v.short, DisableFlagParsing: true, Hidden: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", v.short, v.instead)
					return nil
				}
				return fmt.Errorf("compose %s is %w: %s", v.name, errRefused, v.instead)
			},
		})
	}
	return out
}
