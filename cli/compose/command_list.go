package compose

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/docker/cli/templates"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"skiff.dev/skiff/cli/compose/spec"
)

// table writes rows in columns, as docker does.
func table(out io.Writer, rows ...[]string) error { return wideTable(out, 10, 3, rows...) }

// wideTable writes rows in columns of at least width, with a gap between them.
func wideTable(out io.Writer, width, gap int, rows ...[]string) error {
	w := tabwriter.NewWriter(out, width, 1, gap, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func (a *app) psCommand() *cobra.Command {
	var all, quiet, services, noTrunc, orphans bool
	var format string
	var status, filters []string
	cmd := &cobra.Command{
		Use: "ps [SERVICE...]", Short: "List containers",
		Example: `  skiff compose ps -a
  skiff compose ps --format json web`,
		RunE: func(cmd *cobra.Command, chosen []string) error {
			act, err := a.labelled(cmd, chosen)
			if err != nil {
				return err
			}
			for _, f := range filters {
				value, ok := strings.CutPrefix(f, "status=")
				if !ok {
					return fmt.Errorf("unsupported filter %q: only status=... is known", f)
				}
				status = append(status, value)
			}
			list, err := listContainers(cmd.Context(), act.d, act.name, all || len(status) > 0)
			if err != nil {
				return unreachable(err)
			}
			list = slices.DeleteFunc(list, func(c container.Summary) bool {
				service := c.Labels[spec.LabelService]
				orphan := false
				if act.p != nil {
					_, known := act.p.AllServices()[service]
					orphan = !known
				}
				return (oneOff(c) && !all) || (orphan && !orphans) || (len(chosen) > 0 && !slices.Contains(chosen, service)) ||
					(len(status) > 0 && !slices.Contains(status, string(c.State)))
			})
			slices.SortStableFunc(list, func(a, b container.Summary) int { return cmp.Compare(nameOf(a), nameOf(b)) })
			return printContainers(cmd.OutOrStdout(), list, format, quiet, services, noTrunc)
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "stopped and one-off ones as well")
	fs.BoolVarP(&quiet, "quiet", "q", false, "identifiers alone")
	fs.BoolVar(&services, "services", false, "names of services alone")
	fs.BoolVar(&noTrunc, "no-trunc", false, "whole commands")
	fs.BoolVar(&orphans, "orphans", true, "containers of services that the file no longer has as well")
	fs.StringVar(&format, "format", "table", "table, json, or a template such as '{{.Name}} {{.State}}'")
	fs.StringArrayVar(&status, "status", nil, "those in this state: created, running, paused, restarting, removing, exited or dead")
	fs.StringArrayVar(&filters, "filter", nil, "status=STATE")
	return cmd
}

func printContainers(out io.Writer, list []container.Summary, format string, quiet, services, noTrunc bool) error {
	switch {
	case quiet:
		for _, c := range list {
			fmt.Fprintln(out, c.ID)
		}
		return nil
	case services:
		seen := map[string]bool{}
		for _, c := range list {
			if s := c.Labels[spec.LabelService]; !seen[s] {
				seen[s] = true
				fmt.Fprintln(out, s)
			}
		}
		return nil
	case format == "json":
		enc := json.NewEncoder(out)
		for _, c := range list {
			if err := enc.Encode(psJSON(c)); err != nil {
				return err
			}
		}
		return nil
	case format != "table":
		return printTemplate(out, list, format)
	}
	rows := [][]string{{"NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"}}
	for _, c := range list {
		rows = append(rows, []string{nameOf(c), c.Image, quoted(c.Command, noTrunc), c.Labels[spec.LabelService], age(c.Created), c.Status, portList(c.Ports)})
	}
	return table(out, rows...)
}

func quoted(command string, whole bool) string {
	if runes := []rune(command); !whole && len(runes) > 20 {
		command = string(runes[:19]) + "…"
	}
	return strconv.Quote(command)
}

func age(created int64) string {
	return units.HumanDuration(time.Since(time.Unix(created, 0))) + " ago"
}

// printTemplate writes containers by a Go template over the fields of the JSON form,
// under headings where it begins with the word table.
func printTemplate(out io.Writer, list []container.Summary, format string) error {
	text, asTable := strings.CutPrefix(format, "table ")
	t, err := templates.Parse(text)
	if err != nil {
		return fmt.Errorf("template parsing error: %w", err)
	}
	var rows []any
	if asTable {
		rows = append(rows, map[string]any{
			"ID": "CONTAINER ID", "Name": "NAME", "Names": "NAMES", "Image": "IMAGE", "Command": "COMMAND", "Project": "PROJECT", "Service": "SERVICE",
			"CreatedAt": "CREATED AT", "RunningFor": "CREATED", "State": "STATE", "Status": "STATUS", "Health": "HEALTH", "ExitCode": "EXIT CODE",
			"Publishers": "PUBLISHERS", "Ports": "PORTS", "Networks": "NETWORKS", "Labels": "LABELS", "Mounts": "MOUNTS", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE",
		})
	}
	for _, c := range list {
		rows = append(rows, psJSON(c))
	}
	w := tabwriter.NewWriter(out, 10, 1, 3, ' ', 0)
	for _, row := range rows {
		var line strings.Builder
		if err := t.Option("missingkey=error").Execute(&line, row); err != nil {
			return fmt.Errorf("template parsing error: %w", err)
		}
		if asTable {
			fmt.Fprintln(w, line.String())
		} else {
			fmt.Fprintln(out, line.String())
		}
	}
	return w.Flush()
}

// publisher is a published port as `ps --format json` shows it.
type publisher struct {
	URL           string
	TargetPort    int
	PublishedPort int
	Protocol      string
}

func psJSON(c container.Summary) map[string]any {
	publishers := []publisher{}
	for _, p := range c.Ports {
		url := ""
		if p.IP.IsValid() {
			url = p.IP.String()
		}
		publishers = append(publishers, publisher{url, int(p.PrivatePort), int(p.PublicPort), p.Type})
	}
	health := ""
	if c.Health != nil && c.Health.Status != container.NoHealthcheck {
		health = string(c.Health.Status)
	}
	code := 0
	if rest, ok := strings.CutPrefix(c.Status, "Exited ("); ok {
		text, _, _ := strings.Cut(rest, ")")
		code, _ = strconv.Atoi(text)
	}
	var networks, labels, mounts []string
	local := 0
	for _, m := range c.Mounts {
		mounts = append(mounts, cmp.Or(m.Name, m.Source))
		if m.Driver == "local" {
			local++
		}
	}
	if c.NetworkSettings != nil {
		networks = slices.Sorted(maps.Keys(c.NetworkSettings.Networks))
	}
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		labels = append(labels, k+"="+c.Labels[k])
	}
	return map[string]any{
		"ID": c.ID[:min(12, len(c.ID))], "Name": nameOf(c), "Names": nameOf(c), "Image": c.Image, "Command": quoted(c.Command, false),
		"Project": c.Labels[spec.LabelProject], "Service": c.Labels[spec.LabelService], "CreatedAt": time.Unix(c.Created, 0).String(),
		"RunningFor": age(c.Created), "State": c.State, "Status": c.Status, "Health": health, "ExitCode": code,
		"Publishers": publishers, "Ports": portList(c.Ports), "Networks": strings.Join(networks, ","), "Labels": strings.Join(labels, ","),
		"Mounts": strings.Join(mounts, ","), "LocalVolumes": strconv.Itoa(local), "Size": "0B",
	}
}

// portList is a container's ports as docker writes them.
func portList(ports []container.PortSummary) string {
	sorted := slices.SortedFunc(slices.Values(ports), func(a, b container.PortSummary) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), cmp.Compare(a.Type, b.Type), a.IP.Compare(b.IP))
	})
	var out []string
	for _, p := range sorted {
		text := fmt.Sprintf("%d/%s", p.PrivatePort, p.Type)
		if p.PublicPort != 0 && p.IP.IsValid() {
			host := p.IP.String()
			if p.IP.Is6() {
				host = "[" + host + "]"
			}
			text = fmt.Sprintf("%s:%d->%s", host, p.PublicPort, text)
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return strings.Join(out, ", ")
}

func (a *app) lsCommand() *cobra.Command {
	var all, quiet bool
	var format string
	cmd := &cobra.Command{
		Use: "ls", Short: "List projects", Args: cobra.NoArgs,
		Example: "  skiff compose ls -a",
		RunE: func(cmd *cobra.Command, _ []string) error {
			act, err := a.actor(cmd, nil, "")
			if err != nil {
				return err
			}
			got, err := act.d.ContainerList(cmd.Context(), client.ContainerListOptions{All: all, Filters: make(client.Filters).Add("label", spec.LabelProject)})
			if err != nil {
				return unreachable(err)
			}
			rows := projects(got.Items)
			switch {
			case quiet:
				for _, r := range rows {
					fmt.Fprintln(cmd.OutOrStdout(), r.Name)
				}
				return nil
			case format == "json":
				return json.NewEncoder(cmd.OutOrStdout()).Encode(rows)
			}
			lines := [][]string{{"NAME", "STATUS", "CONFIG FILES"}}
			for _, r := range rows {
				lines = append(lines, []string{r.Name, r.Status, r.ConfigFiles})
			}
			return wideTable(cmd.OutOrStdout(), 20, 3, lines...)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "stopped ones as well")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "names alone")
	cmd.Flags().StringVar(&format, "format", "table", "table or json")
	return cmd
}

// projectRow is a line of `ls`.
type projectRow struct{ Name, Status, ConfigFiles string }

func projects(list []container.Summary) []projectRow {
	states, files := map[string]map[string]int{}, map[string]string{}
	for _, c := range list {
		name := c.Labels[spec.LabelProject]
		if states[name] == nil {
			states[name] = map[string]int{}
		}
		states[name][string(c.State)]++
		files[name] = c.Labels[spec.LabelFiles]
	}
	rows := []projectRow{}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		var parts []string
		for _, s := range slices.Sorted(maps.Keys(states[name])) {
			parts = append(parts, fmt.Sprintf("%s(%d)", s, states[name][s]))
		}
		rows = append(rows, projectRow{name, strings.Join(parts, ", "), files[name]})
	}
	return rows
}

