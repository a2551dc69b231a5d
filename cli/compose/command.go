package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

// ExitCode ends the program with the code of a container, without further words.
type ExitCode int

func (e ExitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// app is one call of the command: where the project is described and which engine
// is meant.
type app struct {
	source
	socket func() string
	docker Docker
	// dial is replaced by tests.
	dial     func(socket string) (docker, error)
	progress string
	dryRun   bool
	ansi     string
}

// Command is `compose` with all its verbs. socket is where the instance's Docker
// API listens; it is asked when a verb runs. docker runs docker's own commands on the
// same engine.
func Command(socket func() string, docker Docker) *cobra.Command {
	return (&app{socket: socket, docker: docker, dial: dial}).command()
}

func (a *app) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compose",
		Short: "Run applications of several containers from a compose file",
		Long: `Run applications of several containers from a compose file, as docker compose
does: on the engine of this instance, or on the one that DOCKER_HOST names. Files
without services: (version 1) are read as well.`,
		Example: `  skiff compose up -d                 # start what compose.yaml describes
  skiff compose ps                    # what runs
  skiff compose logs -f web           # follow a service
  skiff compose exec db sh            # a shell in a container
  skiff compose up -d --scale web=3   # three containers of a service
  skiff compose down -v               # stop and remove all, volumes included
  skiff compose convert > app.yaml    # the application for Kubernetes`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	logrus.SetFormatter(plainLog{}) // the reading library warns through it
	f := cmd.Flags()
	f.StringArrayVarP(&a.files, "file", "f", nil, "compose file; several are merged in order (env COMPOSE_FILE)")
	f.StringVarP(&a.name, "project-name", "p", "", "name of the project (env COMPOSE_PROJECT_NAME)")
	f.StringArrayVar(&a.profiles, "profile", nil, "profile to enable (env COMPOSE_PROFILES)")
	f.StringArrayVar(&a.envFiles, "env-file", nil, "file of variables in the place of .env")
	f.StringVar(&a.directory, "project-directory", "", "directory from which paths count; that of the first file where none is given")
	f.BoolVar(&a.compatibility, "compatibility", false, "name containers as docker-compose 1 did, project_service_1")
	f.StringVar(&a.progress, "progress", "plain", "how to tell what happens: plain or quiet")
	f.BoolVar(&a.dryRun, "dry-run", false, "tell what up, down and create would do, and do nothing")
	f.StringVar(&a.ansi, "ansi", "auto", "colours: never, always or auto")
	cmd.AddCommand(
		a.upCommand(), a.downCommand(), a.createCommand(),
		a.startCommand(), a.stopCommand(), a.restartCommand(), a.killCommand(), a.pauseCommand(), a.unpauseCommand(), a.rmCommand(),
		a.scaleCommand(), a.waitCommand(),
		a.psCommand(), a.lsCommand(), a.imagesCommand(), a.portCommand(), a.topCommand(), a.eventsCommand(), a.statsCommand(), a.volumesCommand(),
		a.logsCommand(), a.execCommand(), a.runCommand(), a.cpCommand(), a.attachCommand(), a.commitCommand(), a.exportCommand(),
		a.buildCommand(), a.pullCommand(), a.pushCommand(),
		a.configCommand(), a.convertCommand(), a.versionCommand(),
	)
	cmd.AddCommand(refused()...)
	return cmd
}

// plainLog prints the reading library's warnings in our form.
type plainLog struct{}

func (plainLog) Format(e *logrus.Entry) ([]byte, error) {
	return []byte(strings.ToUpper(e.Level.String()[:4]) + ": " + e.Message + "\n"), nil
}

// actor prepares to act for a project.
func (a *app) actor(cmd *cobra.Command, p *types.Project, name string) (*actor, error) {
	d, err := a.dial(a.socket())
	if err != nil {
		return nil, err
	}
	if a.progress != "plain" && a.progress != "quiet" && a.progress != "auto" && a.progress != "tty" {
		return nil, fmt.Errorf("unsupported --progress value %q", a.progress)
	}
	return &actor{
		d: d, docker: a.docker, p: p, name: name, separator: a.separator(), envFiles: a.envFiles,
		say: &progress{out: cmd.ErrOrStderr(), quiet: a.progress == "quiet"},
	}, nil
}

