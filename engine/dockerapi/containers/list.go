package containers

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"skiff.dev/skiff/engine/dockerapi/filters"
	"skiff.dev/skiff/engine/dockerapi/route"
)

var listFilters = []string{
	"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "label!", "name", "network", "publish", "since", "status", "volume",
}

func (a *Area) list(w http.ResponseWriter, r *route.Request) error {
	f, err := filters.Of(r)
	if err != nil {
		return err
	}
	limit, err := r.Int64("limit", 0)
	if err != nil {
		return err
	}
	sel, err := a.selection(f)
	if err != nil {
		return err
	}
	all := r.Bool("all") || limit > 0 || f.Has("status") || f.Has("exited")
	views := a.sorted()
	out := []container.Summary{}
	for i := range views {
		v := &views[i]
		if !all && !v.running && !v.restarting {
			continue
		}
		if ok, err := sel.takes(a, r, v); err != nil {
			return err
		} else if !ok {
			continue
		}
		s, err := a.summary(r, v)
		if err != nil {
			return err
		}
		out = append(out, *s)
		if limit > 0 && int64(len(out)) == limit {
			break
		}
	}
	return route.WriteJSON(w, http.StatusOK, out)
}

// sorted are all containers, the youngest first.
func (a *Area) sorted() []view {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]view, 0, len(a.all))
	for _, c := range a.all {
		out = append(out, a.viewLocked(c))
	}
	slices.SortFunc(out, func(x, y view) int { return cmp.Or(y.Created.Compare(x.Created), strings.Compare(x.ID, y.ID)) })
	return out
}

// selection is what the filters of a list want.
type selection struct {
	f             filters.Args
	exited        []int
	before, since *time.Time
	images        []string
}

func (a *Area) selection(f filters.Args) (*selection, error) {
	if err := f.Check(listFilters...); err != nil {
		return nil, err
	}
	s := &selection{f: f}
	for _, v := range f["exited"] {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, route.Invalidf("invalid filter 'exited=%s'", v)
		}
		s.exited = append(s.exited, n)
	}
	for _, v := range f["status"] {
		if err := container.ValidateContainerState(container.ContainerState(v)); err != nil {
			return nil, route.Invalidf("invalid filter 'status=%s'", v)
		}
	}
	for _, v := range f["health"] {
		if err := container.ValidateHealthStatus(container.HealthStatus(v)); err != nil {
			return nil, route.Invalidf("invalid filter 'health=%s'", v)
		}
	}
	for _, k := range []struct {
		name string
		to   **time.Time
	}{{"before", &s.before}, {"since", &s.since}} {
		for _, v := range f[k.name] {
			c, err := a.find(v)
			if err != nil {
				return nil, err
			}
			*k.to = &c.rec.Created
		}
	}
	for _, k := range []string{"publish", "expose"} {
		for _, v := range f[k] {
			if _, err := network.ParsePortRange(v); err != nil {
				return nil, route.Invalidf("invalid filter '%s=%s'", k, v)
			}
		}
	}
	return s, nil
}

func (s *selection) takes(a *Area, r *route.Request, v *view) (bool, error) {
	f := s.f
	name := func(key string) bool { return f.Match(key, v.Name) || f.Match(key, "/"+v.Name) }
	health := container.NoHealthcheck
	if v.health != nil {
		health = v.health.Status
	}
	switch {
	case !name("name"), f.Has("id") && !f.Prefix("id", v.ID) && !f.Match("id", v.ID),
		!f.Labels("label", v.Config.Labels), f.Has("label!") && f.Labels("label!", v.Config.Labels),
		!f.Exact("status", string(v.status())), !f.Exact("health", string(health)),
		len(s.exited) > 0 && (v.running || v.FinishedAt.IsZero() || !slices.Contains(s.exited, v.ExitCode)),
		s.before != nil && !v.Created.Before(*s.before), s.since != nil && !v.Created.After(*s.since),
		f.Has("is-task") && !f.Exact("is-task", "false"),
		!s.mounts(v), !s.publishes(v):
		return false, nil
	}
	if f.Has("network") {
		ok := false
		for _, want := range f["network"] {
			for n := range v.Endpoints {
				ok = ok || n == want
			}
		}
		if !ok {
			nets, _, err := a.settings(r.Context(), v)
			if err != nil {
				return false, err
			}
			for n, ep := range nets {
				ok = ok || slices.ContainsFunc(f["network"], func(w string) bool { return w == n || ep.NetworkID != "" && strings.HasPrefix(ep.NetworkID, w) })
			}
		}
		if !ok {
			return false, nil
		}
	}
	return s.descends(a, r, v), nil
}

