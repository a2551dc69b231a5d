package enginetest

import (
	"skiff.dev/skiff/engine"
)

// nestedGroups has a sandbox go whose control group holds another's.
func nestedGroups(s *suite) {
	spec := sh("exec sleep 1000")
	for id, parent := range map[string]string{"outer": "nest", "inner": "nest/below"} {
		if _, err := s.e.CreateSandbox(s.ctx, engine.SandboxSpec{ID: id, CgroupParent: parent}); err != nil {
			s.Fatal(err)
		}
	}
	spec.Sandbox = "inner"
	id := s.start(spec)
	if err := s.e.RemoveSandbox(s.ctx, "outer"); err != nil {
		s.Fatal(err)
	}
	exec := engine.ExecSpec{Args: []string{"/bin/busybox", "true"}}
	if code, err := s.e.Exec(s.ctx, id, exec, engine.Streams{}); code != 0 || err != nil {
		s.Errorf("a container of a group below ended with the sandbox of the group above: %d %v", code, err)
	}
	if err := s.e.RemoveSandbox(s.ctx, "inner"); err != nil {
		s.Fatal(err)
	}
}