func (a *app) imagesCommand() *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use: "images [SERVICE...]", Short: "List the images of containers",
		Example: "  skiff compose images",
		RunE: func(cmd *cobra.Command, services []string) error {
			act, list, err := a.present(cmd, services)
			if err != nil {
				return err
			}
			rows := [][]string{{"CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"}}
			for _, c := range list {
				if len(services) > 0 && !slices.Contains(services, c.Labels[spec.LabelService]) {
					continue
				}
				got, err := act.d.ImageInspect(cmd.Context(), c.ImageID)
				if err != nil {
					return err
				}
				if quiet {
					fmt.Fprintln(cmd.OutOrStdout(), strings.TrimPrefix(got.ID, "sha256:"))
					continue
				}
				repository, tag := nameAndTag(c.Image)
				created := ""
				if t, err := time.Parse(time.RFC3339Nano, got.Created); err == nil {
					created = units.HumanDuration(time.Since(t)) + " ago"
				}
				platform := platforms.Format(ocispec.Platform{OS: got.Os, Architecture: got.Architecture, Variant: got.Variant})
				id := strings.TrimPrefix(got.ID, "sha256:")
				rows = append(rows, []string{nameOf(c), repository, tag, platform, id[:min(12, len(id))], units.HumanSizeWithPrecision(float64(got.Size), 3), created})
			}
			if quiet {
				return nil
			}
			return wideTable(cmd.OutOrStdout(), 20, 3, rows...)
		},
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "identifiers alone")
	return cmd
}

