package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubecli "k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
)

// kubectlHelp stands in skiff's own help; runEmbedded takes the command before it
// gets there.
func kubectlHelp() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl ARGUMENTS...",
		Short:              "Kubernetes' own command line, built in",
		Example:            `  skiff kubectl get pods -A`,
		DisableFlagParsing: true,
		Run:                func(*cobra.Command, []string) {},
	}
}

// kubectl runs the embedded kubectl. Where the caller names no cluster, it is the
// one of dirs: its kubeconfig is used when KUBECONFIG is not set.
func kubectl(dirs Dirs, args []string) int {
	if os.Getenv("KUBECONFIG") == "" {
		if _, err := os.Stat(dirs.Kubeconfig()); err == nil {
			os.Setenv("KUBECONFIG", dirs.Kubeconfig())
		}
	}
	build := func(args []string) *cobra.Command {
		streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
		os.Args = append([]string{"kubectl"}, args...)
		c := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
			PluginHandler: cmd.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
			Arguments:     os.Args,
			ConfigFlags: genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().
				WithDiscoveryBurst(300).WithDiscoveryQPS(50.0).WithWarningPrinter(streams),
			IOStreams: streams,
		})
		c.SetArgs(args)
		return c
	}
	plan := modernise(args)
	for _, note := range plan.Notes {
		fmt.Fprintln(os.Stderr, "note:", note)
	}
	for _, step := range plan.Steps {
		if code := runStep(build, step); code != 0 {
			return code
		}
	}
	return 0
}

func runStep(build func([]string) *cobra.Command, s step) int {
	if s.Stdin != "" {
		f, err := stdinFile(s.Stdin)
		if err != nil {
			fmt.Fprintln(os.Stderr, "skiff:", err)
			return 1
		}
		defer f.Close()
		os.Stdin = f
	}
	return kubecli.Run(build(s.Args))
}

// stdinFile holds text as a file that is gone when it is closed.
func stdinFile(text string) (*os.File, error) {
	f, err := os.CreateTemp("", "skiff-stdin-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Clean(f.Name())); err != nil {
		return nil, err
	}
	if _, err := f.WriteString(text); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, 0)
	return f, err
}
