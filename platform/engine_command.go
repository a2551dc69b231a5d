package platform

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"skiff.dev/skiff/cli"
)

// engineFlags are those that the engine alone understands too.
func (c *Config) engineFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.Runtime, "runtime", "", "OCI runtime: a path, crun or runc (default: what works here, crun first)")
	fs.StringVar(&c.DockerSocket, "docker-socket", "", "serve the Docker API on this socket too, such as /var/run/docker.sock")
	c.registryFlags(fs)
	fs.BoolVar(&c.PublishPastFirewall, "publish-past-firewall", false, "publish ports of Docker's containers as Docker does: rules of this machine's input hook do not see what is sent to them")
	fs.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
}

func engineCommand(c *Config) *cobra.Command {
	var background bool
	// Its flags share the variables of `up`, whose defaults must not be lost.
	flags := &Config{}
	cmd := &cobra.Command{
		Use:   "engine",
		Short: "Run the container engine alone, without a cluster",
		Long: `Run the container engine alone, without a cluster: images, containers and networks,
for clients of the Docker API. Without --detach it stays in the foreground; ending it
leaves the containers running.`,
		Example: `  skiff engine --detach
  eval "$(skiff docker-env)"
  docker run --rm busybox echo hello`,
		Args: cobra.NoArgs,
		RunE: orderly(func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("engine"); err != nil {
				return err
			}
			alone := &Config{Dirs: c.Dirs, EngineOnly: true, Runtime: flags.Runtime, DockerSocket: flags.DockerSocket, PublishPastFirewall: flags.PublishPastFirewall, LogLevel: flags.LogLevel,
				Registry: flags.Registry, RegistryCert: flags.RegistryCert, RegistryKey: flags.RegistryKey, InsecureRegistries: flags.InsecureRegistries, RegistryMirrors: flags.RegistryMirrors}
			return quiet(runOrDetach(cmd, alone, background))
		}),
	}
	flags.engineFlags(cmd.Flags())
	cmd.Flags().BoolVarP(&background, "detach", "d", false, "return when the engine is ready and go on in the background")
	return cmd
}

// runOrDetach runs the process here, or starts it again in the background.
func runOrDetach(cmd *cobra.Command, c *Config, background bool) error {
	if background && os.Getenv(reportEnv) == "" {
		return detach(cmd.Context(), c, os.Args[1:], cmd.OutOrStdout())
	}
	if background {
		// No working directory is kept busy by what runs on.
		if err := os.Chdir("/"); err != nil {
			return err
		}
	}
	return run(cmd.Context(), c, cmd.OutOrStdout())
}

func dockerEnvCommand(c *Config) *cobra.Command {
	return &cobra.Command{
		Use:   "docker-env",
		Short: "Print how to point a docker client at this engine",
		Example: `  eval "$(skiff docker-env)"
  docker ps`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			host := shellWord("unix://" + filepath.Join(c.Run, cli.DockerSocket))
			_, err := fmt.Fprintf(cmd.OutOrStdout(), `export DOCKER_HOST=%s
# For good: docker context create skiff --docker host=%s && docker context use skiff
# Here:     eval "$(skiff docker-env)"
`, host, host)
			return err
		},
	}
}

// shellWord is text as one word of a shell, quoted where it needs to be.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/:._-+@%,=", r)
	}
	if strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
