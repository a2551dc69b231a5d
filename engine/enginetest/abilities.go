package enginetest

import (
	"errors"

	"skiff.dev/skiff/engine"
)

// abilities of an engine, as far as it has them.
func abilities(s *suite) {
	id := s.start(sh("exec sleep 1000"))
	if e, ok := s.e.(engine.Editor); ok {
		if err := e.Edit(s.ctx, id, sh("exit 3")); !errors.Is(err, engine.ErrRunning) {
			s.Errorf("edit what runs: %v", err)
		}
	}
	if p, ok := s.e.(engine.Pauser); ok {
		paused := func(want bool) {
			c, err := s.e.Get(s.ctx, id)
			if err != nil || c.Paused != want || c.State != engine.Running {
				s.Errorf("paused: %+v %v, want %v", c, err, want)
			}
		}
		if err := p.Pause(s.ctx, id); err != nil {
			s.Error(err)
		}
		paused(true)
		if err := p.Resume(s.ctx, id); err != nil {
			s.Error(err)
		}
		paused(false)
		// A paused container can be stopped.
		if err := p.Pause(s.ctx, id); err != nil {
			s.Error(err)
		}
	}
	if err := s.e.Stop(s.ctx, id, 0); err != nil {
		s.Fatal(err)
	}
	if c := s.wait(id); c.Paused {
		s.Error("what has ended is paused")
	}
	e, ok := s.e.(engine.Editor)
	if !ok {
		return
	}
	spec := sh("exit 3")
	spec.ID, spec.Labels = "other", map[string]string{"edited": "yes"}
	if err := e.Edit(s.ctx, id, spec); err != nil {
		s.Fatal(err)
	}
	if c, err := s.e.Get(s.ctx, id); err != nil || c.Spec.ID != id || c.Spec.Labels["edited"] != "yes" {
		s.Errorf("edited: %+v %v", c, err)
	}
	if p, ok := s.e.(engine.Pauser); ok {
		if err := p.Pause(s.ctx, id); !errors.Is(err, engine.ErrNotRun) {
			s.Errorf("pause what does not run: %v", err)
		}
	}
}
