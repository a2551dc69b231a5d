package compose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/cobra"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

// each does one verb to the existing containers of services for which keep holds.
func (a *app) each(cmd *cobra.Command, services []string, verb plan.Verb, backwards bool, set func(*actor), keep func(plan.Container) bool) error {
	act, err := a.labelled(cmd, services)
	if err != nil {
		return err
	}
	if set != nil {
		set(act)
	}
	e, err := act.observe(cmd.Context())
	if err != nil {
		return err
	}
	e.Containers = slices.DeleteFunc(e.Containers, func(c plan.Container) bool { return !keep(c) })
	todo, err := plan.Each(act.p, e, verb, services, backwards)
	if err != nil {
		return err
	}
	return act.carryOut(cmd.Context(), todo)
}

func every(plan.Container) bool { return true }

func alive(c plan.Container) bool {
	return c.State == "running" || c.State == "restarting" || c.State == "paused"
}

func (a *app) startCommand() *cobra.Command {
	return &cobra.Command{
		Use: "start [SERVICE...]", Short: "Start containers that exist",
		Example: "  skiff compose start web",
		RunE: func(cmd *cobra.Command, services []string) error {
			return a.each(cmd, services, plan.Start, false, nil, func(c plan.Container) bool { return !alive(c) })
		},
	}
}

func (a *app) stopCommand() *cobra.Command {
	var timeout int
	cmd := &cobra.Command{
		Use: "stop [SERVICE...]", Short: "Stop containers, remove nothing",
		Example: "  skiff compose stop -t 3 web",
		RunE: func(cmd *cobra.Command, services []string) error {
			return a.each(cmd, services, plan.Stop, true, timeoutOf(cmd, &timeout), alive)
		},
	}
	cmd.Flags().IntVarP(&timeout, "timeout", "t", 0, "seconds to wait")
	return cmd
}

func timeoutOf(cmd *cobra.Command, seconds *int) func(*actor) {
	return func(act *actor) {
		if cmd.Flags().Changed("timeout") {
			act.timeout = seconds
		}
	}
}

func (a *app) restartCommand() *cobra.Command {
	var timeout int
	var noDeps bool
	cmd := &cobra.Command{
		Use: "restart [SERVICE...]", Short: "Stop containers and start them again",
		Example: "  skiff compose restart web",
		RunE: func(cmd *cobra.Command, services []string) error {
			if len(services) == 0 || noDeps {
				return a.each(cmd, services, plan.Restart, false, timeoutOf(cmd, &timeout), every)
			}
			p, _, err := a.known(cmd.Context())
			if err != nil {
				return err
			}
			return a.each(cmd, plan.Dependents(p, services), plan.Restart, false, timeoutOf(cmd, &timeout), every)
		},
	}
	cmd.Flags().IntVarP(&timeout, "timeout", "t", 0, "seconds to wait when stopping")
	cmd.Flags().BoolVar(&noDeps, "no-deps", false, "leave services alone that depend on these with restart: true")
	return cmd
}

func (a *app) killCommand() *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use: "kill [SERVICE...]", Short: "Send a signal to containers",
		Example: "  skiff compose kill -s HUP web",
		RunE: func(cmd *cobra.Command, services []string) error {
			return a.each(cmd, services, killVerb, true, func(act *actor) { act.signal = signal }, alive)
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "SIGKILL", "which signal")
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "pause [SERVICE...]", Short: "Freeze containers",
		Example: "  skiff compose pause web",
		RunE: func(cmd *cobra.Command, services []string) error {
			return a.each(cmd, services, pauseVerb, true, nil, func(c plan.Container) bool { return c.State == "running" })
		},
	}
}

func (a *app) unpauseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unpause [SERVICE...]", Short: "Let frozen containers go on",
		Example: "  skiff compose unpause web",
		RunE: func(cmd *cobra.Command, services []string) error {
			return a.each(cmd, services, plan.Unpause, false, nil, func(c plan.Container) bool { return c.State == "paused" })
		},
	}
}

func (a *app) rmCommand() *cobra.Command {
	var force, stop, volumes bool
	cmd := &cobra.Command{
		Use: "rm [SERVICE...]", Short: "Remove stopped containers",
		Example: "  skiff compose rm -fsv web   # stop first, with anonymous volumes",
		RunE: func(cmd *cobra.Command, services []string) error {
			act, err := a.labelled(cmd, services)
			if err != nil {
				return err
			}
			act.volumes = volumes
			e, err := act.observe(cmd.Context())
			if err != nil {
				return err
			}
			e.Containers = slices.DeleteFunc(e.Containers, func(c plan.Container) bool {
				return (!stop && alive(c)) || (len(services) > 0 && !slices.Contains(services, c.Service))
			})
			if len(e.Containers) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "No stopped containers")
				return nil
			}
			if !force && !confirmed(cmd, e.Containers) {
				return nil
			}
			todo, err := plan.Each(act.p, e, plan.Remove, services, true)
			if err != nil {
				return err
			}
			return act.carryOut(cmd.Context(), todo)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	cmd.Flags().BoolVarP(&stop, "stop", "s", false, "stop them first")
	cmd.Flags().BoolVarP(&volumes, "volumes", "v", false, "remove anonymous volumes as well")
	return cmd
}

