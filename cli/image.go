package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"skiff.dev/skiff/cli/localapi"
)

func imageCommand(dirs *Dirs) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Load, pull, list and remove images",
		Long: `Load, pull, list and remove images. Docker's image build, history, import, inspect,
prune, push, save and tag are here too, with docker's flags; docker's own load, ls,
pull and rm are skiff docker image ..., or skiff load, images, pull and rmi.`,
		Example: `  skiff image load app.tar            # docker archive or OCI archive, also compressed
  skiff image load ./layout --name app:v1
  docker save app:v1 | skiff image load -
  skiff image pull registry.example.com/app:v1
  skiff image ls
  skiff image rm app:v1
  skiff image history app:v1`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(imageLoad(dirs), imagePull(dirs), imageList(dirs), imageRemove(dirs))
	return cmd
}

func imageLoad(dirs *Dirs) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "load FILE|DIRECTORY|-",
		Short: "Load images from a docker archive, an OCI archive or an OCI layout directory",
		Example: `  skiff image load app.tar
  docker save app:v1 | skiff image load -
  skiff image load ./layout --name app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			api := localapi.NewClient(dirs.Run)
			images, err := loadFrom(c, api, args[0], name)
			if err != nil {
				return fmt.Errorf("load %s: %w", args[0], err)
			}
			printLoaded(c.OutOrStdout(), images)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the name of an image that has none in the archive")
	return cmd
}

func loadFrom(c *cobra.Command, api *localapi.Client, from, name string) ([]localapi.Image, error) {
	if from == "-" {
		return api.LoadImages(c.Context(), c.InOrStdin(), name)
	}
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		abs, err := filepath.Abs(from)
		if err != nil {
			return nil, err
		}
		return api.LoadDir(c.Context(), abs, name)
	}
	f, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return api.LoadImages(c.Context(), f, name)
}

func printLoaded(w io.Writer, images []localapi.Image) {
	for _, im := range images {
		if len(im.Names) == 0 {
			fmt.Fprintf(w, "Loaded image ID: %s\n", im.ID)
		}
		for _, n := range im.Names {
			fmt.Fprintf(w, "Loaded image: %s\n", familiar(n))
		}
	}
}

func imagePull(dirs *Dirs) *cobra.Command {
	var r localapi.PullRequest
	cmd := &cobra.Command{
		Use:   "pull NAME[:TAG|@DIGEST]",
		Short: "Fetch an image from its registry",
		Long: `Fetch an image from its registry, over https; registries on localhost are also
tried over http. SKIFF_REGISTRY_PASSWORD holds the secret for --user.`,
		Example: `  skiff image pull registry.example.com/app:v1
  skiff image pull localhost:5000/app:v1`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			r.Ref = args[0]
			r.Secret = os.Getenv("SKIFF_REGISTRY_PASSWORD")
			images, err := localapi.NewClient(dirs.Run).Pull(c.Context(), r, func(p localapi.Progress) {
				if p.Done {
					fmt.Fprintf(c.ErrOrStderr(), "%s: %s done\n", shortID(p.Digest), p.Kind)
				}
			})
			if err != nil {
				return err
			}
			for _, im := range images {
				for _, d := range im.Digests {
					fmt.Fprintln(c.OutOrStdout(), d)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&r.Insecure, "insecure", false, "allow plain http and certificates that nobody vouches for")
	cmd.Flags().StringVar(&r.User, "user", "", "user name at the registry")
	return cmd
}

func imageList(dirs *Dirs) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List images",
		Example: `  skiff image ls
  skiff image ls -q`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			images, err := localapi.NewClient(dirs.Run).Images(c.Context())
			if err != nil {
				return err
			}
			printImages(c.OutOrStdout(), images, quiet, time.Now())
			return nil
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "only ids")
	return cmd
}

func printImages(w io.Writer, images []localapi.Image, quiet bool, now time.Time) {
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	defer tw.Flush()
	if !quiet {
		fmt.Fprintln(tw, "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE")
	}
	for _, im := range images {
		if quiet {
			fmt.Fprintln(tw, shortID(im.ID))
			continue
		}
		names := slices.Clone(im.Names)
		if len(names) == 0 {
			names = []string{"<none>:<none>"}
		}
		for _, n := range names {
			repo, tag := splitTag(familiar(n))
			age := "<unknown>"
			if !im.Created.IsZero() {
				age = duration.HumanDuration(now.Sub(im.Created)) + " ago"
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", repo, tag, shortID(im.ID), age, humanSize(im.Size))
		}
	}
}

func imageRemove(dirs *Dirs) *cobra.Command {
	return &cobra.Command{
		Use:     "rm NAME|ID...",
		Aliases: []string{"remove"},
		Short:   "Remove names, and images with their last name",
		Example: `  skiff image rm app:v1`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			api := localapi.NewClient(dirs.Run)
			for _, ref := range args {
				if err := api.RemoveImage(c.Context(), ref); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "Removed: %s\n", ref)
			}
			return nil
		},
	}
}

// familiar shortens a normalised name to what people write.
func familiar(name string) string {
	if rest, ok := strings.CutPrefix(name, "docker.io/library/"); ok {
		return rest
	}
	return strings.TrimPrefix(name, "docker.io/")
}

func splitTag(name string) (repo, tag string) {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:]
	}
	return name, "<none>"
}

func shortID(digest string) string {
	_, hex, ok := strings.Cut(digest, ":")
	if !ok {
		hex = digest
	}
	return hex[:min(12, len(hex))]
}

func humanSize(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	return fmt.Sprintf("%.3g%s", f, units[i])
}
