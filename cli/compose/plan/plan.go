// Package plan decides what has to happen so that what exists becomes what a
// compose file says: (project, what exists) in, an ordered plan of actions out. It
// is pure: no clock, no engine. cli/compose/spec has the names and hashes,
// cli/compose observes and acts.
package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"skiff.dev/skiff/cli/compose/spec"
)

// Exists is what the engine has of a project.
type Exists struct {
	Containers []Container
	// Networks and Volumes are those of the project and those with a name that
	// the project wants.
	Networks, Volumes []Resource
	// Images are the identifiers of the images that services name, where present.
	Images map[string]string
}

// Container is one of the project, one-off ones included.
type Container struct {
	ID, Name, Service string
	Number            int
	Hash, ImageID     string
	// Files is the hash of what was copied into it, "" where nobody noted one.
	Files string
	// State is the engine's word: created, running, paused, exited and so on.
	State string
	// Networks are the names of those it is connected to.
	Networks  []string
	DependsOn []string
	OneOff    bool
}

func (c Container) running() bool { return c.State == "running" || c.State == "restarting" }

// Resource is a network or a volume. Project and Key come from its labels.
type Resource struct {
	ID, Name, Project, Key, Hash string
}

// Recreate says which containers are made anew.
type Recreate int

// Diverged ones only, all of them, or none.
const (
	Diverged Recreate = iota
	Force
	Never
)

// Options of Up.
type Options struct {
	// Chosen are the services that the user named; Recreate is about them, the
	// others are dependencies. Empty: all.
	Chosen []string
	Recreate
	RecreateDeps  Recreate
	RemoveOrphans bool
	NoStart       bool
	Separator     string
}

// Verb is what an action does.
type Verb string

// The verbs, in the order in which a plan uses them.
const (
	RemoveNetwork Verb = "remove network"
	CreateNetwork Verb = "create network"
	CreateVolume  Verb = "create volume"
	Create        Verb = "create"
	Replace       Verb = "recreate" // a new container takes over name, number and anonymous volumes of an old one
	Remove        Verb = "remove"   // stopped first, if it runs
	Start         Verb = "start"
	Unpause       Verb = "unpause"
	Restart       Verb = "restart"
	Stop          Verb = "stop"
	RemoveVolume  Verb = "remove volume"
	RemoveImage   Verb = "remove image"
)

// Action is one step. Key is the network or volume as the file calls it.
type Action struct {
	Verb    Verb
	Service string
	Key     string
	Name    string
	ID      string
	Number  int
	Why     string
}

func (a Action) String() string {
	s := fmt.Sprintf("%s %s", a.Verb, a.Name)
	if a.Why != "" {
		s += " (" + a.Why + ")"
	}
	return s
}

// Wait is what has to hold before a service may start.
type Wait struct {
	Service, Condition string
	Required           bool
}

// Work is what happens to one service, in order; different works go in parallel as
// far as After, the services whose works come first, allows.
type Work struct {
	Service string
	After   []string
	Waits   []Wait
	Do      []Action
}

// Plan is carried out from top to bottom.
type Plan struct {
	Warnings []string
	// Kept are the names of containers that run and stay as they are.
	Kept    []string
	Prepare []Action // one after the other
	Make    []Work
	Start   []Work
	Finish  []Action // one after the other
}

// Error is a wish that cannot be fulfilled.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }

type up struct {
	p    *types.Project
	e    Exists
	o    Options
	plan Plan
	// remade are services of which a container is made anew.
	remade map[string]bool
	// doomed are containers whose network has to go first.
	doomed map[string]bool
}

// Up is the plan that makes a project run.
func Up(p *types.Project, e Exists, o Options) (*Plan, error) {
	if o.Separator == "" {
		o.Separator = spec.DefaultSeparator
	}
	u := &up{p: p, e: e, o: o, remade: map[string]bool{}, doomed: map[string]bool{}}
	order, err := Order(dependencies(p))
	if err != nil {
		return nil, err
	}
	u.orphans()
	if err := u.networks(); err != nil {
		return nil, err
	}
	if err := u.volumes(); err != nil {
		return nil, err
	}
	for _, name := range order {
		w, err := u.make(p.Services[name])
		if err != nil {
			return nil, err
		}
		u.plan.Make = append(u.plan.Make, w)
	}
	if !o.NoStart {
		for _, name := range order {
			if w := u.start(p.Services[name]); len(w.Do) > 0 {
				u.plan.Start = append(u.plan.Start, w)
			}
		}
	}
	u.plan.Make = slices.DeleteFunc(u.plan.Make, func(w Work) bool { return len(w.Do) == 0 })
	return &u.plan, nil
}

