package engine

import (
	"context"
	"time"

	"skiff.dev/skiff/kernel/cgroup"
)

// Abilities that an Engine may have besides: each is asked for by a type assertion.

// Editor changes what a container is before it is started again: everything in
// spec but its ID, Name and Image, which stay. A running container is ErrRunning.
type Editor interface {
	Edit(ctx context.Context, id string, spec ContainerSpec) error
}

// Pauser stops a running container's processes and lets them go on. Stop and
// Remove of a paused container let it go on in order to die.
type Pauser interface {
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
}

// AttachedStarter starts a container with s connected before its process runs, so
// that nothing of its output is missed. It returns as Start does; wait returns when
// the output has ended, or when s.Stdin has where no output is connected, or when ctx has ended.
type AttachedStarter interface {
	StartAttached(ctx context.Context, id string, s Streams) (wait func(), err error)
}

// Anticipator is told that a process will be started in a moment, in any container:
// what can be done for it without knowing more is begun. It does not block, and if
// nothing is started nothing is lost.
type Anticipator interface {
	Anticipate()
}

// Resizer sets the size of a running container's terminal.
type Resizer interface {
	Resize(ctx context.Context, id string, size Size) error
}

// Inspector looks at a running container from outside.
type Inspector interface {
	// Processes are the ids, as the machine counts, of the container's processes.
	Processes(ctx context.Context, id string) ([]int, error)
	Detail(ctx context.Context, id string) (*Detail, error)
}

// Detail is Stats and more.
type Detail struct {
	Stats
	cgroup.Detail
}

// Files gives access to a container's files, whether it runs or not.
type Files interface {
	// InRoot calls f on a thread whose root directory is the container's. Nothing that
	// f opens by name is outside, whatever links say. f must do its work in its own
	// goroutine.
	InRoot(ctx context.Context, id string, o RootOptions, f func() error) error
	// Changes lists what differs from the image, sorted by path.
	Changes(ctx context.Context, id string) ([]Change, error)
	// Size is how many bytes the container's own layer takes, and all layers together.
	Size(ctx context.Context, id string) (own, all int64, err error)
	// Layers are the directories of the container's root, its own first.
	Layers(ctx context.Context, id string) (upper string, lower []string, err error)
}

// RootOptions say how InRoot sees a container's files: as it sees them itself where
// it runs, else with Binds mounted; with Bare its layers alone. With Write one that
// does not run cannot be started meanwhile; without, it can only be read.
type RootOptions struct {
	Write, Bare bool
	Binds       []Mount
}

// ChangeKind of a Change.
type ChangeKind int

// Kinds of changes, by Docker's numbers.
const (
	Modified ChangeKind = iota
	Added
	Deleted
)

// Change is one path that differs from the image.
type Change struct {
	Path string
	Kind ChangeKind
	// Size of what was added or changed, in bytes.
	Size    int64
	ModTime time.Time
}
