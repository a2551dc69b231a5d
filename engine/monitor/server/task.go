package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/logs"
	"skiff.dev/skiff/engine/monitor/wire"
	"skiff.dev/skiff/engine/wholefile"
)

// Names of a task's files: FIFOs and record in its bundle, the rest in its state
// directory.
const (
	fifoIn     = "stdin"
	fifoOut    = "stdout"
	fifoErr    = "stderr"
	recordName = "task.json"
	startName  = "start.json"
	exitName   = "exit.json"
)

// drainTime is how long the output of a container that has ended is waited for,
// where other processes keep it open.
const drainTime = 500 * time.Millisecond

// task is one container.
type task struct {
	spec      wire.Start
	pid       int
	startTime uint64 // of the process, in the kernel's ticks: with pid it is unique
	startedAt time.Time

	log      *logs.Writer
	outs     []*output
	stdin    *os.File // the write end, or the terminal; nil when closed
	terminal *os.File
	needTTY  bool

	signal func(unix.Signal) error // reaches this process or nobody
	status <-chan unix.WaitStatus  // of a child

	mu   sync.Mutex
	exit *wire.Exit
	ooms uint64
	done chan struct{} // closed when exit is set
}

// record is what a new monitor needs to adopt a task.
type record struct {
	Start     wire.Start
	PID       int
	StartTime uint64
	StartedAt time.Time
}

func (t *task) info() wire.Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	return wire.Task{ID: t.spec.ID, PID: t.pid, StartedAt: t.startedAt, Exit: t.exit, TTY: t.spec.TTY, NeedTerminal: t.needTTY}
}

// start runs a container; connect is called when its streams are there, before
// anything is read of them. The caller waits for t.status and calls ended.
func (s *Server) start(spec wire.Start, connect func(*task)) (*task, error) {
	t := &task{spec: spec, done: make(chan struct{})}
	if spec.LogPath != "" {
		log, err := logs.NewWriter(spec.LogPath, spec.LogMaxBytes, spec.LogMaxFiles)
		if err != nil {
			return nil, err
		}
		t.log = log
	}
	if err := os.Remove(filepath.Join(spec.StateDir, exitName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	s.reaper.begin()
	defer s.reaper.done()
	err := t.run(s)
	if err != nil {
		t.closeStreams()
		return nil, err
	}
	t.startedAt = time.Now()
	if t.startTime, err = startTime(t.pid); err != nil {
		// It ended at once; the reaper has its status.
		t.startTime = 0
	}
	if err := t.save(); err != nil {
		unix.Kill(t.pid, unix.SIGKILL)
		t.closeStreams()
		return nil, err
	}
	connect(t)
	for _, o := range t.outs {
		go o.run()
	}
	t.signal = func(sig unix.Signal) error { return s.reaper.signal(t.pid, sig) }
	s.watchOOM(t)
	t.status = s.reaper.wait(t.pid)
	return t, nil
}

// run calls the runtime; after it t.pid runs.
func (t *task) run(s *Server) error {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	stdio := [3]int{null, null, null}
	defer func() { closeDistinct(stdio[:], null) }()
	var con *console
	if t.spec.TTY {
		if con, err = listenConsole(t.spec.Dir); err != nil {
			return err
		}
		defer con.close()
		con.await(0, 0)
	} else if stdio, err = t.openPipes(null); err != nil {
		return err
	}
	if err := s.call(t.spec.Runtime, t.spec.Rootfs, stdio); err != nil {
		return err
	}
	if t.pid, err = readPID(t.spec.Runtime.PID); err != nil {
		return err
	}
	if con == nil {
		return nil
	}
	fd, err := con.master()
	if err != nil {
		unix.Kill(t.pid, unix.SIGKILL)
		return err
	}
	return t.useTerminal(fd)
}

// openPipes makes the FIFOs and opens the container's ends. Its output is opened
// for reading too: while it lives, the pipe has a reader, so that it neither gets
// SIGPIPE nor loses what it wrote when the monitor is away.
func (t *task) openPipes(null int) ([3]int, error) {
	stdio := [3]int{null, null, null}
	for i, name := range []string{fifoIn, fifoOut, fifoErr} {
		if i == 0 && !t.spec.Stdin {
			continue
		}
		p := filepath.Join(t.spec.Dir, name)
		os.Remove(p)
		if err := unix.Mkfifo(p, 0o600); err != nil {
			return stdio, fmt.Errorf("mkfifo %s: %w", p, err)
		}
		both, err := unix.Open(p, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return stdio, fmt.Errorf("open %s: %w", p, err)
		}
		stdio[i] = both
		if i == 0 && t.spec.StdinOnce {
			// Only where the input may end must the container not hold it open itself.
			in, err := unix.Open(p, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return stdio, err
			}
			stdio[0] = in
			defer unix.Close(both)
		}
		if err := t.openEnd(i, name); err != nil {
			return stdio, err
		}
	}
	return stdio, nil
}

// openEnd opens the monitor's end of one FIFO.
func (t *task) openEnd(i int, name string) error {
	p := filepath.Join(t.spec.Dir, name)
	if i == 0 {
		fd, err := unix.Open(p, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", p, err)
		}
		t.stdin = os.NewFile(uintptr(fd), name)
		return nil
	}
	fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", p, err)
	}
	t.outs = append(t.outs, openOutput(fd, name, t.log))
	return nil
}

// useTerminal makes fd the container's input and output.
func (t *task) useTerminal(fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return err
	}
	o := openOutput(fd, logs.Stdout, t.log)
	t.terminal, t.stdin = o.file, o.file
	t.outs = append(t.outs, o)
	return nil
}

