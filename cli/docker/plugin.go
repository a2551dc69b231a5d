package docker

import (
	"context"
	"errors"
	"os"
	"os/exec"

	"github.com/containerd/errdefs"
	"github.com/docker/cli/cli"
	pluginmanager "github.com/docker/cli/cli-plugins/manager"
	"github.com/docker/cli/cli/command"
	"github.com/moby/moby/client"
)

// plugin runs the plugin of docker's client that args name, where the machine has
// it and no command here has that name. The plugin meets the same engine.
func (t *tree) plugin(ctx context.Context, dcli *command.DockerCli, o Options, args []string) (done bool, err error) {
	if len(args) == 0 || o.Only {
		return false, nil
	}
	if _, _, err := t.root.Find(args); err == nil {
		return false, nil
	}
	cmd, err := pluginmanager.PluginRunCommand(dcli, args[0], t.root)
	if errdefs.IsNotFound(err) {
		return false, nil // the root says that there is no such command
	}
	if err != nil {
		return true, err
	}
	if err := t.choose(t.root.Flags(), dcli, o); err != nil {
		return true, err
	}
	if len(t.opts.Hosts) > 0 && os.Getenv(client.EnvOverrideHost) == "" {
		cmd.Env = append(cmd.Env, client.EnvOverrideHost+"="+t.opts.Hosts[0])
	}
	// On a terminal the plugin, of the same process group, got the signal itself.
	if !dcli.Out().IsTerminal() {
		defer context.AfterFunc(ctx, func() {
			var by interrupted
			if errors.As(context.Cause(ctx), &by) && cmd.Process != nil {
				_ = cmd.Process.Signal(by.sig) // it may have ended
			}
		})()
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return true, cli.StatusError{StatusCode: exit.ExitCode()}
	}
	return true, err
}
