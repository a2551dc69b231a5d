package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"skiff.dev/skiff/cli/compose/composetest"
	"skiff.dev/skiff/cli/compose/spec"
)

// TestPlan plays testdata/*.txtar. "compose.yaml" is the project, named shop;
// "exists" has a line a thing that the engine has; each file whose name begins
// with a verb is a request, and its content the plan or the error.
func TestPlan(t *testing.T) {
	composetest.Play(t, func(t *testing.T, s *composetest.Script) {
		var p *types.Project
		var e Exists
		for i, f := range s.Files {
			switch f.Name {
			case "compose.yaml":
				p = composetest.Project(t, f.Data, types.Mapping{})
			case "exists":
				e = exists(t, p, string(f.Data))
			default:
				s.Got(i, answer(t, p, e, strings.Fields(f.Name)))
			}
		}
	})
}

func exists(t *testing.T, p *types.Project, text string) Exists {
	t.Helper()
	e := Exists{Images: map[string]string{}}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		opt := map[string]string{}
		for _, f := range fields[2:] {
			k, v, _ := strings.Cut(f, "=")
			opt[k] = v
		}
		switch name := fields[1]; fields[0] {
		case "container":
			c := Container{ID: "id-" + name, Name: name, Service: opt["service"], Hash: opt["hash"], ImageID: opt["image"], State: opt["state"], OneOff: opt["oneoff"] == "true"}
			c.Number, _ = strconv.Atoi(opt["number"])
			if c.Number == 0 {
				c.Number = 1
			}
			if c.State == "" {
				c.State = "running"
			}
			if opt["networks"] != "" {
				c.Networks = strings.Split(opt["networks"], ",")
			}
			c.DependsOn = spec.ParseDependsOn(opt["depends_on"])
			if c.Hash == "" {
				c.Hash, _ = spec.Hash(p.Services[c.Service])
			}
			e.Containers = append(e.Containers, c)
		case "network", "volume":
			r := Resource{ID: "id-" + name, Name: name, Project: opt["project"], Key: opt["key"], Hash: opt["hash"]}
			if fields[0] == "network" {
				e.Networks = append(e.Networks, r)
			} else {
				e.Volumes = append(e.Volumes, r)
			}
		case "image":
			e.Images[name] = opt["id"]
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	return e
}

func answer(t *testing.T, p *types.Project, e Exists, words []string) string {
	t.Helper()
	var up Options
	var down DownOptions
	var chosen []string
	for _, w := range words[1:] {
		switch w {
		case "--force-recreate":
			up.Recreate, up.RecreateDeps = Force, Force
		case "--no-recreate":
			up.Recreate, up.RecreateDeps = Never, Never
		case "--force-chosen":
			up.Recreate = Force
		case "--remove-orphans":
			up.RemoveOrphans, down.RemoveOrphans = true, true
		case "--no-start":
			up.NoStart = true
		case "--compatibility":
			up.Separator = "_"
		case "-v":
			down.Volumes = true
		case "--rmi=local", "--rmi=all":
			down.Images = strings.TrimPrefix(w, "--rmi=")
		case "--no-file":
			p = nil
		default:
			if name, n, ok := strings.Cut(w, "="); ok {
				s := p.Services[name]
				scale, _ := strconv.Atoi(n)
				s.SetScale(scale)
				p.Services[name] = s
				continue
			}
			chosen = append(chosen, w)
		}
	}
	var plan *Plan
	var err error
	switch words[0] {
	case "up":
		up.Chosen = chosen
		plan, err = Up(p, e, up)
	case "down":
		down.Chosen = chosen
		plan = Down(p, e, down)
	case "stop":
		plan, err = Each(p, e, Stop, chosen, true)
	case "start":
		plan, err = Each(p, e, Start, chosen, false)
	default:
		t.Fatalf("unknown verb %q", words[0])
	}
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	return plan.String()
}

func TestOrder(t *testing.T) {
	order, err := Order(map[string][]string{"a": {"c", "elsewhere"}, "b": nil, "c": {"b"}})
	if err != nil || !slices.Equal(order, []string{"b", "c", "a"}) {
		t.Error(order, err)
	}
	if _, err := Order(map[string][]string{"a": {"b"}, "b": {"c"}, "c": {"b"}}); err == nil || err.Error() != "dependency cycle detected: b -> c -> b" {
		t.Error(err)
	}
}
