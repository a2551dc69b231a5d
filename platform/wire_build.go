package platform

import (
	"log/slog"
	"path/filepath"

	types "github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/engine/dockerapi/builds"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/kernel/cgroup"
)

// dockerBuilds is the area of the Docker API that builds images.
func (p *process) dockerBuilds(events *event.Hub, log *slog.Logger) *builds.Area {
	return builds.New(builds.Options{
		Builder: p.builder, Images: p.engine.Store(), Log: log,
		Built: func(id, name string) {
			events.Publish(types.ImageEventType, types.ActionTag, id, map[string]string{"name": engine.FamiliarRef(name)})
		},
	})
}

// openBuilder prepares building; what is left of builds that were cut off goes.
func (p *process) openBuilder() (*build.Builder, error) {
	tree, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	path, crun, hide := p.engine.RuntimeProgram()
	return build.New(build.Options{
		Root:         filepath.Join(p.cfg.Data, "build"),
		Store:        p.engine.Store(),
		Runtime:      func() build.Runtime { return build.Runtime{Path: path, Crun: crun, Hide: hide} },
		CgroupParent: p.engine.CgroupRoot() + "/build",
		Cgroups:      tree,
		Network:      &p.buildNetwork,
		Telemetry:    p.tel,
	})
}
