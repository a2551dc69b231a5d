package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dirTree is a version 2 hierarchy made of ordinary files.
func dirTree(t *testing.T) (*V2, string) {
	t.Helper()
	root := t.TempDir()
	tree := NewV2(root)
	tree.rmdir = os.RemoveAll
	write(t, root, "cgroup.controllers", "cpuset cpu io memory pids\n")
	write(t, root, "cgroup.subtree_control", "pids\n")
	return tree, root
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestV2Files(t *testing.T) {
	for name, c := range map[string]struct {
		l    Limits
		want string
	}{
		"nothing":  {Limits{}, ""},
		"cpu":      {Limits{CPUShares: 1024, CPUQuota: 50000, CPUPeriod: 100000}, "cpu.weight=39 cpu.max=50000_100000"},
		"no quota": {Limits{CPUQuota: -1}, "cpu.max=max_100000"},
		"memory":   {Limits{Memory: 100, MemorySwap: 150, Reservation: 50}, "memory.low=50 memory.max=100 memory.swap.max=50"},
		"no swap":  {Limits{Memory: 100, MemorySwap: 100}, "memory.max=100 memory.swap.max=0"},
		"no limit": {Limits{Memory: -1, MemorySwap: -1, Pids: -1}, "memory.max=max memory.swap.max=max pids.max=max"},
		"sets":     {Limits{CPUSet: "0-1", MemsSet: "0", Pids: 7}, "cpuset.cpus=0-1 cpuset.mems=0 pids.max=7"},
		"unified":  {Limits{Unified: map[string]string{"memory.high": "10"}}, "memory.high=10"},
	} {
		var got []string
		for _, f := range v2Files(c.l) {
			got = append(got, f.name+"="+strings.ReplaceAll(f.value, " ", "_"))
		}
		if g := strings.Join(got, " "); g != c.want {
			t.Errorf("%s: %s, want %s", name, g, c.want)
		}
	}
	for shares, weight := range map[int64]int64{0: 0, 1: 1, 2: 1, 1024: 39, 262144: 10000, 1 << 40: 10000} {
		if got := WeightFromShares(shares); got != weight {
			t.Errorf("weight of %d shares is %d, want %d", shares, got, weight)
		}
	}
}

func TestV2Directory(t *testing.T) {
	tree, root := dirTree(t)
	if err := tree.Create("/pods/a", Limits{Memory: 1 << 20, Pids: 5}); err != nil {
		t.Fatal(err)
	}
	// Files keep the last of several writes, as one file of the kernel's would not.
	if got := read(t, root, "cgroup.subtree_control"); got != "+memory" {
		t.Errorf("subtree_control: %q", got)
	}
	dir := filepath.Join(root, "pods/a")
	if read(t, dir, "memory.max") != "1048576" || read(t, dir, "pids.max") != "5" {
		t.Error("limits are not written")
	}
	write(t, dir, "memory.current", "5000\n")
	write(t, dir, "memory.stat", "anon 3000\nfile 100\ninactive_file 1000\npgfault 7\npgmajfault 1\n")
	write(t, dir, "cpu.stat", "usage_usec 12\nuser_usec 10\n")
	write(t, dir, "pids.current", "3\n")
	write(t, dir, "io.stat", "8:0 rbytes=100 wbytes=200 rios=1\n8:16 rbytes=1 wbytes=2\n")
	s, err := tree.Stats("/pods/a")
	want := Stats{CPUNanos: 12000, MemoryUsage: 5000, MemoryWorkingSet: 4000, MemoryRSS: 3000, PageFaults: 7, MajorPageFaults: 1, MemoryLimit: 1 << 20, Pids: 3, ReadBytes: 101, WriteBytes: 202}
	if err != nil || s != want {
		t.Errorf("%+v %v", s, err)
	}
	write(t, dir, "cgroup.kill", "")
	if err := tree.Kill("/pods/a"); err != nil || read(t, dir, "cgroup.kill") != "1" {
		t.Error(err)
	}
	write(t, dir, "cgroup.procs", "10\n11\n")
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "b"), "cgroup.procs", "12\n")
	if p, err := tree.Procs("/pods/a"); err != nil || !slices.Equal(p, []int{10, 11, 12}) {
		t.Errorf("%v %v", p, err)
	}
	if err := tree.Remove("/pods"); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Stats("/pods/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := tree.Kill("/pods/a"); err != nil {
		t.Error("killing what is not there: ", err)
	}
	if err := tree.Remove("/pods/a"); err != nil {
		t.Error("removing what is not there: ", err)
	}
}