// whole loads the project, narrowed to services if some are named, and an actor.
func (a *app) whole(cmd *cobra.Command, o loadOptions) (*types.Project, *actor, error) {
	p, err := a.load(cmd.Context(), o)
	if err != nil {
		return nil, nil, err
	}
	act, err := a.actor(cmd, p, p.Name)
	return p, act, err
}

// present is labelled with the containers that there are, running or not.
func (a *app) present(cmd *cobra.Command, services []string) (*actor, []container.Summary, error) {
	act, err := a.labelled(cmd, services)
	if err != nil {
		return nil, nil, err
	}
	list, err := listContainers(cmd.Context(), act.d, act.name, true)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	return act, list, nil
}

// labelled is like whole for verbs that need no file if the project is named.
func (a *app) labelled(cmd *cobra.Command, services []string) (*actor, error) {
	p, name, err := a.known(cmd.Context())
	if err != nil {
		return nil, err
	}
	if p != nil {
		all := p.AllServices()
		for _, s := range services {
			if _, ok := all[s]; !ok {
				return nil, fmt.Errorf("no such service: %s", s)
			}
		}
	}
	return a.actor(cmd, p, name)
}

// observe asks what exists of the actor's project.
func (a *actor) observe(ctx context.Context) (plan.Exists, error) {
	e, err := observe(ctx, a.d, a.name, a.p, a.separator)
	return e, unreachable(err)
}

// unreachable adds what to do about an engine that does not answer.
func unreachable(err error) error {
	if err != nil && client.IsErrConnectionFailed(err) {
		return fmt.Errorf("%w\nstart one with `skiff engine` or `skiff up`, or set DOCKER_HOST", err)
	}
	return err
}

// colour tells whether output may have colours.
func (a *app) colour(s streams, no bool) bool {
	switch {
	case no || a.ansi == "never" || os.Getenv("NO_COLOR") != "":
		return false
	case a.ansi == "always":
		return true
	}
	return s.outTerminal()
}

func streamsOf(cmd *cobra.Command) streams {
	return streams{in: cmd.InOrStdin(), out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
}

// exit turns the code of a container into the program's.
func exit(code int, err error) error {
	if err == nil && code != 0 {
		return ExitCode(code)
	}
	return err
}

// scale applies SERVICE=NUM flags.
func scale(p *types.Project, flags []string) error {
	for _, f := range flags {
		name, text, ok := strings.Cut(f, "=")
		var n int
		if _, err := fmt.Sscanf(text, "%d", &n); !ok || err != nil || n < 0 {
			return fmt.Errorf("invalid --scale option %q. Should be SERVICE=NUM", f)
		}
		s, err := p.GetService(name)
		if err != nil {
			return fmt.Errorf("no such service: %s", name)
		}
		s.SetScale(n)
		p.Services[name] = s
	}
	return nil
}

func (a *app) versionCommand() *cobra.Command {
	var short bool
	var format string
	cmd := &cobra.Command{
		Use: "version", Short: "Which docker compose this behaves like", Args: cobra.NoArgs,
		Example: "  skiff compose version --short",
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case format == "json":
				fmt.Fprintf(cmd.OutOrStdout(), "{\"version\":\"v%s\"}\n", spec.ComposeVersion)
			case short:
				fmt.Fprintln(cmd.OutOrStdout(), spec.ComposeVersion)
			default:
				fmt.Fprintln(cmd.OutOrStdout(), "Docker Compose version v"+spec.ComposeVersion)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&short, "short", false, "the number alone")
	cmd.Flags().StringVarP(&format, "format", "f", "pretty", "pretty or json")
	return cmd
}

// errNothing is that a project has no service to act on.
var errNothing = errors.New("no service selected")
