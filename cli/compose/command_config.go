package compose

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"skiff.dev/skiff/cli/compose/kube"
	"skiff.dev/skiff/cli/compose/spec"
)

// configFlags are those of `config`; at most one of the lists is asked for.
type configFlags struct {
	services, volumes, networks, images, profiles, environment, quiet, noInterpolate bool
	hash, format, output                                                             string
}

func (a *app) configCommand() *cobra.Command {
	var f configFlags
	cmd := &cobra.Command{
		Use: "config [SERVICE...]", Short: "Check the files and print what they mean",
		Example: `  skiff compose config -q && echo fine
  skiff compose config --services`,
		RunE: func(cmd *cobra.Command, services []string) error { return a.config(cmd, services, &f) },
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.services, "services", false, "names of services")
	fs.BoolVar(&f.volumes, "volumes", false, "names of volumes")
	fs.BoolVar(&f.networks, "networks", false, "names of networks")
	fs.BoolVar(&f.images, "images", false, "images")
	fs.BoolVar(&f.profiles, "profiles", false, "profiles")
	fs.BoolVar(&f.environment, "environment", false, "variables that are filled in")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "check only")
	fs.BoolVar(&f.noInterpolate, "no-interpolate", false, "leave variables as they are")
	fs.StringVar(&f.hash, "hash", "", "the hash of this service or of several with commas between them, or * for all")
	fs.StringVar(&f.format, "format", "yaml", "yaml or json")
	fs.StringVarP(&f.output, "output", "o", "", "file to write, standard output where none is given")
	return cmd
}

func (a *app) config(cmd *cobra.Command, services []string, f *configFlags) error {
	if f.noInterpolate {
		return a.model(cmd, f)
	}
	if f.hash != "" && f.hash != "*" { // whatever profile it is in
		services = append(services, strings.Split(f.hash, ",")...)
	}
	p, err := a.load(cmd.Context(), loadOptions{services: services, allResources: f.volumes || f.networks})
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	lines := func(names []string) error {
		for _, n := range names {
			if _, err := fmt.Fprintln(out, n); err != nil {
				return err
			}
		}
		return nil
	}
	switch {
	case f.quiet:
		return nil
	case f.services:
		return lines(p.ServiceNames())
	case f.volumes:
		return lines(p.VolumeNames())
	case f.networks:
		return lines(p.NetworkNames())
	case f.images:
		var images []string
		for _, s := range p.Services {
			images = append(images, spec.Image(p.Name, s, a.separator()))
		}
		slices.Sort(images)
		return lines(images)
	case f.profiles:
		var names []string
		for _, s := range p.AllServices() {
			names = append(names, s.Profiles...)
		}
		slices.Sort(names)
		return lines(slices.Compact(names))
	case f.environment:
		for _, k := range slices.Sorted(maps.Keys(p.Environment)) {
			fmt.Fprintf(out, "%s=%s\n", k, p.Environment[k])
		}
		return nil
	case f.hash != "":
		return hashes(out, p, f.hash)
	case f.format == "json":
		text, err := p.MarshalJSON()
		if err != nil {
			return err
		}
		return write(out, f.output, append(text, '\n'))
	case f.format != "yaml":
		return fmt.Errorf("unsupported format %q", f.format)
	}
	text, err := p.MarshalYAML()
	if err != nil {
		return err
	}
	return write(out, f.output, text)
}

func hashes(out io.Writer, p *types.Project, which string) error {
	for _, name := range p.ServiceNames() {
		if which != "*" && !slices.Contains(strings.Split(which, ","), name) {
			continue
		}
		h, err := spec.Hash(p.Services[name])
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s %s\n", name, h)
	}
	return nil
}

// model prints the merged files without filling in variables.
func (a *app) model(cmd *cobra.Command, f *configFlags) error {
	opts, details, err := a.read(cmd.Context(), loadOptions{noInterpolation: true})
	if err != nil {
		return err
	}
	model, err := loader.LoadModelWithContext(cmd.Context(), *details, append(opts, func(o *loader.Options) { o.SkipNormalization = true })...)
	if err != nil {
		return withPlace(details.ConfigFiles, err)
	}
	text, err := yaml.Marshal(model)
	if err != nil {
		return err
	}
	return write(cmd.OutOrStdout(), f.output, text)
}

func write(out io.Writer, file string, text []byte) error {
	if file != "" {
		return os.WriteFile(file, text, 0o600)
	}
	_, err := out.Write(text)
	return err
}

func (a *app) convertCommand() *cobra.Command {
	var output, volumes, dir string
	cmd := &cobra.Command{
		Use: "convert [SERVICE...]", Short: "Write the application as Kubernetes manifests",
		Long: `Write the application as Kubernetes manifests: a Deployment for each service, a
Service for its ports (a NodePort for those that are published), a ConfigMap for
configs, a Secret for secrets, a PersistentVolume on a directory of the node with a
claim for each named volume, and probes for health checks. What Kubernetes has no word
for is told on standard error.

On a cluster of several nodes whose default storage class makes volumes, use
--volumes persistentVolumeClaim: claims alone.`,
		Example: `  skiff compose convert | skiff kubectl apply -f -
  skiff compose -f compose.yaml convert -o app.yaml`,
		RunE: func(cmd *cobra.Command, services []string) error {
			p, err := a.load(cmd.Context(), loadOptions{services: services})
			if err != nil {
				return err
			}
			text, notes, err := kube.Manifests(p, kube.Options{Separator: a.separator(), Volumes: kube.Volumes(volumes), Dir: dir})
			if err != nil {
				return err
			}
			for _, n := range notes {
				fmt.Fprintln(cmd.ErrOrStderr(), "WARN: "+n)
			}
			return write(cmd.OutOrStdout(), output, text)
		},
	}
	cmd.Flags().StringVar(&volumes, "volumes", string(kube.Directories), "what named volumes become: persistentVolume (with a claim), persistentVolumeClaim or emptyDir")
	cmd.Flags().StringVar(&dir, "volume-dir", "/var/lib/compose", "where the node keeps the directories of volumes")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write, standard output where none is given")
	return cmd
}
