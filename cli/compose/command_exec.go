package compose

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/client"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

func (a *app) logsCommand() *cobra.Command {
	var o client.ContainerLogsOptions
	var noPrefix, noColour bool
	var index int
	cmd := &cobra.Command{
		Use: "logs [SERVICE...]", Short: "Show what containers said",
		Example: `  skiff compose logs -f --tail 20
  skiff compose logs --since 10m web`,
		RunE: func(cmd *cobra.Command, services []string) error {
			act, list, err := a.present(cmd, services)
			if err != nil {
				return err
			}
			s := streamsOf(cmd)
			p := newPrinter(s.out, s.err, a.colour(s, noColour), !noPrefix)
			g, ctx := errgroup.WithContext(cmd.Context())
			chosen := list[:0]
			for _, c := range list {
				if oneOff(c) || (len(services) > 0 && !slices.Contains(services, c.Labels[spec.LabelService])) || (index > 0 && numberOf(c) != index) {
					continue
				}
				chosen = append(chosen, c)
				p.expect(label(act.name, act.separator, nameOf(c)))
			}
			for _, c := range chosen {
				g.Go(func() error {
					return p.follow(ctx, act.d, c.ID, label(act.name, act.separator, nameOf(c)), o)
				})
			}
			return g.Wait()
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&o.Follow, "follow", "f", false, "go on as more comes")
	fs.StringVarP(&o.Tail, "tail", "n", "all", "lines from the end, of each container")
	fs.BoolVarP(&o.Timestamps, "timestamps", "t", false, "time in front of lines")
	fs.StringVar(&o.Since, "since", "", "from a time (2026-01-02T15:04:05Z) or an age (10m) on")
	fs.StringVar(&o.Until, "until", "", "until a time or an age")
	fs.BoolVar(&noPrefix, "no-log-prefix", false, "no container name in front of lines")
	fs.BoolVar(&noColour, "no-color", false, "no colours")
	fs.IntVar(&index, "index", 0, "the container with this number")
	return cmd
}

func (a *app) execCommand() *cobra.Command {
	var o client.ExecCreateOptions
	var detach, noTTY bool
	var index int
	cmd := &cobra.Command{
		Use: "exec SERVICE COMMAND [ARG...]", Short: "Run a command in a running container",
		Example: `  skiff compose exec db sh
  skiff compose exec -T -e K=V web env`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			act, err := a.labelled(cmd, args[:1])
			if err != nil {
				return err
			}
			c, err := find(cmd.Context(), act.d, act.name, args[0], index)
			if err != nil {
				return unreachable(err)
			}
			s := streamsOf(cmd)
			_, terminal := s.terminal()
			o.Cmd = args[1:]
			if detach {
				made, err := act.d.ExecCreate(cmd.Context(), c.ID, o)
				if err != nil {
					return err
				}
				_, err = act.d.ExecStart(cmd.Context(), made.ID, client.ExecStartOptions{Detach: true})
				return err
			}
			o.TTY = !noTTY && terminal && s.outTerminal()
			o.AttachStdin, o.AttachStdout, o.AttachStderr = true, true, true
			return exit(execute(cmd.Context(), act.d, c.ID, o, s))
		},
	}
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&detach, "detach", "d", false, "do not wait for it")
	fs.StringArrayVarP(&o.Env, "env", "e", nil, "NAME=VALUE")
	fs.BoolVarP(&noTTY, "no-tty", "T", false, "no terminal, even if there is one")
	fs.BoolP("tty", "t", true, "a terminal if there is one, the default")
	fs.BoolP("interactive", "i", true, "with standard input, the default")
	fs.StringVarP(&o.User, "user", "u", "", "as this user")
	fs.StringVarP(&o.WorkingDir, "workdir", "w", "", "in this directory")
	fs.BoolVar(&o.Privileged, "privileged", false, "with all privileges")
	fs.IntVar(&index, "index", 0, "in the container with this number")
	return cmd
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	up := upFlags{fetch: fetch{pull: "policy"}}
	cmd := &cobra.Command{
		Use: "run SERVICE [COMMAND] [ARG...]", Short: "Run one container of a service beside its own",
		Example: `  skiff compose run --rm web sh
  skiff compose run --rm -e DEBUG=1 --service-ports web`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.entrypointGiven = cmd.Flags().Changed("entrypoint")
			return a.runOnce(cmd, args, &f, &up)
		},
	}
	fs := cmd.Flags()
	fs.SetInterspersed(false)
	fs.BoolVarP(&f.detach, "detach", "d", false, "in the background; prints the container's name")
	fs.BoolVar(&f.remove, "rm", false, "remove the container when it ends")
	fs.StringArrayVarP(&f.env, "env", "e", nil, "NAME=VALUE")
	fs.StringArrayVarP(&f.labels, "label", "l", nil, "NAME=VALUE")
	fs.StringVar(&f.name, "name", "", "name of the container")
	fs.BoolVarP(&f.noTTY, "no-TTY", "T", false, "no terminal, even if there is one")
	fs.BoolVarP(&f.interactive, "interactive", "i", true, "with standard input")
	fs.BoolP("tty", "t", true, "a terminal if there is one, the default")
	fs.StringVarP(&f.user, "user", "u", "", "as this user")
	fs.StringVarP(&f.workdir, "workdir", "w", "", "in this directory")
	fs.StringVar(&f.entrypoint, "entrypoint", "", "in the place of the image's")
	fs.StringArrayVarP(&f.volumes, "volume", "v", nil, "a further volume")
	fs.StringArrayVarP(&f.publish, "publish", "p", nil, "publish a port")
	fs.BoolVarP(&f.servicePorts, "service-ports", "P", false, "publish the service's ports")
	fs.BoolVar(&f.useAliases, "use-aliases", false, "with the service's names on its networks")
	fs.BoolVar(&f.noDeps, "no-deps", false, "without the services that are depended on")
	fs.BoolVar(&up.build, "build", false, "build the image first")
	fs.StringVar(&up.pull, "pull", "policy", "pull images: always, missing, never or policy")
	fs.BoolVar(&up.quiet, "quiet-pull", false, "pull without telling progress")
	fs.BoolVar(&up.orphans, "remove-orphans", false, "remove containers of services that the file no longer has")
	fs.StringArrayVar(&f.capAdd, "cap-add", nil, "a further capability")
	fs.StringArrayVar(&f.capDrop, "cap-drop", nil, "a capability less")
	return cmd
}

