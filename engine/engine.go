// Package engine keeps images and runs containers on one machine. It knows no
// Pod: a container may share the pinned namespaces of a sandbox, and that is all
// there is to grouping. The node runs pods on it; engine/cri and engine/dockerapi
// offer it to other clients. engine/monitor is the small process that parents the
// containers and outlives this one. engine/enginetest is the suite that each
// implementation passes; enginetest.Fake is the one without a kernel.
package engine

import (
	"context"
	"errors"
	"io"
	"time"
)

// Engine is safe for concurrent use. Every mutating method returns when its
// effect is durable: after a crash of this process the next one finds the same
// sandboxes and containers, running ones running.
type Engine interface {
	Images() Images

	// CreateSandbox pins the namespaces that containers will share. No process
	// runs in it unless spec.PIDShared.
	CreateSandbox(ctx context.Context, spec SandboxSpec) (*Sandbox, error)
	// RemoveSandbox kills and removes its containers and unpins the namespaces. An
	// unknown id is no error.
	RemoveSandbox(ctx context.Context, id string) error
	Sandboxes(ctx context.Context) ([]*Sandbox, error)

	// Create makes a container that can be started: its root filesystem is
	// snapshotted and its log file's directory exists.
	Create(ctx context.Context, spec ContainerSpec) (*Container, error)
	// Start runs it; it returns when the container's process has been executed, or
	// with a *StartError that tells why it could not be.
	Start(ctx context.Context, id string) error
	// Stop sends the container's stop signal, waits for grace, then kills; it
	// returns when the process is gone and its exit is recorded. Grace 0 kills at
	// once. Stopping what does not run is no error.
	Stop(ctx context.Context, id string, grace time.Duration) error
	Signal(ctx context.Context, id string, signal string) error
	// Remove deletes a container that does not run, or with force any. An unknown
	// id is ErrNotFound.
	Remove(ctx context.Context, id string, force bool) error
	Update(ctx context.Context, id string, r Resources) error

	Get(ctx context.Context, id string) (*Container, error)
	// List returns the containers whose labels include all of want.
	List(ctx context.Context, want map[string]string) ([]*Container, error)

	// Exec runs a further process and returns its exit code when it has ended and
	// its output has been written to s.
	Exec(ctx context.Context, id string, spec ExecSpec, s Streams) (exitCode int, err error)
	// Attach connects s to the container's own standard streams until the process
	// ends, s.Stdin ends (where nothing else is attached) or ctx ends.
	Attach(ctx context.Context, id string, s Streams) error
	Stats(ctx context.Context, id string) (*Stats, error)
	// ReopenLog makes the next line go to a new file at the same path, after the
	// caller has renamed the old one.
	ReopenLog(ctx context.Context, id string) error

	// Events streams what happens from now on until ctx ends; the channel is then
	// closed. A reader that does not keep up loses events and gets one EventLost:
	// it must List again.
	Events(ctx context.Context) <-chan Event

	// Close releases this process's hold. Containers go on running.
	Close() error
}

// SandboxSpec asks for namespaces. Host* use the machine's own instead.
type SandboxSpec struct {
	ID       string // chosen by the caller; [a-zA-Z0-9_-]{1,64}
	Hostname string
	Labels   map[string]string

	HostNetwork, HostIPC, HostPID bool
	// UTS is "host" for the machine's own name, "private" for one of the sandbox's
	// own; "" is the machine's where the network is.
	UTS string
	// NetOf and IPCOf are ids of sandboxes whose namespaces this one has too; with
	// NetOf also their name if UTS is "", with IPCOf their shared memory.
	NetOf, IPCOf string
	// SHMSize of /dev/shm in bytes; 0 is 64 MiB. NoSHM leaves it out.
	SHMSize int64
	NoSHM   bool
	// PIDShared gives all containers one PID namespace, held by a small init.
	PIDShared bool
	Sysctls   map[string]string
	// CgroupParent is a path below the engine's root, "/" separated; it is created.
	CgroupParent string
	// Limits of the whole sandbox, applied to CgroupParent.
	Resources Resources
}

