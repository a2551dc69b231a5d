// Package monitor is skiff's side of the small process that parents all
// containers of a node and outlives skiff: it keeps their standard streams, writes
// their logs, records how they end and lets clients attach. The process itself is
// engine/monitor/server, in the program engine/monitor/cmd/skiff-monitor, which
// this package carries inside; they talk as package engine/monitor/wire says.
package monitor

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/monitor/server"
	"skiff.dev/skiff/engine/monitor/wire"
)

//go:embed all:embedded
var embedded embed.FS

const programName = "skiff-monitor"

// ErrNotBuilt says that this program does not carry the monitor.
var ErrNotBuilt = errors.New("built without the monitor: run make build")

// Program returns the monitor's program as embedded.
func Program() ([]byte, error) {
	b, err := embedded.ReadFile("embedded/" + programName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuilt
	}
	return b, err
}

// Client talks to the monitor of one directory, which it starts when there is
// none. It is safe for concurrent use.
type Client struct {
	dir     string
	program func() ([]byte, error)
	started func(pid int) // called with each monitor started

	mu sync.Mutex // starting
}

// New returns a client for the monitor in dir. program gives the monitor's
// program; started, if not nil, is told the process id of each monitor that the
// client starts.
func New(dir string, program func() ([]byte, error), started func(pid int)) *Client {
	return &Client{dir: dir, program: program, started: started}
}

// Error is the monitor's refusal.
type Error struct {
	Kind string // one of wire's Kind constants
	Code int    // of wire.KindStart
	Text string
}

func (e *Error) Error() string { return e.Text }

func replyError(r *wire.Reply) error {
	if r.Error == "" {
		return nil
	}
	return &Error{Kind: r.Kind, Code: r.Code, Text: r.Error}
}

// extract puts the program into dir under a name that holds its hash.
func (c *Client) extract() (path string, err error) {
	b, err := c.program()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	path = filepath.Join(c.dir, programName+"-"+hex.EncodeToString(sum[:6]))
	if st, err := os.Stat(path); err == nil && st.Size() == int64(len(b)) {
		return path, nil
	}
	tmp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	if err := os.WriteFile(tmp, b, 0o700); err != nil {
		return "", fmt.Errorf("extract the monitor: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return "", fmt.Errorf("extract the monitor: %w", err)
	}
	return path, nil
}

// Path is the monitor's program, which is also the init of containers that want
// one: anybody may execute it who reaches it.
func (c *Client) Path() (string, error) {
	path, err := c.extract()
	if err == nil {
		err = os.Chmod(path, 0o755)
	}
	return path, err
}

// Ensure makes sure that a monitor runs and that it runs this client's program;
// another program is replaced in its place, its containers running on.
func (c *Client) Ensure(ctx context.Context) (*wire.Hello, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path, err := c.extract()
	if err != nil {
		return nil, err
	}
	hello, err := c.hello(ctx)
	if err != nil {
		if err := c.spawn(ctx, path); err != nil {
			return nil, err
		}
		return c.hello(ctx)
	}
	if hello.Build == filepath.Base(path) {
		return hello, nil
	}
	if _, err := c.Call(ctx, &wire.Request{Op: wire.OpReplace, Path: path}); err != nil {
		return nil, fmt.Errorf("replace the monitor: %w", err)
	}
	for {
		if hello, err = c.hello(ctx); err == nil && hello.Build == filepath.Base(path) {
			c.removeOld(path)
			return hello, nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("the monitor did not come back after its replacement: %w", errors.Join(ctx.Err(), err))
		}
	}
}

func (c *Client) removeOld(path string) {
	old, _ := filepath.Glob(filepath.Join(c.dir, programName+"-*"))
	for _, p := range old {
		if p != path {
			os.Remove(p)
		}
	}
}

func (c *Client) hello(ctx context.Context) (*wire.Hello, error) {
	r, err := c.Call(ctx, &wire.Request{Op: wire.OpHello})
	if err != nil {
		return nil, err
	}
	if r.Hello == nil {
		return nil, errors.New("the monitor does not introduce itself")
	}
	return r.Hello, nil
}

// spawn starts a monitor in a session of its own and waits until it listens.
func (c *Client) spawn(ctx context.Context, path string) error {
	logFile := filepath.Join(c.dir, "monitor.log")
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	before, _ := log.Seek(0, 2)
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(path, "serve", c.dir)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOMAXPROCS=2", "GOTRACEBACK=single"}
	cmd.Stderr = log
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start the monitor: %w", err)
	}
	go cmd.Wait()
	if c.started != nil {
		c.started(cmd.Process.Pid)
	}
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) })
	defer stop()
	buf := make([]byte, 16)
	if n, _ := r.Read(buf); n > 0 {
		return nil
	}
	text, _ := os.ReadFile(logFile)
	return fmt.Errorf("the monitor did not start: %s", strings.TrimSpace(string(text[min(int(before), len(text)):])))
}

// Conn is one conversation.
type Conn struct {
	c    *net.UnixConn
	stop func() bool
}

// Dial connects; the connection is closed when ctx ends.
func (c *Client) dial(ctx context.Context) (*Conn, error) {
	addr, d, err := wire.Address(filepath.Join(c.dir, server.SocketName))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	u, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		return nil, fmt.Errorf("the monitor does not answer: %w", err)
	}
	return &Conn{c: u, stop: context.AfterFunc(ctx, func() { u.Close() })}, nil
}

// Close ends the conversation.
func (c *Conn) Close() error {
	c.stop()
	return c.c.Close()
}

// Recv waits for the next reply; an error reply is an *Error. The descriptors
// are the caller's.
func (c *Conn) Recv() (*wire.Reply, []int, error) {
	var r wire.Reply
	fds, err := wire.Recv(c.c, &r)
	if err == nil {
		err = replyError(&r)
	}
	if err != nil {
		wire.CloseAll(fds)
		return nil, nil, err
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return &r, fds, nil
}

// Open sends a request with descriptors, which stay open here, and returns the
// conversation.
func (c *Client) Open(ctx context.Context, r *wire.Request, fds ...int) (*Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	r.V = wire.Version
	if err := wire.Send(conn.c, r, fds...); err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask the monitor: %w", err)
	}
	return conn, nil
}

// CallFiles sends a request and returns the one reply.
func (c *Client) CallFiles(ctx context.Context, r *wire.Request, fds ...int) (*wire.Reply, []int, error) {
	conn, err := c.Open(ctx, r, fds...)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	reply, got, err := conn.Recv()
	var me *Error
	if err != nil && !errors.As(err, &me) {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, nil, fmt.Errorf("the monitor's answer to %s: %w", r.Op, err)
	}
	return reply, got, err
}

// Call is CallFiles where no descriptors come back.
func (c *Client) Call(ctx context.Context, r *wire.Request, fds ...int) (*wire.Reply, error) {
	reply, got, err := c.CallFiles(ctx, r, fds...)
	wire.CloseAll(got)
	return reply, err
}
