package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"skiff.dev/skiff/kernel/link"
)

// maxTurns bounds the interfaces that clients may come by in the kernel. Those who
// come by others are served by this process.
const maxTurns = 64

// turns keeps one turn for each interface by which clients may come.
type turns struct {
	instance string
	host     link.Bridges
	tables   *tables

	mu   sync.Mutex
	wg   sync.WaitGroup
	wake chan struct{}
}

func turnPrefix(instance string) string { return linkPrefix(instance) + "t" }

func turnName(instance string, index int) string {
	return fmt.Sprintf("%s%x", turnPrefix(instance), index)
}

// begin makes turns for the interfaces of now, and follows what comes and goes until
// ctx ends.
func (t *turns) begin(ctx context.Context, log *slog.Logger) error {
	t.wake = make(chan struct{}, 1)
	err := t.host.Follow(ctx, func() {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return err
	}
	made, err := t.make()
	if err != nil {
		return err
	}
	t.tables.rules.turns = made // the tables are not made yet
	t.wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.wake:
			}
			if err := t.sync(); err != nil && ctx.Err() == nil {
				log.Warn("clients that come by a new interface are served without the kernel", "err", err)
			}
		}
	})
	return nil
}

func (t *turns) wait() { t.wg.Wait() }

// sync brings turns and the tables to the interfaces of now.
func (t *turns) sync() error {
	made, err := t.make()
	if err != nil {
		return err
	}
	return t.tables.setTurns(made)
}

// make makes the turns that are missing and deletes those of interfaces that are no
// more. The result is by the index of the interface.
func (t *turns) make() (map[int]int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all, err := t.host.Interfaces()
	if err != nil {
		return nil, err
	}
	have := map[string]int{} // turns by name
	for _, i := range all {
		if strings.HasPrefix(i.Name, turnPrefix(t.instance)) {
			have[i.Name] = i.Index
		}
	}
	out := map[int]int{}
	var errs []error
	for _, i := range all {
		if !t.comesBy(i) || len(out) == maxTurns {
			continue
		}
		name := turnName(t.instance, i.Index)
		index, ok := have[name]
		// One of an earlier process may lead to an interface that had the number before.
		if !ok || t.tables.turnOf(i.Index) != index {
			if index, err = t.host.Turn(name, i.Index); err != nil {
				errs = append(errs, err) // perhaps the interface has gone meanwhile
				continue
			}
		}
		delete(have, name)
		out[i.Index] = index
	}
	for name := range have {
		errs = append(errs, t.host.Delete(name))
	}
	if len(errs) > 0 && len(out) == 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}

// comesBy tells whether clients can come by an interface: packets of one that belongs
// to another come in by that, and a container's own come in by its bridge.
func (t *turns) comesBy(i link.Interface) bool {
	return i.Up && !i.Loopback && i.Master == 0 && !strings.HasPrefix(i.Name, turnPrefix(t.instance)) &&
		!strings.HasPrefix(i.Name, t.instance+"-") // pods: many, and this process serves them
}
