package compose

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"skiff.dev/skiff/cli/compose/plan"
)

// upFlags are those of `up`; `create` and `run` have some of them.
type upFlags struct {
	fetch
	detach, force, alwaysDeps, never, noDeps, noStart, orphans, renew, wait bool
	scale                                                                   []string
	timeout, waitTimeout                                                    int
	attach                                                                  attachFlags
}

func (f *upFlags) making(fs *pflag.FlagSet) {
	fs.BoolVar(&f.build, "build", false, "build images before starting containers")
	fs.BoolVar(&f.noBuild, "no-build", false, "build no image, even if it is missing")
	fs.StringVar(&f.pull, "pull", "policy", "pull images: always, missing, never or policy")
	fs.BoolVar(&f.quiet, "quiet-pull", false, "pull without telling progress")
	fs.BoolVar(&f.force, "force-recreate", false, "make containers anew even if nothing changed")
	fs.BoolVar(&f.never, "no-recreate", false, "keep existing containers even if something changed")
	fs.BoolVar(&f.orphans, "remove-orphans", false, "remove containers of services that the file no longer has")
	fs.StringArrayVar(&f.scale, "scale", nil, "SERVICE=NUM, how many containers; over the file's scale")
}

func (f *upFlags) check() error {
	if f.force && f.never {
		return errors.New("--force-recreate and --no-recreate are incompatible")
	}
	if f.build && f.noBuild {
		return errors.New("--build and --no-build are incompatible")
	}
	if !slices.Contains([]string{"policy", "always", "missing", "never", "build", "if_not_present"}, f.pull) {
		return fmt.Errorf("invalid --pull option %q", f.pull)
	}
	return nil
}

func (f *upFlags) options(services []string, separator string) plan.Options {
	o := plan.Options{Chosen: services, RemoveOrphans: f.orphans, NoStart: f.noStart, Separator: separator}
	switch {
	case f.force:
		o.Recreate = plan.Force
	case f.never:
		o.Recreate, o.RecreateDeps = plan.Never, plan.Never
	}
	if f.alwaysDeps || (f.force && len(services) == 0) {
		o.RecreateDeps = plan.Force
	}
	return o
}

func (a *app) upCommand() *cobra.Command {
	f := upFlags{}
	cmd := &cobra.Command{
		Use:   "up [SERVICE...]",
		Short: "Create and start containers; change only what changed",
		Example: `  skiff compose up                 # attached: logs of all, until Ctrl-C
  skiff compose up -d --wait       # in the background, when all is healthy
  skiff compose up -d --build web  # one service and what it depends on`,
		RunE: func(cmd *cobra.Command, services []string) error { return a.up(cmd, services, &f) },
	}
	fs := cmd.Flags()
	f.making(fs)
	fs.BoolVarP(&f.detach, "detach", "d", false, "go on in the background")
	fs.BoolVar(&f.alwaysDeps, "always-recreate-deps", false, "make dependencies anew as well")
	fs.BoolVar(&f.noDeps, "no-deps", false, "without the services that are depended on")
	fs.BoolVar(&f.noStart, "no-start", false, "create, but start nothing")
	fs.BoolVarP(&f.renew, "renew-anon-volumes", "V", false, "anonymous volumes anew instead of taken over")
	fs.IntVarP(&f.timeout, "timeout", "t", 0, "seconds to wait when stopping containers")
	fs.BoolVar(&f.wait, "wait", false, "return when services run or are healthy; implies -d")
	fs.IntVar(&f.waitTimeout, "wait-timeout", 0, "seconds for --wait at most")
	f.attach.flags(fs)
	return cmd
}

func (a *app) up(cmd *cobra.Command, services []string, f *upFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	p, act, err := a.whole(cmd, loadOptions{services: services, noDeps: f.noDeps})
	if err != nil {
		return err
	}
	if len(p.Services) == 0 {
		return errNothing
	}
	if err := scale(p, f.scale); err != nil {
		return err
	}
	act.renew = f.renew
	if cmd.Flags().Changed("timeout") {
		act.timeout = &f.timeout
	}
	if a.dryRun {
		e, err := act.observe(ctx)
		if err != nil {
			return err
		}
		todo, err := plan.Up(p, e, f.options(services, act.separator))
		if err != nil {
			return err
		}
		fmt.Fprint(cmd.OutOrStdout(), todo)
		return nil
	}
	if err := unreachable(act.ensureImages(ctx, f.fetch)); err != nil {
		return err
	}
	e, err := act.observe(ctx)
	if err != nil {
		return err
	}
	todo, err := plan.Up(p, e, f.options(services, act.separator))
	if err != nil {
		return err
	}
	if f.detach || f.wait || f.noStart {
		if err := act.carryOut(ctx, todo); err != nil {
			return err
		}
		if f.wait {
			return act.waitAll(ctx, p, time.Duration(f.waitTimeout)*time.Second)
		}
		return nil
	}
	return a.upAttached(cmd, act, todo, services, &f.attach)
}

func (a *app) createCommand() *cobra.Command {
	f := upFlags{noStart: true}
	cmd := &cobra.Command{
		Use: "create [SERVICE...]", Short: "Create containers, start nothing",
		Example: "  skiff compose create --scale web=2",
		RunE:    func(cmd *cobra.Command, services []string) error { return a.up(cmd, services, &f) },
	}
	f.making(cmd.Flags())
	return cmd
}

func (a *app) downCommand() *cobra.Command {
	var o plan.DownOptions
	var timeout int
	cmd := &cobra.Command{
		Use: "down [SERVICE...]", Short: "Stop and remove containers and networks",
		Example: `  skiff compose down
  skiff compose down -v --rmi local   # volumes and images that were built as well
  skiff compose -p shop down          # a project whose file is not here`,
		RunE: func(cmd *cobra.Command, services []string) error {
			if !slices.Contains([]string{"", "local", "all"}, o.Images) {
				return fmt.Errorf("invalid value for --rmi: %q", o.Images)
			}
			act, err := a.labelled(cmd, services)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("timeout") {
				act.timeout = &timeout
			}
			act.volumes = o.Volumes
			e, err := act.observe(cmd.Context())
			if err != nil {
				return err
			}
			o.Chosen, o.Separator = services, act.separator
			todo := plan.Down(act.p, e, o)
			if a.dryRun {
				fmt.Fprint(cmd.OutOrStdout(), todo)
				return nil
			}
			return act.carryOut(cmd.Context(), todo)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&o.RemoveOrphans, "remove-orphans", false, "remove containers of services that the file no longer has")
	fs.BoolVarP(&o.Volumes, "volumes", "v", false, "remove volumes, named and anonymous")
	fs.StringVar(&o.Images, "rmi", "", "remove images: local (those without a name in the file) or all")
	fs.IntVarP(&timeout, "timeout", "t", 0, "seconds to wait when stopping containers")
	return cmd
}

// attachable are the services whose output `up` shows.
func attachable(p *types.Project, chosen []string, f *attachFlags) map[string]bool {
	out := map[string]bool{}
	for name, s := range p.Services {
		switch {
		case slices.Contains(f.not, name):
		case len(f.only) > 0:
			out[name] = slices.Contains(f.only, name)
		case len(chosen) > 0 && !f.deps && !slices.Contains(chosen, name):
		default:
			out[name] = s.Attach == nil || *s.Attach
		}
	}
	return out
}
