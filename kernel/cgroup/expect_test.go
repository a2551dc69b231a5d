package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestOwnGroup(t *testing.T) {
	groups := "5:cpu,cpuacct:/a\n4:name=systemd:/s\n3:pids:/b:c\n0::/u\n"
	for _, c := range []struct {
		controller, want string
		ok               bool
	}{{"cpuacct", "/a", true}, {"pids", "/b:c", true}, {"", "/u", true}, {"memory", "", false}, {"cpuac", "", false}} {
		if got, ok := ownGroup(groups, c.controller); got != c.want || ok != c.ok {
			t.Errorf("%q: %q %v", c.controller, got, ok)
		}
	}
}

// expecter is a tree of the kernel.
type expecter interface {
	Tree
	ExpectMove() error
}

func machineTree(t testing.TB) expecter {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tree, err := Detect()
	if err != nil {
		t.Skip(err)
	}
	return tree.(expecter)
}

// Whoever expects a move is afterwards where it was.
func TestExpectMoveMovesNobody(t *testing.T) {
	tree := machineTree(t)
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.ExpectMove(); errors.Is(err, ErrNotSeen) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || string(before) != string(after) {
		t.Errorf("moved from\n%s to\n%s%v", before, after, err)
	}
}

// The move of a process, alone and when it was expected.
func BenchmarkMove(b *testing.B) {
	tree := machineTree(b)
	const group = "/skiff-bench-move"
	if err := tree.Create(group, Limits{}); err != nil {
		b.Fatal(err)
	}
	for _, expected := range []bool{false, true} {
		b.Run(map[bool]string{false: "alone", true: "expected"}[expected], func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				cmd := exec.Command("sleep", "100")
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				time.Sleep(100 * time.Millisecond) // the kernel has forgotten the move before
				if expected {
					if err := tree.ExpectMove(); err != nil {
						b.Skip(err)
					}
				}
				b.StartTimer()
				err := tree.AddProc(group, cmd.Process.Pid)
				b.StopTimer()
				if err != nil {
					b.Fatal(err)
				}
				cmd.Process.Kill() //nolint:errcheck // it runs
				cmd.Wait()         //nolint:errcheck // killed
				b.StartTimer()
			}
		})
	}
	if err := tree.Remove(group); err != nil {
		b.Error(err)
	}
}
