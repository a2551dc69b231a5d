package local

import (
	"strings"

	"skiff.dev/skiff/engine/imagestore"
)

// RuntimeProgram is the OCI runtime for those that run containers beside the engine:
// its path, whether it is crun, and the mount that must be hidden from it, "" for
// none.
func (l *Local) RuntimeProgram() (path string, crun bool, hide string) {
	return l.runtime.Path, strings.HasPrefix(l.runtime.Version, "crun"), l.runtime.Hide
}

// CgroupRoot is the group above all of the engine's.
func (l *Local) CgroupRoot() string { return l.o.CgroupRoot }

// Store is the image store itself, for a builder that keeps its layers there.
func (l *Local) Store() *imagestore.Store { return l.images }
