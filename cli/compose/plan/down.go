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

// DownOptions of Down.
type DownOptions struct {
	// Chosen are the services to take down, empty for the project.
	Chosen        []string
	RemoveOrphans bool
	Volumes       bool
	// Images is "", "local" (images without a name of the user's) or "all".
	Images    string
	Separator string
}

// Down is the plan that takes a project away. p may be nil: then everything with
// the project's labels goes, in the order that the containers' labels tell.
func Down(p *types.Project, e Exists, o DownOptions) *Plan {
	if o.Separator == "" {
		o.Separator = spec.DefaultSeparator
	}
	plan := &Plan{}
	needs := existing(p, e)
	var known types.Services
	if p != nil {
		known = p.AllServices()
	}
	by := map[string][]Action{}
	var orphans []string
	containers := slices.SortedFunc(slices.Values(e.Containers), func(a, b Container) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Name, b.Name))
	})
	for _, c := range containers {
		if len(o.Chosen) > 0 && !slices.Contains(o.Chosen, c.Service) {
			continue
		}
		if _, ok := known[c.Service]; !ok && p != nil && !o.RemoveOrphans {
			orphans = append(orphans, c.Name)
			continue
		}
		by[c.Service] = append(by[c.Service], Action{Verb: Remove, Service: c.Service, Name: c.Name, ID: c.ID, Number: c.Number})
	}
	if len(orphans) > 0 {
		plan.Warnings = append(plan.Warnings, fmt.Sprintf("Found orphan containers ([%s]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.", strings.Join(orphans, " ")))
	}
	back := reverse(needs)
	order, err := Order(back)
	if err != nil { // labels that contradict each other: any order will do
		order, back = slices.Sorted(maps.Keys(needs)), nil
	}
	for _, service := range order {
		if len(by[service]) > 0 {
			plan.Make = append(plan.Make, Work{Service: service, After: back[service], Do: by[service]})
		}
	}
	if len(o.Chosen) == 0 {
		plan.Finish = leftovers(p, e, o)
	}
	return plan
}

// existing is who needs whom, by the file if there is one and by labels.
func existing(p *types.Project, e Exists) map[string][]string {
	needs := map[string][]string{}
	if p != nil {
		needs = dependencies(p)
	}
	for _, c := range e.Containers {
		if _, ok := needs[c.Service]; !ok {
			needs[c.Service] = c.DependsOn
		}
	}
	return needs
}

// leftovers are networks, volumes and images, after the containers.
func leftovers(p *types.Project, e Exists, o DownOptions) []Action {
	var out []Action
	external := func(volumes bool, key string) bool {
		if p == nil {
			return false
		}
		if volumes {
			return bool(p.Volumes[key].External)
		}
		return bool(p.Networks[key].External)
	}
	project := ""
	if p != nil {
		project = p.Name
	}
	ours := func(r Resource) bool { return r.Project != "" && (project == "" || r.Project == project) }
	if o.Images != "" && p != nil {
		for _, name := range slices.Sorted(maps.Keys(p.AllServices())) {
			s := p.AllServices()[name]
			if o.Images == "local" && s.Image != "" {
				continue
			}
			image := spec.Image(p.Name, s, o.Separator)
			if !slices.ContainsFunc(out, func(a Action) bool { return a.Name == image }) {
				out = append(out, Action{Verb: RemoveImage, Name: image})
			}
		}
	}
	if o.Volumes {
		for _, v := range e.Volumes {
			if ours(v) && !external(true, v.Key) {
				out = append(out, Action{Verb: RemoveVolume, Key: v.Key, Name: v.Name, ID: v.Name})
			}
		}
	}
	for _, n := range e.Networks {
		if ours(n) && !external(false, n.Key) {
			out = append(out, Action{Verb: RemoveNetwork, Key: n.Key, Name: n.Name, ID: n.ID})
		}
	}
	return out
}

// Dependents adds to services those that are to be restarted with them. p may be nil.
func Dependents(p *types.Project, services []string) []string {
	out := slices.Clone(services)
	if p == nil {
		return out
	}
	for i := 0; i < len(out); i++ {
		for _, name := range slices.Sorted(maps.Keys(p.Services)) {
			if p.Services[name].DependsOn[out[i]].Restart && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// Each is the plan that does one verb to each existing container of the chosen
// services: those that need others first or last, as the verb wants it.
func Each(p *types.Project, e Exists, verb Verb, chosen []string, backwards bool) (*Plan, error) {
	needs := existing(p, e)
	if backwards {
		needs = reverse(needs)
	}
	order, err := Order(needs)
	if err != nil {
		return nil, err
	}
	plan := &Plan{}
	for _, service := range order {
		if len(chosen) > 0 && !slices.Contains(chosen, service) {
			continue
		}
		w := Work{Service: service, After: needs[service]}
		for _, c := range e.Containers {
			if c.Service == service && !c.OneOff {
				w.Do = append(w.Do, Action{Verb: verb, Service: service, Name: c.Name, ID: c.ID, Number: c.Number})
			}
		}
		if verb == Start && p != nil {
			for _, name := range slices.Sorted(maps.Keys(p.Services[service].DependsOn)) {
				d := p.Services[service].DependsOn[name]
				w.Waits = append(w.Waits, Wait{Service: name, Condition: d.Condition, Required: d.Required})
			}
		}
		if len(w.Do) > 0 {
			plan.Start = append(plan.Start, w)
		}
	}
	return plan, nil
}