func closeDistinct(fds []int, null int) {
	unix.Close(null)
	for _, fd := range fds {
		if fd != null {
			unix.Close(fd)
		}
	}
}

func (t *task) closeStreams() {
	for _, o := range t.outs {
		o.file.Close()
	}
	if t.stdin != nil {
		t.stdin.Close()
	}
	if t.log != nil {
		t.log.Close()
	}
}

// save writes the records: the bundle's lets another monitor adopt the task, the
// state directory's tells after the machine's restart that it had run.
func (t *task) save() error {
	b, err := json.Marshal(record{t.spec, t.pid, t.startTime, t.startedAt})
	if err != nil {
		return err
	}
	if err := wholefile.Replace(filepath.Join(t.spec.Dir, recordName), b, 0o600); err != nil {
		return err
	}
	info := t.info()
	if b, err = json.Marshal(info); err != nil {
		return err
	}
	return wholefile.Replace(filepath.Join(t.spec.StateDir, startName), b, 0o600)
}

// ended records how a container ended, durably, and tells it.
func (s *Server) ended(t *task, code int, message string) {
	exit := &wire.Exit{Code: code, FinishedAt: time.Now(), Message: message}
	drain := time.NewTimer(drainTime)
	defer drain.Stop()
	for _, o := range t.outs {
		select {
		case <-o.done:
			continue
		case <-drain.C:
			drain.Reset(0)
			o.stop()
			<-o.done
		}
	}
	s.checkOOM(t)
	t.mu.Lock()
	exit.OOM = t.ooms > 0
	t.mu.Unlock()
	if b, err := json.Marshal(exit); err != nil {
		complain("exit of %s: %v", t.spec.ID, err)
	} else if err := writeDurable(filepath.Join(t.spec.StateDir, exitName), b); err != nil && !errors.Is(err, os.ErrNotExist) {
		complain("exit of %s: %v", t.spec.ID, err)
	}
	os.Remove(filepath.Join(t.spec.Dir, recordName))
	t.mu.Lock()
	if t.log != nil {
		t.log.Close()
	}
	if t.stdin != nil && t.terminal == nil {
		t.stdin.Close()
		t.stdin = nil
	}
	t.exit = exit
	close(t.done)
	t.mu.Unlock()
	s.publish(wire.Event{Type: wire.EventExit, Task: t.info()})
}

// writeDurable writes a new file and returns when it is on the disk, its name
// included. A power cut on the way can leave it torn, which readers tell by its
// not being JSON; a rename would cost a second sync.
func writeDurable(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