// Sandbox is what exists of a SandboxSpec.
type Sandbox struct {
	Spec      SandboxSpec
	CreatedAt time.Time
	// Paths of pinned namespaces that setns and bind mounts accept; "" for the
	// machine's own.
	NetNS, IPCNS, UTSNS, PIDNS string
}

// ContainerSpec is everything about a container that does not change, save
// Resources.
type ContainerSpec struct {
	ID      string // "" lets the engine choose 64 hex digits
	Name    string // unique among containers where not empty
	Sandbox string // id, or "" for namespaces of its own
	PIDOf   string // id of a running container whose PID namespace this one shares; "" is the sandbox's rule
	Labels  map[string]string

	Image string // reference or image id; must be in the store
	// Command and Args replace the image's entrypoint and command as in a Pod;
	// nil keeps them (and a Command drops the image's command).
	Command, Args []string
	Env           []string // KEY=value, after and over the image's
	WorkingDir    string   // "" is the image's
	User          string   // "uid", "uid:gid", names; "" is the image's
	Groups        []int64  // supplemental
	GroupNames    []string // as Groups, names of the root filesystem's /etc/group or numbers
	TTY, Stdin    bool
	StdinOnce     bool
	StopSignal    string // "" is the image's, else SIGTERM

	Hostname string // only without a sandbox
	Mounts   []Mount
	Devices  []Device

	Resources    Resources
	CgroupParent string // as SandboxSpec's; "" is the sandbox's

	Privileged      bool
	ReadonlyRoot    bool
	NoNewPrivileges bool
	CapAdd, CapDrop []string // without CAP_; "ALL"
	Seccomp         string   // "" or "RuntimeDefault", "Unconfined", else a profile's path, or its text, which begins with "{"
	Unmasked        bool     // /proc is not masked
	OOMScoreAdj     int
	Rlimits         []Rlimit
	Sysctls         map[string]string
	// MaskedPaths and ReadonlyPaths, where not nil, replace the usual ones.
	MaskedPaths, ReadonlyPaths *[]string
	// DeviceRules allow devices by numbers, as "c 1:3 rwm"; "*" is any.
	DeviceRules []string
	// CgroupNS is "private" or "host"; "" is the runtime's usual.
	CgroupNS    string
	AppArmor    string // profile's name; "" is none
	Umask       *uint32
	Annotations map[string]string
	// Init runs the command below a small init that forwards signals and reaps.
	Init bool
	// Skeleton puts the files and directories that are mounted over in every container
	// into a layer below the container's own, so that they are no changes of it.
	Skeleton bool

	LogPath     string // "" writes no log
	LogMaxBytes int64  // 0 never rotates
	LogMaxFiles int
}

// Mount is one mount in a container. Type "bind" (also the meaning of "") binds
// Source; "tmpfs" and others pass Options on.
type Mount struct {
	Type, Source, Target string
	ReadOnly             bool
	RecursiveReadOnly    bool
	Propagation          string // "", "private", "rslave", "rshared", "slave", "shared", "rprivate"
	NonRecursive         bool   // binds the one mount, without those below it
	Options              []string
}

// Device is a host device node that the container may use.
type Device struct{ Host, Container, Permissions string }

// Rlimit is one resource limit.
type Rlimit struct {
	Type       string // "RLIMIT_NOFILE"
	Soft, Hard uint64
}

// Resources are limits; zero means none. CPUShares is cgroup v1's scale (1024 a
// core); implementations convert for v2.
type Resources struct {
	CPUShares   int64
	CPUQuota    int64 // microseconds of CPU in a period
	CPUPeriod   int64 // microseconds
	CPUSet      string
	MemsSet     string
	Memory      int64 // bytes
	MemorySwap  int64 // bytes of memory and swap together
	Reservation int64
	Pids        int64
	HugePages   map[string]int64 // page size as "2MB" to bytes
	Unified     map[string]string

	CPURealtimePeriod, CPURealtimeRuntime int64 // microseconds
	Swappiness                            *int64
	OOMKillDisable                        bool
	Block                                 BlockLimits
}