// dependencies are those of a project's services among each other.
func dependencies(p *types.Project) map[string][]string {
	deps := map[string][]string{}
	for name, s := range p.Services {
		deps[name] = nil
		for _, d := range slices.Concat(slices.Collect(maps.Keys(s.DependsOn)), spec.SharesWith(s)) {
			if _, ok := p.Services[d]; ok && !slices.Contains(deps[name], d) {
				deps[name] = append(deps[name], d)
			}
		}
		slices.Sort(deps[name])
	}
	return deps
}

func (u *up) orphans() {
	all := u.p.AllServices()
	var names []string
	for _, c := range u.e.Containers {
		if _, ok := all[c.Service]; ok || c.OneOff {
			continue
		}
		names = append(names, c.Name)
		if u.o.RemoveOrphans {
			u.plan.Prepare = append(u.plan.Prepare, Action{Verb: Remove, Service: c.Service, Name: c.Name, ID: c.ID, Why: "orphan"})
		}
	}
	if len(names) > 0 && !u.o.RemoveOrphans {
		slices.Sort(names)
		u.plan.Warnings = append(u.plan.Warnings, fmt.Sprintf("Found orphan containers ([%s]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.", strings.Join(names, " ")))
	}
}

func (u *up) networks() error {
	for _, key := range slices.Sorted(maps.Keys(u.p.Networks)) {
		n := u.p.Networks[key]
		have := find(u.e.Networks, n.Name, u.p.Name)
		if bool(n.External) {
			if have == nil && !predefined(n.Name) {
				return &Error{fmt.Sprintf("network %s declared as external, but could not be found", n.Name)}
			}
			continue
		}
		hash, err := spec.NetworkHash(n)
		if err != nil {
			return err
		}
		switch {
		case have == nil:
			u.prepare(Action{Verb: CreateNetwork, Key: key, Name: n.Name})
		case have.Project == "":
			return &Error{fmt.Sprintf("network %s was found but has incorrect label %s set to %q (expected: %q)", n.Name, spec.LabelNetwork, have.Key, key)}
		case have.Project != u.p.Name:
			u.warn("a network with name %s exists but was not created for project %q.\nSet `external: true` to use an existing network", n.Name, u.p.Name)
		case have.Hash != "" && have.Hash != hash:
			for _, c := range u.e.Containers {
				if slices.Contains(c.Networks, n.Name) && !u.doomed[c.ID] {
					u.doomed[c.ID] = true
					u.prepare(Action{Verb: Remove, Service: c.Service, Name: c.Name, ID: c.ID, Why: "its network changed"})
				}
			}
			u.prepare(Action{Verb: RemoveNetwork, Key: key, Name: n.Name, ID: have.ID, Why: "configuration changed"}, Action{Verb: CreateNetwork, Key: key, Name: n.Name})
		}
	}
	return nil
}

func predefined(network string) bool {
	return network == "host" || network == "none" || network == "bridge" || network == "default"
}

func (u *up) volumes() error {
	for _, key := range slices.Sorted(maps.Keys(u.p.Volumes)) {
		v := u.p.Volumes[key]
		have := find(u.e.Volumes, v.Name, u.p.Name)
		if bool(v.External) {
			if have == nil {
				return &Error{fmt.Sprintf("external volume %q not found", v.Name)}
			}
			continue
		}
		hash, err := spec.VolumeHash(v)
		if err != nil {
			return err
		}
		switch {
		case have == nil:
			u.prepare(Action{Verb: CreateVolume, Key: key, Name: v.Name})
		case have.Project == "":
			u.warn("volume %q already exists but was not created by Docker Compose. Use `external: true` to use an existing volume", v.Name)
		case have.Project != u.p.Name:
			u.warn("volume %q already exists but was created for project %q (expected %q). Use `external: true` to use an existing volume", v.Name, have.Project, u.p.Name)
		case have.Hash != "" && have.Hash != hash:
			u.warn("volume %q exists but doesn't match configuration in compose file. Remove it with `down --volumes` to have it made anew; its data would be lost", v.Name)
		}
	}
	return nil
}

// find prefers the resource of the project among those with a name.
func find(in []Resource, name, project string) *Resource {
	var found *Resource
	for i := range in {
		if in[i].Name == name && (found == nil || in[i].Project == project) {
			found = &in[i]
		}
	}
	return found
}

func (u *up) prepare(a ...Action) { u.plan.Prepare = append(u.plan.Prepare, a...) }

func (u *up) warn(format string, args ...any) {
	u.plan.Warnings = append(u.plan.Warnings, fmt.Sprintf(format, args...))
}

