package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli"
	"github.com/docker/cli/cli/command"
	"github.com/moby/moby/client"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Options say how docker's command line is used.
type Options struct {
	// Name is how the command line begins, as help and errors show it.
	Name string
	// Args come after Name.
	Args []string
	// Instance is whose engine is meant where nothing else is said.
	Instance Instance
	// Only keeps to Instance, whatever DOCKER_HOST and docker's contexts say.
	Only bool
}

// Instance is one of several skiffs on a machine.
type Instance interface {
	// AddFlags adds the flags that choose the instance.
	AddFlags(*pflag.FlagSet)
	// DockerSocket is the path of its Docker API, after the flags are parsed.
	DockerSocket(*pflag.FlagSet) (string, error)
}

// interrupted is why a context ended: the signal that came.
type interrupted struct{ sig syscall.Signal }

func (i interrupted) Error() string { return i.sig.String() }

// Run executes a docker command and returns the exit code, which is docker's.
func Run(ctx context.Context, o Options) int {
	ctx, stop := untilSignal(ctx)
	defer stop()
	err := run(ctx, o)
	if err == nil {
		return 0
	}
	var by interrupted
	if errors.As(err, &by) {
		return 128 + int(by.sig)
	}
	if err.Error() != "" && !errdefs.IsCanceled(err) {
		fmt.Fprintln(os.Stderr, err)
	}
	var status cli.StatusError
	if errors.As(err, &status) && status.StatusCode != 0 {
		return status.StatusCode
	}
	return 1
}

func run(ctx context.Context, o Options) error {
	dcli, err := command.NewDockerCli(command.WithBaseContext(ctx))
	if err != nil {
		return err
	}
	logrus.SetOutput(dcli.Err())
	t := newTree(dcli, o.Name)
	o.Instance.AddFlags(t.root.PersistentFlags())
	t.root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := t.choose(cmd.Flags(), dcli, o); err != nil {
			return err
		}
		return supported(cmd, dcli)
	}
	// Plugins are given what the program was given.
	os.Args = append([]string{"docker"}, o.Args...)
	t.top.SetArgs(o.Args)
	root, args, err := t.top.HandleGlobalFlags()
	if err != nil {
		return err
	}
	var with []command.CLIOption
	if o.Only {
		with = append(with, command.WithContextResolver(func(*command.DockerCli) (string, error) {
			return command.DefaultContextName, nil
		}))
	}
	if err := t.top.Initialize(with...); err != nil {
		return err
	}
	if done, err := t.plugin(ctx, dcli, o, args); done {
		return err
	}
	go endAtThirdSignal(ctx, dcli)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// choose sets the engine that is spoken to, before anything is: that of the
// instance, where docker's own default would be used.
func (t *tree) choose(flags *pflag.FlagSet, dcli *command.DockerCli, o Options) error {
	named := len(t.opts.Hosts) > 0 || os.Getenv(client.EnvOverrideHost) != "" || dcli.CurrentContext() != command.DefaultContextName
	if named && !o.Only {
		return nil
	}
	socket, err := o.Instance.DockerSocket(flags)
	if err != nil {
		return err
	}
	t.opts.Hosts, t.opts.TLSOptions = []string{"unix://" + socket}, nil
	return nil
}

// untilSignal is ctx until SIGINT or SIGTERM comes. Commands that forward signals
// to a container listen for them too.
func untilSignal(ctx context.Context) (context.Context, func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		defer signal.Stop(signals)
		select {
		case <-ctx.Done():
		case s := <-signals:
			cancel(interrupted{s.(syscall.Signal)})
		}
	}()
	return ctx, func() { cancel(nil) }
}

// endAtThirdSignal ends the program for a command that does not end with ctx.
func endAtThirdSignal(ctx context.Context, s command.Streams) {
	<-ctx.Done()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	for range 2 {
		<-signals
	}
	fmt.Fprint(s.Err(), "\ngot 3 SIGTERM/SIGINTs, forcefully exiting\n")
	// A terminal in raw mode would stay so.
	s.In().RestoreTerminal()
	s.Out().RestoreTerminal()
	s.Err().RestoreTerminal()
	os.Exit(1)
}