func (a *app) runOnce(cmd *cobra.Command, args []string, f *runFlags, up *upFlags) error {
	ctx, service := cmd.Context(), args[0]
	p, act, err := a.whole(cmd, loadOptions{services: args[:1], noDeps: f.noDeps})
	if err != nil {
		return err
	}
	if err := up.check(); err != nil {
		return err
	}
	if err := unreachable(act.ensureImages(ctx, up.fetch)); err != nil {
		return err
	}
	e, err := act.observe(ctx)
	if err != nil {
		return err
	}
	// The service itself is not brought up, what it depends on is.
	deps := *p
	deps.Services = types.Services{}
	for name, s := range p.Services {
		if name != service {
			deps.Services[name] = s
		}
	}
	todo, err := plan.Up(&deps, keepService(e, service), plan.Options{RemoveOrphans: up.orphans, Separator: act.separator})
	if err != nil {
		return err
	}
	todo.Warnings = nil
	if err := act.carryOut(ctx, todo); err != nil {
		return err
	}
	waits := plan.Work{Service: service}
	for name, d := range p.Services[service].DependsOn {
		waits.Waits = append(waits.Waits, plan.Wait{Service: name, Condition: d.Condition, Required: d.Required})
	}
	if f.noDeps {
		waits.Waits = nil
	}
	if err := act.wait(ctx, waits); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	beside := slices.ContainsFunc(e.Containers, func(c plan.Container) bool { return c.Service == service && !c.OneOff })
	code, err := act.run(ctx, service, beside, *f, args[1:], streamsOf(cmd))
	if errors.Is(err, context.Canceled) {
		return ExitCode(130)
	}
	return exit(code, err)
}

// keepService leaves a service that is not brought up out of what exists, so that
// its containers are neither orphans nor touched.
func keepService(e plan.Exists, service string) plan.Exists {
	e.Containers = slices.DeleteFunc(slices.Clone(e.Containers), func(c plan.Container) bool { return c.Service == service })
	return e
}

func (a *app) cpCommand() *cobra.Command {
	var index int
	var follow, archive bool
	cmd := &cobra.Command{
		Use: "cp SERVICE:SRC_PATH DEST_PATH|- | SRC_PATH|- SERVICE:DEST_PATH", Short: "Copy files to and from containers",
		Example: `  skiff compose cp web:/etc/hosts .
  skiff compose cp ./page.html web:/html/`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, fromPath, fromIn := inService(args[0])
			to, toPath, toIn := inService(args[1])
			if fromIn == toIn {
				return errors.New("one of source and destination must be SERVICE:PATH")
			}
			service := from
			if toIn {
				service = to
			}
			act, err := a.labelled(cmd, []string{service})
			if err != nil {
				return err
			}
			c, err := findAny(cmd.Context(), act.d, act.name, service, max(index, 0))
			if err != nil {
				return unreachable(err)
			}
			s := streamsOf(cmd)
			if fromIn {
				return copyOut(cmd.Context(), act.d, c.ID, fromPath, args[1], follow, s)
			}
			return copyIn(cmd.Context(), act.d, c.ID, args[0], toPath, follow, archive, s)
		},
	}
	cmd.Flags().IntVar(&index, "index", 0, "the container with this number")
	cmd.Flags().BoolVarP(&follow, "follow-link", "L", false, "follow symbolic links of the source")
	cmd.Flags().BoolVarP(&archive, "archive", "a", false, "keep owners")
	return cmd
}

// inService cuts SERVICE:PATH; a path that begins like one is none.
func inService(arg string) (service, path string, ok bool) {
	if strings.HasPrefix(arg, ".") || strings.HasPrefix(arg, "/") || arg == "-" {
		return "", arg, false
	}
	service, path, ok = strings.Cut(arg, ":")
	if _, err := os.Stat(arg); err == nil && !ok {
		return "", arg, false
	}
	return service, path, ok
}
