package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/monitor/wire"
	"skiff.dev/skiff/engine/wholefile"
	"skiff.dev/skiff/kernel/mount"
	"skiff.dev/skiff/kernel/namespace"
)

// Names in a container's state directory. The monitor writes the last two.
const (
	containerFile = "container.json"
	startFile     = "start.json"
	exitFile      = "exit.json"
)

const (
	messageReboot = "the machine restarted"
	messageLost   = "it ended while nobody watched it"
	unknownExit   = 255
)

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return wholefile.Replace(path, b, 0o600)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// loadState reads what is on the disk. What is half made goes.
func (l *Local) loadState() error {
	entries, err := os.ReadDir(l.sandboxesDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		file := filepath.Join(l.sandboxesDir(), e.Name())
		id, ok := strings.CutSuffix(e.Name(), ".json")
		s := &sandbox{}
		if !ok || readJSON(file, s) != nil || s.Sandbox.Spec.ID != id || !s.whole() {
			// Half made, or of an earlier run of the machine: its namespaces are gone.
			if ok && s.Sandbox.Spec.ID == id {
				l.sandboxes[id] = s
				if err := l.dropSandbox(id); err != nil {
					return err
				}
			} else if err := os.RemoveAll(file); err != nil {
				return err
			}
			continue
		}
		l.sandboxes[id] = s
	}
	if entries, err = os.ReadDir(l.containersDir()); err != nil {
		return err
	}
	for _, e := range entries {
		dir := l.stateDir(e.Name())
		c, err := loadContainer(dir)
		if err != nil || c.now.Spec.ID != e.Name() {
			l.tel.Log.Info("removing a container that is half made", "id", e.Name(), "err", err)
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			continue
		}
		l.containers[c.now.Spec.ID] = c
		if c.now.Spec.Name != "" {
			l.names[c.now.Spec.Name] = c.now.Spec.ID
		}
	}
	return nil
}

// loadContainer reads a container. One that was started and has no recorded end
// is Running until the monitor has told otherwise.
func loadContainer(dir string) (*container, error) {
	c := &container{terminal: -1, done: make(chan struct{})}
	if err := readJSON(filepath.Join(dir, containerFile), &c.record); err != nil {
		return nil, err
	}
	c.now = engine.Container{Spec: c.record.Spec, State: engine.Created, ImageID: c.record.ImageID, ImageRef: c.record.ImageRef, CreatedAt: c.record.CreatedAt}
	var start wire.Task
	err := readJSON(filepath.Join(dir, startFile), &start)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		c.now.StartedAt, c.now.PID = start.StartedAt, start.PID
	}
	var exit wire.Exit
	if readJSON(filepath.Join(dir, exitFile), &exit) == nil {
		c.setExit(&exit)
	} else {
		c.now.State = engine.Running
	}
	return c, nil
}

// whole tells whether the sandbox's namespaces are pinned.
func (s *sandbox) whole() bool {
	for _, p := range []string{s.Sandbox.NetNS, s.Sandbox.IPCNS, s.Sandbox.UTSNS, s.Sandbox.PIDNS} {
		if p != "" && !namespace.Pinned(p) {
			return false
		}
	}
	return true
}

// reconcile compares what the disk says with what the monitor has: called when
// all tasks are known.
func (l *Local) reconcile(tasks map[string]wire.Task) {
	l.mu.Lock()
	var lost []*container
	for id, c := range l.containers {
		if _, ok := tasks[id]; !ok && c.now.State == engine.Running && !c.starting {
			lost = append(lost, c)
		}
	}
	l.mu.Unlock()
	for _, c := range lost {
		exit := &wire.Exit{}
		file := filepath.Join(l.stateDir(c.now.Spec.ID), exitFile)
		if err := readJSON(file, exit); err != nil {
			*exit = wire.Exit{Code: unknownExit, FinishedAt: time.Now(), Message: messageLost}
			if _, err := os.Stat(l.bundleDir(c.now.Spec.ID)); errors.Is(err, fs.ErrNotExist) {
				exit.Message = messageReboot
			}
			if err := writeJSON(file, exit); err != nil {
				l.tel.Log.Error("the end of a container cannot be recorded", "id", c.now.Spec.ID, "err", err)
			}
		}
		l.ranToEnd(c, exit)
	}
	for id, t := range tasks {
		l.mu.Lock()
		_, known := l.containers[id]
		l.mu.Unlock()
		if known || id == probeID {
			continue
		}
		l.tel.Log.Info("ending a container that nobody knows", "id", id, "pid", t.PID)
		if t.Exit == nil {
			l.mon.Call(context0(), &wire.Request{Op: wire.OpSignal, ID: id, Signal: int(unix.SIGKILL)})
		} else {
			l.mon.Call(context0(), &wire.Request{Op: wire.OpForget, ID: id})
		}
	}
}

// sweep removes what crashes have left: bundles, namespaces, groups of what does
// not exist.
func (l *Local) sweep() {
	l.mu.Lock()
	keepBundles, keepNS, keepGroups := map[string]bool{}, map[string]bool{}, []string{l.o.CgroupRoot + "/monitor"}
	for id, c := range l.containers {
		if c.now.State == engine.Running {
			keepBundles[id] = true
			keepGroups = append(keepGroups, l.group(c))
		}
	}
	for id, s := range l.sandboxes {
		keepNS[id] = true
		keepGroups = append(keepGroups, l.parentGroup(s.Sandbox.Spec.CgroupParent))
		if s.Pause > 0 {
			keepGroups = append(keepGroups, l.pauseGroup(id))
		}
	}
	l.mu.Unlock()
	for _, name := range listDir(l.bundlesDir()) {
		if !keepBundles[name] {
			l.complain("bundle "+name, os.RemoveAll(l.bundleDir(name)))
			l.complain("runtime state "+name, os.RemoveAll(filepath.Join(l.runtimeRoot(), name)))
		}
	}
	for _, name := range listDir(l.nsDir()) {
		if !keepNS[name] {
			dir := filepath.Join(l.nsDir(), name)
			l.complain("namespaces "+name, errors.Join(mount.UnmountBelow(dir), os.RemoveAll(dir)))
		}
	}
	l.sweepGroups(l.o.CgroupRoot, keepGroups)
}

// sweepGroups removes the groups below p that are neither kept nor above or below
// one that is, and kills what is in them.
func (l *Local) sweepGroups(p string, keep []string) {
	names, err := l.cgroups.Children(p)
	if err != nil {
		return
	}
next:
	for _, n := range names {
		g := p + "/" + n
		for _, k := range keep {
			if k == g {
				continue next
			}
			if strings.HasPrefix(k, g+"/") {
				l.sweepGroups(g, keep)
				continue next
			}
		}
		l.complain("control group "+g, l.cgroups.Kill(g))
		l.complain("control group "+g, retryBusy(func() error { return l.cgroups.Remove(g) }))
	}
}

func (l *Local) complain(what string, err error) {
	if err != nil {
		l.tel.Log.Warn("cannot clean up", "what", what, "err", err)
	}
}

func listDir(dir string) []string {
	entries, _ := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
