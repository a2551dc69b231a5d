package containers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/bundle"
	"skiff.dev/skiff/engine/dockerapi/route"
)

// execution is a further process of a container; Area.mu guards what changes.
type execution struct {
	id   string
	c    *cont
	req  container.ExecCreateRequest
	keys []byte
	size chan engine.Size

	begun, running bool
	pid            int
	exit           *int
	ended          time.Time
}

// maxExecs is how many executions that have ended are remembered.
const maxExecs = 1000

func (a *Area) execCreate(w http.ResponseWriter, r *route.Request) error {
	var req container.ExecCreateRequest
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	if len(req.Cmd) == 0 {
		return route.Invalidf("No exec command specified")
	}
	name := r.Var("name")
	c, err := a.find(name)
	if err != nil {
		return err
	}
	v := a.view(c)
	switch {
	case !v.running:
		return notRunning(v.ID)
	case v.paused:
		return route.Conflictf("Container %s is paused, unpause the container before exec", name)
	case v.restarting:
		return route.Conflictf("Container %s is restarting, wait until the container is running", name)
	}
	a.anticipate() // the client starts it next
	keys, err := detachKeys(req.DetachKeys)
	if err != nil {
		return route.Internalf("Invalid escape keys (%s) provided", req.DetachKeys)
	}
	if req.User == "" {
		req.User = v.Config.User
	} else if err := a.checkUser(r.Context(), v.ID, req.User); err != nil {
		return err
	}
	e := &execution{id: newID(), c: c, req: req, keys: keys, size: make(chan engine.Size, 8)}
	a.mu.Lock()
	a.dropOldExecs()
	a.execs[e.id] = e
	c.execs[e.id] = true
	a.mu.Unlock()
	a.publish(c, execAction(events.ActionExecCreate, req.Cmd), "execID", e.id)
	return route.WriteJSON(w, http.StatusCreated, &common.IDResponse{ID: e.id})
}

// execAction is an action with the command, which has a blank at its end, as in
// Docker, where it is one word.
func execAction(action events.Action, command []string) events.Action {
	return events.Action(fmt.Sprintf("%s: %s %s", action, command[0], strings.Join(command[1:], " ")))
}

// dropOldExecs forgets the ends of executions that nobody has asked for in a while;
// a.mu is held.
func (a *Area) dropOldExecs() {
	if len(a.execs) < maxExecs {
		return
	}
	limit := time.Now().Add(-time.Minute)
	for id, e := range a.execs {
		if e.exit != nil && e.ended.Before(limit) {
			delete(a.execs, id)
		}
	}
}

// checkUser looks a user up in the container's own files.
func (a *Area) checkUser(ctx context.Context, id, user string) error {
	return a.o.Engine.InRoot(ctx, id, engine.RootOptions{}, func() error {
		passwd, _ := readBounded("/etc/passwd")
		group, _ := readBounded("/etc/group")
		if _, err := bundle.LookupUser(user, nil, passwd, group); err != nil {
			name, _, _ := strings.Cut(user, ":")
			why := errors.Unwrap(err)
			if j, ok := err.(interface{ Unwrap() []error }); ok {
				list := j.Unwrap()
				why = list[len(list)-1]
			}
			if strings.HasPrefix(fmt.Sprint(why), "unable to find") {
				return route.Invalid(why)
			}
			return route.Invalid(fmt.Errorf("unable to find user %s: %w", name, why))
		}
		return nil
	})
}

func (a *Area) findExec(id string) (*execution, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.execs[id]; ok {
		return e, nil
	}
	return nil, route.NotFoundf("No such exec instance: %s", id)
}

func (a *Area) execInspect(w http.ResponseWriter, r *route.Request) error {
	e, err := a.findExec(r.Var("id"))
	if err != nil {
		return err
	}
	a.mu.Lock()
	privileged := e.req.Privileged
	out := container.ExecInspectResponse{
		ID: e.id, Running: e.running, ExitCode: e.exit, OpenStdin: e.req.AttachStdin, OpenStderr: e.req.AttachStderr, OpenStdout: e.req.AttachStdout,
		ContainerID: e.c.rec.ID, DetachKeys: []byte(e.req.DetachKeys), Pid: e.pid,
		ProcessConfig: &container.ExecProcessConfig{
			Tty: e.req.Tty, Entrypoint: e.req.Cmd[0], Arguments: e.req.Cmd[1:], Privileged: &privileged, User: e.req.User,
		},
	}
	a.mu.Unlock()
	return route.WriteJSON(w, http.StatusOK, &out)
}