func nameAndTag(image string) (string, string) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "<none>", "<none>"
	}
	tag := "latest"
	if t, ok := named.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return reference.FamiliarName(named), tag
}

func (a *app) portCommand() *cobra.Command {
	var protocol string
	var index int
	cmd := &cobra.Command{
		Use: "port SERVICE PRIVATE_PORT", Short: "Print where a port is published",
		Example: "  skiff compose port web 80", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			private, err := strconv.ParseUint(args[1], 10, 16)
			if err != nil {
				return fmt.Errorf("%q is not a port", args[1])
			}
			act, err := a.labelled(cmd, args[:1])
			if err != nil {
				return err
			}
			c, err := find(cmd.Context(), act.d, act.name, args[0], index)
			if err != nil {
				return unreachable(err)
			}
			for _, p := range c.Ports {
				if p.PrivatePort == uint16(private) && p.Type == protocol && p.PublicPort != 0 {
					fmt.Fprintf(cmd.OutOrStdout(), "%s:%d\n", p.IP, p.PublicPort)
					return nil
				}
			}
			return fmt.Errorf("no port %d/%s for container %s: %s", private, protocol, nameOf(c), portList(c.Ports))
		},
	}
	cmd.Flags().StringVar(&protocol, "protocol", "tcp", "tcp or udp")
	cmd.Flags().IntVar(&index, "index", 0, "the container with this number")
	return cmd
}

