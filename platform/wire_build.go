package platform

import (
	"path/filepath"

	"skiff.dev/skiff/engine/build"
	"skiff.dev/skiff/engine/imagestore"
	"skiff.dev/skiff/kernel/cgroup"
)

// openBuilder prepares building; what is left of builds that were cut off goes.
func (p *process) openBuilder(store *imagestore.Store) (*build.Builder, error) {
	tree, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	path, crun, hide := p.engine.RuntimeProgram()
	return build.New(build.Options{
		Root:         filepath.Join(p.cfg.Data, "build"),
		Store:        store,
		Runtime:      func() build.Runtime { return build.Runtime{Path: path, Crun: crun, Hide: hide} },
		CgroupParent: p.engine.CgroupRoot() + "/build",
		Cgroups:      tree,
		Telemetry:    p.tel,
	})
}
