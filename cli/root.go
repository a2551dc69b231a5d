package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"skiff.dev/skiff/cli/compose"
	"skiff.dev/skiff/cli/docker"
)

// Default directories.
const (
	DefaultDataDir = "/var/lib/skiff"
	DefaultRunDir  = "/run/skiff"
)

// ownGroup is what is not docker's in skiff's help.
const ownGroup = "skiff"

// DockerSocket is the name of the Docker API's socket in the run directory.
const DockerSocket = "docker.sock"

// ConfigFile is the name of the file in the data directory that keeps the choices
// of a start.
const ConfigFile = "config.json"

// Dirs are the two flags that every verb takes: which instance is meant.
type Dirs struct {
	Data, Run string

	// runChosen tells that somebody chose the run directory.
	runChosen bool
}

// Instance is a short name for everything of this instance that the machine sees
// by name: interfaces, nftables tables, cgroups. It is the data directory's.
func (d *Dirs) Instance() string {
	if d.Data == DefaultDataDir {
		return "skiff"
	}
	h := fnv.New32a()
	h.Write([]byte(d.Data))
	return fmt.Sprintf("sk%06x", h.Sum32()&0xffffff)
}

// settle spells both directories out: absolute and without symbolic links, as far
// as they exist, so that one directory is one instance however it is written. A
// run directory that nobody gave is the one of the last start in the data
// directory, or one that belongs to that data directory alone. The flags are those
// that have been parsed.
func (d *Dirs) settle(fs *pflag.FlagSet) (err error) {
	runGiven := d.runChosen || fs.Changed("run-dir") || os.Getenv("SKIFF_RUN_DIR") != ""
	if d.Data, err = realPath(d.Data); err != nil {
		return err
	}
	if !runGiven && d.Data != DefaultDataDir {
		d.Run = DefaultRunDir + "-" + d.Instance()
		var last struct {
			RunDir string `json:"runDir"`
		}
		raw, err := os.ReadFile(filepath.Join(d.Data, ConfigFile))
		if err == nil && json.Unmarshal(raw, &last) == nil && last.RunDir != "" {
			d.Run = last.RunDir
		}
	}
	d.Run, err = realPath(d.Run)
	return err
}

// realPath is path, absolute, with the symbolic links in its existing part
// followed.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for at := abs; ; at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest), nil
		} else if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			return "", err
		}
		if at == filepath.Dir(at) {
			return abs, nil
		}
	}
}

// Kubeconfig is the administrator's.
func (d *Dirs) Kubeconfig() string { return filepath.Join(d.Data, "admin.kubeconfig") }

// ExitError ends the program with a code and no further words.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Run executes args (args[0] is the program's name) and returns the exit code.
// verbs are commands that platform adds; they may use dirs when they run.
func Run(ctx context.Context, args []string, dirs *Dirs, verbs ...*cobra.Command) int {
	if code, ok := runEmbedded(ctx, dirs, args); ok {
		return code
	}
	root := Root(dirs, verbs...)
	root.SetArgs(args[1:])
	err := root.ExecuteContext(ctx)
	var code ExitError
	var container compose.ExitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &container):
		return int(container)
	default:
		fmt.Fprintf(os.Stderr, "skiff: %v\n", err)
		return 1
	}
}

// Root is the whole tree of commands, kubectl and docker aside.
func Root(dirs *Dirs, verbs ...*cobra.Command) *cobra.Command {
	dirsFromEnv(dirs)
	root := &cobra.Command{
		Use:   "skiff",
		Short: "A container platform in one program",
		Long: `Skiff runs a Kubernetes cluster in one process: API server, controllers,
scheduler, node, network and DNS, with containers by crun or runc.`,
		Example: `  skiff up --detach          # start a cluster on this machine
  skiff status               # how it is
  skiff kubectl get pods -A  # kubectl, built in
  skiff build -t app:v1 .    # an image that containers and pods can run at once
  skiff run --rm app:v1      # docker's commands, built in
  skiff image load app.tar   # make an image known to the cluster
  skiff down                 # stop it, with its containers
  skiff reset                # remove every trace of it`,
		SilenceUsage:  true,
		SilenceErrors: true,
		// compose has flags of its own before its verbs, which have others by the
		// same letters.
		TraverseChildren: true,
		Args:             cobra.NoArgs,
		RunE:             func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		return dirs.settle(c.Flags())
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	dirs.addFlags(root.PersistentFlags())
	root.AddGroup(&cobra.Group{ID: ownGroup, Title: "Commands:"}, &cobra.Group{ID: dockerGroup, Title: "Containers and images of this machine, with docker's flags and output:"})
	root.AddCommand(verbs...)
	root.AddCommand(statusCommand(dirs), imageCommand(dirs), kubectlHelp())
	root.AddCommand(compose.Command(func() string { return filepath.Join(dirs.Run, DockerSocket) }, func(ctx context.Context, args ...string) int {
		return docker.Run(ctx, docker.Options{Name: "skiff docker", Args: args, Instance: settled{dirs}})
	}))
	root.AddCommand(dockerHelp(dirs)...)
	for _, c := range root.Commands() {
		if c.GroupID == "" {
			c.GroupID = ownGroup
		}
	}
	root.SetHelpCommandGroupID(ownGroup)
	return root
}

func (d *Dirs) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&d.Data, "data-dir", d.Data, "directory of everything that stays (env SKIFF_DATA_DIR)")
	fs.StringVar(&d.Run, "run-dir", d.Run, "directory of sockets and what a reboot may clear; one of its own for each data directory where none is given (env SKIFF_RUN_DIR)")
}

func dirsFromEnv(d *Dirs) *Dirs {
	for _, v := range []struct {
		dst      *string
		env, def string
	}{{&d.Data, "SKIFF_DATA_DIR", DefaultDataDir}, {&d.Run, "SKIFF_RUN_DIR", DefaultRunDir}} {
		if *v.dst == "" {
			*v.dst = v.def
			if e := os.Getenv(v.env); e != "" {
				*v.dst = e
			}
		}
	}
	return d
}