func (a *app) topCommand() *cobra.Command {
	return &cobra.Command{
		Use: "top [SERVICE...]", Short: "Show processes",
		Example: "  skiff compose top web",
		RunE: func(cmd *cobra.Command, services []string) error {
			act, err := a.labelled(cmd, services)
			if err != nil {
				return err
			}
			list, err := listContainers(cmd.Context(), act.d, act.name, false)
			if err != nil {
				return unreachable(err)
			}
			var rows [][]string
			for _, c := range list {
				if len(services) > 0 && !slices.Contains(services, c.Labels[spec.LabelService]) {
					continue
				}
				got, err := act.d.ContainerTop(cmd.Context(), c.ID, client.ContainerTopOptions{})
				if err != nil {
					return err
				}
				if len(rows) == 0 {
					rows = append(rows, append([]string{"SERVICE", "#"}, got.Titles...))
				}
				for _, p := range got.Processes {
					rows = append(rows, append([]string{c.Labels[spec.LabelService], strconv.Itoa(numberOf(c))}, p...))
				}
			}
			return wideTable(cmd.OutOrStdout(), 4, 2, rows...)
		},
	}
}

func (a *app) eventsCommand() *cobra.Command {
	var asJSON bool
	var since, until string
	cmd := &cobra.Command{
		Use: "events [SERVICE...]", Short: "Show what happens to containers, as it happens",
		Example: "  skiff compose events --json",
		RunE: func(cmd *cobra.Command, services []string) error {
			act, err := a.labelled(cmd, services)
			if err != nil {
				return err
			}
			happens := act.d.Events(cmd.Context(), client.EventsListOptions{Since: since, Until: until, Filters: make(client.Filters).Add("type", "container").Add("label", spec.LabelProject+"="+act.name)})
			for {
				select {
				case m := <-happens.Messages:
					service := m.Actor.Attributes[spec.LabelService]
					if len(services) > 0 && !slices.Contains(services, service) {
						continue
					}
					attributes := map[string]string{}
					for k, v := range m.Actor.Attributes {
						if !strings.HasPrefix(k, "com.docker.compose.") && k != spec.LabelFilesHash {
							attributes[k] = v
						}
					}
					if err := printEvent(cmd.OutOrStdout(), asJSON, time.Unix(0, m.TimeNano), string(m.Action), m.Actor.ID, service, attributes); err != nil {
						return err
					}
				case err := <-happens.Err:
					if errors.Is(err, io.EOF) {
						return nil
					}
					return unreachable(err)
				}
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "an object a line")
	cmd.Flags().StringVar(&since, "since", "", "from a time on")
	cmd.Flags().StringVar(&until, "until", "", "until a time")
	return cmd
}

func printEvent(out io.Writer, asJSON bool, at time.Time, action, id, service string, attributes map[string]string) error {
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{"time": at, "type": "container", "service": service, "id": id, "action": action, "attributes": attributes})
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		parts = append(parts, k+"="+attributes[k])
	}
	_, err := fmt.Fprintf(out, "%s container %s %s (%s)\n", at.Format("2006-01-02 15:04:05.000000"), action, id, strings.Join(parts, ", "))
	return err
}