// of are the containers of a service that outlive the preparation.
func (u *up) of(service string) []Container {
	var out []Container
	for _, c := range u.e.Containers {
		if c.Service == service && !c.OneOff && !u.doomed[c.ID] && c.State != "removing" && c.State != "dead" {
			out = append(out, c)
		}
	}
	return out
}

// make brings a service to its scale, with containers that are what the file says.
func (u *up) make(s types.ServiceConfig) (Work, error) {
	w := Work{Service: s.Name, After: dependencies(u.p)[s.Name]}
	scale := s.GetScale()
	if scale > 1 && s.ContainerName != "" {
		return w, &Error{fmt.Sprintf("WARNING: The %q service is using the custom container name %q. Docker requires each container to have a unique name. Remove the custom name to scale the service", s.Name, s.ContainerName)}
	}
	hash, err := spec.Hash(s)
	if err != nil {
		return w, err
	}
	have := u.of(s.Name)
	why := map[string]string{}
	for _, c := range have {
		why[c.ID] = u.diverged(s, c, hash)
	}
	slices.SortStableFunc(have, func(a, b Container) int {
		if up, down := why[a.ID] == "", why[b.ID] == ""; up != down {
			if up {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Number, b.Number)
	})
	taken := map[int]bool{}
	for i, c := range have {
		if i >= scale {
			w.Do = append(w.Do, Action{Verb: Remove, Service: s.Name, Name: c.Name, ID: c.ID, Why: "scale"})
			continue
		}
		taken[c.Number] = true
		if reason := why[c.ID]; reason != "" {
			u.remade[s.Name] = true
			w.Do = append(w.Do, Action{Verb: Replace, Service: s.Name, Name: spec.Name(u.p.Name, s, c.Number, u.o.Separator), ID: c.ID, Number: c.Number, Why: reason})
		}
	}
	for n, i := 1, len(have); i < scale; n++ {
		if taken[n] {
			continue
		}
		w.Do = append(w.Do, Action{Verb: Create, Service: s.Name, Name: spec.Name(u.p.Name, s, n, u.o.Separator), Number: n})
		i++
	}
	return w, nil
}

// diverged is why a container has to be made anew, "" if it may stay.
func (u *up) diverged(s types.ServiceConfig, c Container, hash string) string {
	policy := u.o.RecreateDeps
	if len(u.o.Chosen) == 0 || slices.Contains(u.o.Chosen, s.Name) {
		policy = u.o.Recreate
	}
	switch {
	case policy == Never:
		return ""
	case policy == Force:
		return "forced"
	case c.Hash != hash:
		return "configuration changed"
	case c.Files != "" && c.Files != spec.FilesHash(u.p, s):
		return "content of configs or secrets changed"
	}
	if image := u.e.Images[spec.Image(u.p.Name, s, u.o.Separator)]; c.ImageID != "" && image != "" && c.ImageID != image {
		return "image changed"
	}
	for _, of := range spec.SharesWith(s) {
		if u.remade[of] {
			return "shares with " + of
		}
	}
	return ""
}

// start starts what does not run, after what the service depends on.
func (u *up) start(s types.ServiceConfig) Work {
	w := Work{Service: s.Name, After: dependencies(u.p)[s.Name]}
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		d := s.DependsOn[name]
		if _, ok := u.p.Services[name]; ok {
			w.Waits = append(w.Waits, Wait{Service: name, Condition: d.Condition, Required: d.Required})
		}
	}
	again := slices.ContainsFunc(slices.Collect(maps.Keys(s.DependsOn)), func(d string) bool { return s.DependsOn[d].Restart && u.remade[d] })
	remaining := map[string]Container{}
	for _, c := range u.of(s.Name) {
		remaining[c.ID] = c
	}
	for _, made := range u.plan.Make {
		if made.Service != s.Name {
			continue
		}
		for _, a := range made.Do {
			delete(remaining, a.ID)
			if a.Verb != Remove {
				w.Do = append(w.Do, Action{Verb: Start, Service: s.Name, Name: a.Name, Number: a.Number})
			}
		}
	}
	for _, c := range slices.SortedFunc(maps.Values(remaining), func(a, b Container) int { return cmp.Compare(a.Number, b.Number) }) {
		a := Action{Service: s.Name, Name: c.Name, ID: c.ID, Number: c.Number}
		switch {
		case c.State == "paused":
			a.Verb = Unpause
		case c.running() && again:
			a.Verb, a.Why = Restart, "a dependency was made anew"
		case c.running():
			u.plan.Kept = append(u.plan.Kept, c.Name)
			continue
		default:
			a.Verb = Start
		}
		w.Do = append(w.Do, a)
	}
	slices.SortStableFunc(w.Do, func(a, b Action) int { return cmp.Compare(a.Number, b.Number) })
	return w
}
