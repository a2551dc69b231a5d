package platform

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
)

// trace is what the machine shows of instances: mounts, interfaces, nftables
// tables, control groups and processes.
type trace []string

// traces lists what carries the name of one of the instances or lies below one of
// their directories. Whatever else comes and goes on the machine does not matter.
func traces(t *testing.T, of ...*cluster) trace {
	t.Helper()
	ours := func(line string) bool {
		return slices.ContainsFunc(of, func(c *cluster) bool {
			return strings.Contains(line, c.instance()) || strings.Contains(line, c.data) || strings.Contains(line, c.run)
		})
	}
	var out trace
	add := func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); ours(line) {
			out = append(out, line)
		}
	}
	// Mounts that live on in the namespace of another process are in its own list.
	seen := map[string]bool{}
	lists, err := filepath.Glob("/proc/[0-9]*/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		mounts, err := os.ReadFile(list)
		if err != nil {
			continue // it has ended
		}
		for _, line := range strings.Split(string(mounts), "\n") {
			if f := strings.Fields(line); len(f) > 1 && !seen[f[1]] {
				seen[f[1]] = true
				add("mount %s", f[1])
			}
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		add("interface %s", i.Name)
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		add("nftables table %s", table.Name)
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			add("control group %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if raw, err := os.ReadFile(filepath.Join(d, "cmdline")); err == nil {
			add("process %s %s", filepath.Base(d), strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " ")))
		}
	}
	return out
}

// noTraces fails if anything of the instances is left on the machine, their
// directories included.
func noTraces(t *testing.T, of ...*cluster) {
	t.Helper()
	left := traces(t, of...)
	for _, c := range of {
		for _, dir := range []string{c.data, c.run} {
			if _, err := os.Lstat(dir); err == nil {
				left = append(left, "directory "+dir)
			}
		}
	}
	if len(left) > 0 {
		t.Errorf("left on the machine:\n%s", strings.Join(left, "\n"))
	}
}

// without returns what is here and was not there.
func (t trace) without(before trace) []string {
	var out []string
	for _, line := range t {
		if !slices.Contains(before, line) {
			out = append(out, line)
		}
	}
	return out
}