func confirmed(cmd *cobra.Command, list []plan.Container) bool {
	var names []string
	for _, c := range list {
		names = append(names, c.Name)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Going to remove %s\nAre you sure? [yN] ", strings.Join(names, ", "))
	var answer string
	_, err := fmt.Fscanln(cmd.InOrStdin(), &answer)
	return err == nil && (answer == "y" || answer == "Y" || answer == "yes")
}

func (a *app) buildCommand() *cobra.Command {
	var f buildFlags
	var deps bool
	cmd := &cobra.Command{
		Use: "build [SERVICE...]", Short: "Build or rebuild images",
		Example: "  skiff compose build --build-arg VERSION=2 web",
		RunE: func(cmd *cobra.Command, services []string) error {
			p, act, err := a.whole(cmd, loadOptions{services: services, noDeps: !deps})
			if err != nil {
				return err
			}
			var todo []types.ServiceConfig
			for _, name := range slices.Sorted(maps.Keys(p.Services)) {
				if s := p.Services[name]; s.Build != nil {
					todo = append(todo, s)
				}
			}
			if len(todo) == 0 {
				act.say.warn("No services to build")
				return nil
			}
			if err := act.buildAll(cmd.Context(), todo, f); err != nil || !f.push {
				return err
			}
			return act.pushAll(cmd.Context(), todo, false)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.noCache, "no-cache", false, "build everything again")
	fs.BoolVar(&f.pull, "pull", false, "look for newer base images")
	fs.BoolVar(&f.push, "push", false, "push what was built")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "no output of the builder")
	fs.BoolVar(&deps, "with-dependencies", false, "the services that are depended on as well")
	fs.StringArrayVar(&f.args, "build-arg", nil, "NAME=VALUE for the Dockerfile")
	fs.StringArrayVar(&f.ssh, "ssh", nil, "SSH agent or key for the build: default, or ID=PATH")
	fs.StringVar(&f.provenance, "provenance", "", "add a provenance attestation: true, false or its attributes")
	fs.StringVar(&f.sbom, "sbom", "", "add an SBOM attestation: true, false or its attributes")
	fs.StringVarP(&f.memory, "memory", "m", "", "memory limit of the build")
	return cmd
}

func (a *app) pullCommand() *cobra.Command {
	var quiet, deps, ignoreBuildable, ignoreFailures bool
	var policy string
	cmd := &cobra.Command{
		Use: "pull [SERVICE...]", Short: "Pull images",
		Example: "  skiff compose pull --ignore-buildable",
		RunE: func(cmd *cobra.Command, services []string) error {
			p, act, err := a.whole(cmd, loadOptions{services: services, noDeps: !deps})
			if err != nil {
				return err
			}
			act.say.quiet = act.say.quiet || quiet
			return unreachable(act.pullAll(cmd.Context(), p, policy == "missing", ignoreBuildable, ignoreFailures))
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&quiet, "quiet", "q", false, "tell nothing")
	fs.BoolVar(&deps, "include-deps", false, "the services that are depended on as well")
	fs.BoolVar(&ignoreBuildable, "ignore-buildable", false, "not images that can be built")
	fs.BoolVar(&ignoreFailures, "ignore-pull-failures", false, "go on with the others when one fails")
	fs.StringVar(&policy, "policy", "always", "always or missing")
	return cmd
}

func (a *app) pushCommand() *cobra.Command {
	var quiet, deps, ignore bool
	cmd := &cobra.Command{
		Use: "push [SERVICE...]", Short: "Push images that services build",
		Example: "  skiff compose push web",
		RunE: func(cmd *cobra.Command, services []string) error {
			p, act, err := a.whole(cmd, loadOptions{services: services, noDeps: !deps})
			if err != nil {
				return err
			}
			act.say.quiet = act.say.quiet || quiet
			var todo []types.ServiceConfig
			for _, name := range slices.Sorted(maps.Keys(p.Services)) {
				if s := p.Services[name]; s.Build != nil && s.Image != "" {
					todo = append(todo, s)
				}
			}
			return unreachable(act.pushAll(cmd.Context(), todo, ignore))
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "tell nothing")
	cmd.Flags().BoolVar(&deps, "include-deps", false, "the services that are depended on as well")
	cmd.Flags().BoolVar(&ignore, "ignore-push-failures", false, "go on with the others when one fails")
	return cmd
}

// imageRef is the image of a service as the actor's project names it.
func (a *actor) imageRef(s types.ServiceConfig) string { return spec.Image(a.name, s, a.separator) }
