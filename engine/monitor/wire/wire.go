// Package wire is what skiff and its monitor say to each other over a unix
// socket: frames of JSON, each after its length in four bytes, big endian, with
// file descriptors attached to a frame's first byte. A connection carries one
// Request and then the Replies to it. It uses the standard library and
// golang.org/x/sys alone, because the monitor must stay small.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Version of the protocol. Fields are only ever added; a monitor answers a
// request of a version it does not know with an error, and any version can be
// asked to Replace itself.
const Version = 1

// Limits of a frame.
const (
	MaxFrame = 4 << 20
	MaxFiles = 4
)

// Ops of a Request.
const (
	OpHello    = "hello"    // answers Reply.Hello
	OpStart    = "start"    // runs a container, its streams connected to the files; answers Reply.Task, and a terminal's master as a file
	OpExec     = "exec"     // runs a further process; answers twice: running, ended
	OpAttach   = "attach"   // copies streams; answers when attached and when over
	OpResize   = "resize"   // sets the size of a container's terminal
	OpSignal   = "signal"   // sends Request.Signal to a container's first process
	OpReopen   = "reopen"   // reopens a container's log
	OpForget   = "forget"   // drops a container that has ended
	OpEvents   = "events"   // answers all tasks, then each change
	OpTerminal = "terminal" // hands a terminal's master to a new monitor
	OpPause    = "pause"    // runs the holder of a PID namespace; answers Reply.PID
	OpReplace  = "replace"  // executes the program at Request.Path in this one's place
	OpShutdown = "shutdown" // ends the monitor if it has no running container
)

// Request is what skiff asks.
type Request struct {
	V      int
	Op     string
	ID     string   `json:",omitempty"`
	Start  *Start   `json:",omitempty"`
	Exec   *Exec    `json:",omitempty"`
	Files  []string `json:",omitempty"` // what each attached file is: stdin, stdout, stderr, terminal
	Signal int      `json:",omitempty"`
	Width  uint16   `json:",omitempty"`
	Height uint16   `json:",omitempty"`
	Path   string   `json:",omitempty"`
}

// Start is all that the monitor needs to run a container, and to adopt it later.
type Start struct {
	ID string
	// Dir is the bundle: config.json, the mount point of the root, FIFOs and the
	// task's own record. It does not outlive the machine's run.
	Dir string
	// StateDir keeps start.json and exit.json; it does.
	StateDir string
	Runtime  Runtime
	Rootfs   *Rootfs
	// OOMFile counts "oom_kill N"; OOMControl is cgroup v1's event_control beside
	// it, "" on v2.
	OOMFile, OOMControl string

	TTY, Stdin, StdinOnce bool

	LogPath     string
	LogMaxBytes int64
	LogMaxFiles int
}

// Runtime is one call of the OCI runtime.
type Runtime struct {
	Args []string // Args[0] is the program's path
	Log  string   // where it writes its error as JSON lines
	PID  string   // its --pid-file
	// HideMount, if not empty, is taken away from the mounts that the runtime sees;
	// HideParent is the mount above it.
	HideMount, HideParent string
}

// Rootfs is the overlay to mount, in the runtime's view alone.
type Rootfs struct {
	Target      string
	Base        string // directory to which Lower's entries are relative
	Lower       []string
	Upper, Work string
}

// Exec is a further process.
type Exec struct {
	Dir     string // for its pid file and console socket
	Runtime Runtime
	TTY     bool
	// Detached lets the process run on when the client goes away.
	Detached bool `json:",omitempty"`
}

// Task is a container as the monitor sees it.
type Task struct {
	ID        string
	PID       int
	StartedAt time.Time
	Exit      *Exit `json:",omitempty"`
	TTY       bool  `json:",omitempty"`
	// NeedTerminal asks for the terminal's master, which the last monitor had.
	NeedTerminal bool `json:",omitempty"`
}

// Exit is how a container ended; StateDir/exit.json holds it before anybody is
// told.
type Exit struct {
	Code       int
	FinishedAt time.Time
	OOM        bool   `json:",omitempty"`
	Message    string `json:",omitempty"`
}

// Event types.
const (
	EventTask   = "task" // at the beginning, one for each task
	EventSynced = "synced"
	EventStart  = "start"
	EventExit   = "exit"
	EventOOM    = "oom"
)

// Event is a change of a task.
type Event struct {
	Type string
	Task Task
}

// Hello introduces the monitor.
type Hello struct {
	V     int
	Build string // the name of its program
	PID   int
}

// Reply is what the monitor answers. Error is empty on success; Code goes with
// the error of a process that could not be started (127, 126, 128).
type Reply struct {
	Error string `json:",omitempty"`
	Code  int    `json:",omitempty"`
	Kind  string `json:",omitempty"` // one of the Kind constants, with Error
	Hello *Hello `json:",omitempty"`
	Task  *Task  `json:",omitempty"`
	PID   int    `json:",omitempty"`
	Exit  *Exit  `json:",omitempty"`
	Event *Event `json:",omitempty"`
}

// Kinds of errors.
const (
	KindNotFound = "not found"
	KindNotRun   = "not running"
	KindExists   = "exists"
	KindBusy     = "busy"
	KindStart    = "start" // the process could not be executed
	KindVersion  = "version"
)

// ErrFrame is a frame that is too long or not JSON.
var ErrFrame = errors.New("wire: invalid frame")

// Encode returns v as a frame.
func Encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxFrame {
		return nil, fmt.Errorf("%w: %d bytes", ErrFrame, len(body))
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...), nil
}

// Decode reads one frame into v.
func Decode(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxFrame {
		return fmt.Errorf("%w: %d bytes", ErrFrame, n)
	}
	// A length is no promise: memory grows with what really comes.
	body, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return err
	}
	if len(body) < int(n) {
		return io.ErrUnexpectedEOF
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return nil
}

// Send writes v with file descriptors attached. They stay open here.
func Send(c *net.UnixConn, v any, fds ...int) error {
	frame, err := Encode(v)
	if err != nil {
		return err
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(frame, oob, nil)
	if err == nil && n < len(frame) {
		_, err = c.Write(frame[n:])
	}
	return err
}

// Recv reads one frame into v and returns the descriptors attached to it, which
// the caller closes.
func Recv(c *net.UnixConn, v any) ([]int, error) {
	r := &fdReader{c: c}
	if err := Decode(r, v); err != nil {
		CloseAll(r.fds)
		return nil, err
	}
	if len(r.fds) > MaxFiles {
		CloseAll(r.fds)
		return nil, fmt.Errorf("%w: %d files", ErrFrame, len(r.fds))
	}
	return r.fds, nil
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// fdReader reads a connection and keeps the descriptors that come along.
type fdReader struct {
	c   *net.UnixConn
	fds []int
}

func (r *fdReader) Read(p []byte) (int, error) {
	var oob [64]byte // room for more than MaxFiles descriptors
	n, oobn, _, _, err := r.c.ReadMsgUnix(p, oob[:])
	if oobn > 0 {
		msgs, perr := unix.ParseSocketControlMessage(oob[:oobn])
		if perr != nil {
			return n, perr
		}
		for i := range msgs {
			if fds, perr := unix.ParseUnixRights(&msgs[i]); perr == nil {
				r.fds = append(r.fds, fds...)
			}
		}
	}
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.EOF
	}
	return n, err
}

// Address returns a socket address for a path of any length, by way of its
// directory's descriptor: sockaddr_un holds 107 bytes. Close the file after use.
func Address(path string) (*net.UnixAddr, *os.File, error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return &net.UnixAddr{Net: "unix", Name: name}, dir, nil
}
