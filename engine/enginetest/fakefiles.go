package enginetest

import (
	"context"
	"fmt"

	"skiff.dev/skiff/engine"
)

var (
	_ engine.AttachedStarter = (*Fake)(nil)
	_ engine.Inspector       = (*Fake)(nil)
	_ engine.Files           = (*Fake)(nil)
)

// StartAttached implements engine.AttachedStarter.
func (f *Fake) StartAttached(ctx context.Context, id string, s engine.Streams) (func(), error) {
	if err := f.Start(ctx, id); err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Attach(ctx, id, s) //nolint:errcheck // what has ended already has no output left
	}()
	return func() { <-done }, nil
}

// Processes implements engine.Inspector: a container has one.
func (f *Fake) Processes(ctx context.Context, id string) ([]int, error) {
	c, err := f.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if c.State != engine.Running {
		return nil, fmt.Errorf("processes of %s: %w", id, engine.ErrNotRun)
	}
	return []int{c.PID}, nil
}

// Detail implements engine.Inspector.
func (f *Fake) Detail(ctx context.Context, id string) (*engine.Detail, error) {
	st, err := f.Stats(ctx, id)
	if err != nil {
		return nil, err
	}
	return &engine.Detail{Stats: *st}, nil
}

// InRoot implements engine.Files. A Fake's containers have no files: what is to be done
// with them is not done, and is no error.
func (f *Fake) InRoot(ctx context.Context, id string, o engine.RootOptions, _ func() error) error {
	_, err := f.Get(ctx, id)
	return err
}

// Changes implements engine.Files.
func (f *Fake) Changes(ctx context.Context, id string) ([]engine.Change, error) {
	_, err := f.Get(ctx, id)
	return nil, err
}

// Size implements engine.Files.
func (f *Fake) Size(ctx context.Context, id string) (own, all int64, err error) {
	_, err = f.Get(ctx, id)
	return 0, 0, err
}

// Layers implements engine.Files.
func (f *Fake) Layers(ctx context.Context, id string) (upper string, lower []string, err error) {
	_, err = f.Get(ctx, id)
	return "/fake/" + id, []string{"/fake/image"}, err
}