// descends tells whether the container's image is one that is asked for.
func (s *selection) descends(a *Area, r *route.Request, v *view) bool {
	if !s.f.Has("ancestor") {
		return true
	}
	if s.images == nil {
		s.images = []string{}
		for _, ref := range s.f["ancestor"] {
			if img, err := a.o.Images.Find(r.Context(), ref, nil); err == nil {
				s.images = append(s.images, img.ID)
			}
		}
	}
	return slices.Contains(s.images, v.ImageID)
}

func (s *selection) mounts(v *view) bool {
	want := s.f["volume"]
	if len(want) == 0 {
		return true
	}
	return slices.ContainsFunc(v.Mounts, func(m mountPoint) bool {
		return slices.Contains(want, m.Destination) || (m.Name != "" && slices.Contains(want, m.Name)) || slices.Contains(want, m.Source)
	})
}

func (s *selection) publishes(v *view) bool {
	in := func(want []string, p network.Port) bool {
		return slices.ContainsFunc(want, func(w string) bool {
			r, err := network.ParsePortRange(w)
			return err == nil && r.Proto() == p.Proto() && r.Start() <= p.Num() && p.Num() <= r.End()
		})
	}
	if want := s.f["publish"]; len(want) > 0 {
		ok := false
		for p := range v.HostConfig.PortBindings {
			ok = ok || in(want, p)
		}
		if !ok {
			return false
		}
	}
	if want := s.f["expose"]; len(want) > 0 {
		ok := false
		for p := range v.Config.ExposedPorts {
			ok = ok || in(want, p)
		}
		return ok
	}
	return true
}

func (a *Area) summary(r *route.Request, v *view) (*container.Summary, error) {
	nets, ports, err := a.settings(r.Context(), v)
	if err != nil {
		return nil, err
	}
	for _, ep := range nets {
		ep.Aliases, ep.DNSNames = nil, nil // a list leaves them out
	}
	s := &container.Summary{
		ID: v.ID, Names: []string{"/" + v.Name}, Image: v.Config.Image, ImageID: v.ImageID, Command: commandLine(v.Path, v.Args), Created: v.Created.Unix(),
		Ports: portSummaries(ports), Labels: v.Config.Labels, State: v.status(), Status: status(v, time.Now()), Mounts: mountPoints(v.Mounts),
		NetworkSettings: &container.NetworkSettingsSummary{Networks: nets},
	}
	s.HostConfig.NetworkMode, s.HostConfig.Annotations = string(v.HostConfig.NetworkMode), v.HostConfig.Annotations
	if r.Since("1.48") {
		s.ImageManifestDescriptor = v.Image
	}
	if r.Since("1.52") {
		s.Health = &container.HealthSummary{Status: container.NoHealthcheck}
		if v.health != nil {
			s.Health.Status, s.Health.FailingStreak = v.health.Status, v.health.FailingStreak
		}
	}
	if r.Bool("size") {
		if s.SizeRw, s.SizeRootFs, err = a.o.Engine.Size(r.Context(), v.ID); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func commandLine(path string, args []string) string {
	if len(args) == 0 {
		return path
	}
	words := []string{path}
	for _, a := range args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

func portSummaries(ports network.PortMap) []container.PortSummary {
	out := []container.PortSummary{}
	for p, bindings := range ports {
		if len(bindings) == 0 {
			out = append(out, container.PortSummary{PrivatePort: p.Num(), Type: string(p.Proto())})
		}
		for _, b := range bindings {
			n, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil {
				continue
			}
			out = append(out, container.PortSummary{IP: b.HostIP, PrivatePort: p.Num(), PublicPort: uint16(n), Type: string(p.Proto())})
		}
	}
	slices.SortFunc(out, func(x, y container.PortSummary) int {
		return cmp.Or(cmp.Compare(x.PrivatePort, y.PrivatePort), strings.Compare(x.Type, y.Type), x.IP.Compare(y.IP), cmp.Compare(x.PublicPort, y.PublicPort))
	})
	return out
}

// status is the state in words.
func status(v *view, now time.Time) string {
	age := func(t time.Time) string { return units.HumanDuration(now.Sub(t)) }
	switch {
	case v.restarting:
		return fmt.Sprintf("Restarting (%d) %s ago", v.ExitCode, age(v.FinishedAt))
	case v.paused:
		return fmt.Sprintf("Up %s (Paused)", age(v.StartedAt))
	case v.running:
		if v.health != nil {
			word := string(v.health.Status)
			if v.health.Status == container.Starting {
				word = "health: starting"
			}
			return fmt.Sprintf("Up %s (%s)", age(v.StartedAt), word)
		}
		return "Up " + age(v.StartedAt)
	case v.removing:
		return "Removal In Progress"
	case v.StartedAt.IsZero():
		return "Created"
	}
	return fmt.Sprintf("Exited (%d) %s ago", v.ExitCode, age(v.FinishedAt))
}