func TestPathsStayInside(t *testing.T) {
	tree, root := dirTree(t)
	if err := tree.Create("/../../x", Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "x")); err != nil {
		t.Error(err)
	}
	if got := parents("/a/b/c"); !slices.Equal(got, []string{"/a", "/a/b", "/a/b/c"}) {
		t.Error(got)
	}
}

// TestMachine runs against this machine's groups, whichever version they are.
func TestMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: control groups")
	}
	tree, err := Detect()
	if err != nil {
		t.Skip("needs control groups: ", err)
	}
	live(t, tree, true)
}

// TestUnified runs against version 2 where it is mounted beside version 1; there
// it has no controllers.
func TestUnified(t *testing.T) {
	const dir = DefaultMount + "/unified"
	var st unix.Statfs_t
	if os.Geteuid() != 0 || unix.Statfs(dir, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Skip("needs root and ", dir)
	}
	live(t, NewV2(dir), false)
}

func live(t *testing.T, tree Tree, controllers bool) {
	group := fmt.Sprintf("/skiff-cgroup-test-%d", os.Getpid())
	t.Cleanup(func() {
		tree.Kill(group)
		if err := tree.Remove(group); err != nil {
			t.Error(err)
		}
	})
	l := Limits{}
	if controllers {
		l = Limits{Memory: 64 << 20, Pids: 20, CPUShares: 512, CPUQuota: 50000, CPUPeriod: 100000}
	}
	if err := tree.Create(group+"/in", l); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if err := tree.AddProc(group+"/in", cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if p, err := tree.Procs(group); err != nil || !slices.Equal(p, []int{cmd.Process.Pid}) {
		t.Fatalf("%v %v", p, err)
	}
	if controllers {
		s, err := tree.Stats(group + "/in")
		if err != nil || s.MemoryLimit != 64<<20 || s.Pids != 1 {
			t.Errorf("%+v %v", s, err)
		}
		if err := tree.Update(group+"/in", Limits{Memory: 128 << 20, MemorySwap: 128 << 20}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(tree.OOMFile(group + "/in")); err != nil {
			t.Error(err)
		}
	}
	if err := tree.Remove(group); !errors.Is(err, unix.EBUSY) {
		t.Errorf("removing a group with processes: %v", err)
	}
	if err := tree.Kill(group); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Error(err)
	}
	if names, err := tree.Children(group); err != nil || !slices.Equal(names, []string{"in"}) {
		t.Errorf("%v %v", names, err)
	}
}

func TestFake(t *testing.T) {
	f := &Fake{}
	if err := f.Create("/a/b", Limits{Memory: 5, CPUShares: 2}); err != nil {
		t.Fatal(err)
	}
	if err := f.AddProc("/a/b", 7); err != nil {
		t.Fatal(err)
	}
	if got := f.Dump(); got != "/a shares=0 quota=0 memory=0 pids=0 procs=[]\n/a/b shares=2 quota=0 memory=5 pids=0 procs=[7]\n" {
		t.Error(got)
	}
	if err := f.Remove("/a"); !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	if err := f.Kill("/a"); err != nil || !slices.Equal(f.Killed(), []int{7}) {
		t.Error(err, f.Killed())
	}
	if err := f.Remove("/a"); err != nil || f.Dump() != "" {
		t.Error(err, f.Dump())
	}
	if _, err := f.Procs("/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add("usage_usec 12\nx\n 5\n", "8:0 Read 4096\n", "8:0 rbytes=1 wbytes=x")
	f.Fuzz(func(t *testing.T, keys, blkio, io string) {
		parseKeys(keys)
		parseBlkio(blkio)
		parseIOStat(io)
	})
}