// BlockLimits bound what a container does with block devices. They hold from the
// next start on.
type BlockLimits struct {
	Weight                                   uint16
	Weights                                  []BlockLimit
	ReadBytes, WriteBytes, ReadOps, WriteOps []BlockLimit
}

// BlockLimit is a device's weight, or bytes or operations a second.
type BlockLimit struct {
	Device string // path of its node
	Value  uint64
}

// State of a container.
type State string

// A container passes Created, Running, Exited; a paused one is Running.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
)

// Container is a snapshot of a container's state.
type Container struct {
	Spec       ContainerSpec
	State      State
	Paused     bool
	ImageID    string // the config's digest
	ImageRef   string // name@digest where known
	PID        int
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	ExitCode   int
	OOMKilled  bool
	// Message tells why it ended when no exit code does ("the machine restarted").
	Message string
}

// ExecSpec is a further process in a running container.
type ExecSpec struct {
	Args       []string
	Env        []string // over the container's
	WorkingDir string
	User       string
	TTY        bool
	Privileged bool
	// Started, where not nil, is told the process's id.
	Started func(pid int)
	// Detached lets the process run on when this one ends.
	Detached bool
}

// Streams connect a process with a client. Nil parts are not connected. Resize
// may deliver terminal sizes until it is closed.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
}

// Size of a terminal in characters.
type Size struct{ Width, Height uint16 }

// Stats are a container's counters.
type Stats struct {
	Time             time.Time
	CPUNanos         uint64
	MemoryUsage      uint64 // bytes, as the kernel counts them
	MemoryWorkingSet uint64 // without inactive file pages
	MemoryRSS        uint64
	PageFaults       uint64
	MajorPageFaults  uint64
	MemoryLimit      uint64
	Pids             uint64
	ReadBytes        uint64
	WriteBytes       uint64
	RootFSUsed       uint64
	RootFSInodes     uint64
}

// EventType of an Event.
type EventType string

// Event types.
const (
	EventCreated EventType = "created"
	EventStarted EventType = "started"
	EventExited  EventType = "exited"
	EventOOM     EventType = "oom"
	EventRemoved EventType = "removed"
	EventLost    EventType = "lost"
	// EventSandbox tells that a sandbox, whose id is ID, cannot hold containers any
	// more: it was removed, or the init of its PID namespace has died, which is told
	// with the end or the failed start of a container at the latest. Container is nil.
	EventSandbox EventType = "sandbox-gone"
)

// Event is one change of one container. Container is its state after it.
type Event struct {
	Type      EventType
	ID        string
	Container *Container
	Time      time.Time
}

// Errors of a closed set; match with errors.Is.
var (
	ErrNotFound = errors.New("engine: not found")
	ErrExists   = errors.New("engine: exists already")
	ErrRunning  = errors.New("engine: the container is running")
	ErrNotRun   = errors.New("engine: the container is not running")
	ErrInUse    = errors.New("engine: in use")
	ErrInvalid  = errors.New("engine: invalid argument")
	ErrCorrupt  = errors.New("engine: content does not match its digest")
	ErrNoSpace  = errors.New("engine: no space left on the device")
)

// StartError tells why a process could not be executed. ExitCode is what shells
// and Docker give: 127 not found, 126 not executable, else 128.
type StartError struct {
	ExitCode int
	Message  string
}

func (e *StartError) Error() string { return e.Message }

// Groups is an optional ability of an Engine: control groups that hold several
// sandboxes, such as the quality-of-service classes of a node. A parent is a path
// as CgroupParent.
type Groups interface {
	// SetGroup makes the group and gives it limits; zero values leave a limit as it
	// is.
	SetGroup(ctx context.Context, parent string, r Resources) error
	// GroupStats counts what is in the group and below. A group that does not exist
	// is ErrNotFound.
	GroupStats(ctx context.Context, parent string) (*Stats, error)
}