func (a *Area) execResize(w http.ResponseWriter, r *route.Request) error {
	size, err := sizeOf(r)
	if err != nil {
		return err
	}
	e, err := a.findExec(r.Var("id"))
	if err != nil {
		return err
	}
	a.mu.Lock()
	over := e.exit != nil || !e.running
	a.mu.Unlock()
	if over {
		return route.Conflictf("exec command %s is not running", e.id)
	}
	select {
	case e.size <- size:
	default: // the one that waits is replaced by the next
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// begin takes an execution, which runs once.
func (a *Area) begin(e *execution) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case e.exit != nil:
		return route.Conflictf("exec command %s has already run", e.id)
	case e.begun:
		return route.Conflictf("exec command %s is already running", e.id)
	case !e.c.running:
		return notRunning(e.c.rec.ID)
	case e.c.paused:
		return route.Conflictf("container %s is paused, unpause the container before exec", e.c.rec.ID)
	}
	e.begun, e.running = true, true
	return nil
}

func (a *Area) execStart(w http.ResponseWriter, r *route.Request) error {
	if r.Since("1.22") {
		if err := r.CheckJSON(); err != nil {
			return err
		}
	}
	var req container.ExecStartRequest
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	e, err := a.findExec(r.Var("id"))
	if err != nil {
		return err
	}
	if req.ConsoleSize == nil {
		req.ConsoleSize = e.req.ConsoleSize
	}
	if s := req.ConsoleSize; s != nil && e.req.Tty {
		e.size <- engine.Size{Height: uint16(min(s[0], 1<<16-1)), Width: uint16(min(s[1], 1<<16-1))}
	}
	if req.Detach {
		return a.execDetached(w, e)
	}
	conn, err := route.Hijack(w, r, !e.req.Tty, true)
	if err != nil {
		return err
	}
	defer conn.Close()
	mux := route.NewMux(conn)
	say := mux.Stream(route.Stdout)
	if e.req.Tty {
		say = conn
	}
	if err := a.begin(e); err != nil {
		fmt.Fprintf(say, "%s\r\n", err)
		return conn.CloseWrite()
	}
	gone := make(chan struct{})
	t := &attachment{detached: gone}
	in := &clientInput{r: conn, gone: t.leave}
	s := engine.Streams{Resize: e.size}
	if e.req.Tty {
		in.keys = e.keys
	}
	if e.req.AttachStdin {
		s.Stdin = in
	}
	if e.req.AttachStdout {
		s.Stdout = &fan{taps: []tap{{t, say}}}
	}
	if e.req.AttachStderr && !e.req.Tty {
		s.Stderr = &fan{taps: []tap{{t, mux.Stream(route.Stderr)}}}
	}
	over := make(chan error, 1)
	go func() { over <- a.execRun(e, s) }()
	select {
	case err := <-over:
		if err != nil {
			fmt.Fprintf(say, "%s\r\n", err)
		}
	case <-gone:
	}
	return conn.CloseWrite()
}

func (a *Area) execDetached(w http.ResponseWriter, e *execution) error {
	if err := a.begin(e); err != nil {
		return err
	}
	began, over := make(chan struct{}), make(chan error, 1)
	go func() { over <- a.execRunWith(e, engine.Streams{Resize: e.size}, func() { close(began) }) }()
	select {
	case <-began:
	case err := <-over:
		if err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (a *Area) execRun(e *execution, s engine.Streams) error { return a.execRunWith(e, s, func() {}) }

// execPreamble is what comes before a runtime's own words.
const execPreamble = "OCI runtime exec failed: exec failed: unable to start container process: "

// execRunWith runs an execution to its end; it goes on when the client leaves.
func (a *Area) execRunWith(e *execution, s engine.Streams, began func()) error {
	a.publish(e.c, execAction(events.ActionExecStart, e.req.Cmd), "execID", e.id)
	spec := engine.ExecSpec{
		Args: e.req.Cmd, Env: e.req.Env, WorkingDir: e.req.WorkingDir, User: e.req.User, TTY: e.req.Tty, Privileged: e.req.Privileged, Detached: true,
		Started: func(pid int) {
			a.mu.Lock()
			e.pid = pid
			a.mu.Unlock()
			began()
		},
	}
	code, err := a.o.Engine.Exec(a.ctx, e.c.rec.ID, spec, s)
	if a.ctx.Err() != nil {
		return a.ctx.Err()
	}
	var se *engine.StartError
	switch {
	case errors.As(err, &se):
		code = se.ExitCode
		msg := se.Message
		if strings.Contains(msg, "chdir") && e.req.WorkingDir != "" {
			msg = fmt.Sprintf("chdir to cwd (%q) set in config.json failed: no such file or directory", e.req.WorkingDir)
		}
		err = route.Invalid(errors.New(execPreamble + msg))
	case err != nil:
		code = 126
	}
	a.mu.Lock()
	e.running, e.exit, e.ended = false, &code, time.Now()
	delete(e.c.execs, e.id)
	a.mu.Unlock()
	a.publish(e.c, events.ActionExecDie, "execID", e.id, "exitCode", fmt.Sprint(code))
	return err
}

// bounded collects the first bytes of an output.
type bounded struct {
	b    []byte
	max  int
	over bool
}

func (w *bounded) Write(p []byte) (int, error) {
	n := min(len(p), w.max-len(w.b))
	w.b = append(w.b, p[:n]...)
	w.over = w.over || n < len(p)
	return len(p), nil
}

var _ io.Writer = (*bounded)(nil)
