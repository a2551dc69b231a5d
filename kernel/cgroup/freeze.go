package cgroup

import (
	"fmt"
	"os"
	"time"
)

// frozenState is what version 1's freezer.state says when all have stopped.
const frozenState = "FROZEN"

// Freeze implements Tree. The kernel stops the processes one after the other and
// tells nobody when the last has; version 1 must even be asked again.
func (t *V1) Freeze(p string, on bool) error {
	d := t.dir("freezer", p)
	if d == "" {
		return fmt.Errorf("%w: no freezer", ErrNone)
	}
	if _, err := os.Stat(d); err != nil {
		return err
	}
	if !on {
		return writeFile(d, "freezer.state", "THAWED")
	}
	for range 1000 {
		if err := writeFile(d, "freezer.state", frozenState); err != nil {
			return err
		}
		if t.Frozen(p) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("cgroup: %s does not freeze", p)
}

// Frozen implements Tree.
func (t *V1) Frozen(p string) bool {
	d := t.dir("freezer", p)
	if d == "" {
		return false
	}
	s, _ := readString(d + "/freezer.state")
	return s == frozenState
}

// Freeze implements Tree.
func (t *V2) Freeze(p string, on bool) error {
	d := t.dir(p)
	if _, err := os.Stat(d); err != nil {
		return err
	}
	if !on {
		return writeFile(d, "cgroup.freeze", "0")
	}
	if err := writeFile(d, "cgroup.freeze", "1"); err != nil {
		return err
	}
	for range 1000 {
		if t.Frozen(p) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("cgroup: %s does not freeze", p)
}

// Frozen implements Tree.
func (t *V2) Frozen(p string) bool { return readKeys(t.dir(p) + "/cgroup.events")["frozen"] == 1 }

// Freeze implements Tree.
func (f *Fake) Freeze(p string, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, err := f.get(p)
	if err == nil {
		g.frozen = on
	}
	return err
}

// Frozen implements Tree.
func (f *Fake) Frozen(p string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	g, err := f.get(p)
	return err == nil && g.frozen
}
