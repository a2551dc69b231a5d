package compose

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"skiff.dev/skiff/cli/compose/plan"
	"skiff.dev/skiff/cli/compose/spec"
)

// observe asks what exists of a project, and of what its file names. p may be nil.
func observe(ctx context.Context, d docker, name string, p *types.Project, separator string) (plan.Exists, error) {
	var e plan.Exists
	list, err := listContainers(ctx, d, name, true)
	if err != nil {
		return e, err
	}
	for _, c := range list {
		e.Containers = append(e.Containers, toPlan(c))
	}
	if e.Networks, err = networksOf(ctx, d, name, p); err != nil {
		return e, err
	}
	if e.Volumes, err = volumesOf(ctx, d, name, p); err != nil {
		return e, err
	}
	if p != nil {
		e.Images, err = imagesOf(ctx, d, p, separator)
	}
	return e, err
}

// listContainers are those of a project, one-off ones included, in the order of
// service, number and name.
func listContainers(ctx context.Context, d containers, project string, all bool) ([]container.Summary, error) {
	got, err := d.ContainerList(ctx, client.ContainerListOptions{All: all, Filters: make(client.Filters).Add("label", spec.LabelProject+"="+project, spec.LabelHash)})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(got.Items, func(a, b container.Summary) int {
		return cmp.Or(cmp.Compare(a.Labels[spec.LabelService], b.Labels[spec.LabelService]), cmp.Compare(numberOf(a), numberOf(b)), cmp.Compare(nameOf(a), nameOf(b)))
	})
	return got.Items, nil
}

func nameOf(c container.Summary) string {
	for _, n := range c.Names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") { // the others are links
			return n
		}
	}
	return c.ID
}

func numberOf(c container.Summary) int {
	n, _ := strconv.Atoi(c.Labels[spec.LabelNumber])
	return n
}

func oneOff(c container.Summary) bool { return c.Labels[spec.LabelOneOff] == "True" }

func toPlan(c container.Summary) plan.Container {
	out := plan.Container{
		ID: c.ID, Name: nameOf(c), Service: c.Labels[spec.LabelService], Number: numberOf(c),
		Hash: c.Labels[spec.LabelHash], Files: c.Labels[spec.LabelFilesHash], ImageID: c.Labels[spec.LabelImage], State: string(c.State),
		DependsOn: spec.ParseDependsOn(c.Labels[spec.LabelDependsOn]), OneOff: oneOff(c),
	}
	if c.NetworkSettings != nil {
		out.Networks = slices.Sorted(maps.Keys(c.NetworkSettings.Networks))
	}
	return out
}

func networksOf(ctx context.Context, d docker, name string, p *types.Project) ([]plan.Resource, error) {
	wanted := map[string]bool{}
	filters := make(client.Filters)
	if p == nil {
		filters.Add("label", spec.LabelProject+"="+name)
	} else {
		for _, n := range p.Networks {
			wanted[n.Name] = true
		}
	}
	got, err := d.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
	if err != nil {
		return nil, err
	}
	var out []plan.Resource
	for _, n := range got.Items {
		if project := n.Labels[spec.LabelProject]; project == name || wanted[n.Name] {
			out = append(out, plan.Resource{ID: n.ID, Name: n.Name, Project: project, Key: n.Labels[spec.LabelNetwork], Hash: n.Labels[spec.LabelHash]})
		}
	}
	slices.SortFunc(out, func(a, b plan.Resource) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func volumesOf(ctx context.Context, d docker, name string, p *types.Project) ([]plan.Resource, error) {
	wanted := map[string]bool{}
	filters := make(client.Filters)
	if p == nil {
		filters.Add("label", spec.LabelProject+"="+name)
	} else {
		for _, v := range p.Volumes {
			wanted[v.Name] = true
		}
	}
	got, err := d.VolumeList(ctx, client.VolumeListOptions{Filters: filters})
	if err != nil {
		return nil, err
	}
	var out []plan.Resource
	for _, v := range got.Items {
		if project := v.Labels[spec.LabelProject]; project == name || wanted[v.Name] {
			out = append(out, plan.Resource{ID: v.Name, Name: v.Name, Project: project, Key: v.Labels[spec.LabelVolume], Hash: v.Labels[spec.LabelHash]})
		}
	}
	slices.SortFunc(out, func(a, b plan.Resource) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// imagesOf are the identifiers of the services' images, as far as they are there.
func imagesOf(ctx context.Context, d images, p *types.Project, separator string) (map[string]string, error) {
	out := map[string]string{}
	for _, s := range p.Services {
		ref := spec.Image(p.Name, s, separator)
		if _, done := out[ref]; done {
			continue
		}
		got, err := d.ImageInspect(ctx, ref)
		switch {
		case err == nil:
			out[ref] = got.ID
		case !cerrdefs.IsNotFound(err):
			return nil, err
		}
	}
	return out, nil
}

// errNone is that a service has no container to speak to.
var errNone = errors.New("is not running")
