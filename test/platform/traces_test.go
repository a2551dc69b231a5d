package platform

import (
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
// tables, control groups, named sockets and processes of the program.
type trace []string

func traces(t *testing.T) trace {
	t.Helper()
	var out trace
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 1 {
			out = append(out, "mount "+f[1])
		}
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		out = append(out, "interface "+i.Name)
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
		out = append(out, "nftables table "+table.Name)
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			out = append(out, "control group "+path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return append(out, processes(t)...)
}

// processes lists those of the program and its monitor, without the shared
// instance's own command lines that come and go.
func processes(t *testing.T) trace {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out trace
	for _, d := range dirs {
		raw, err := os.ReadFile(filepath.Join(d, "cmdline"))
		line := strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " "))
		if err == nil && strings.Contains(line, "skiff-monitor") {
			out = append(out, "process "+filepath.Base(d)+" "+line)
		}
	}
	return out
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
