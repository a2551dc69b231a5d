package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// noLimit is from where on version 1 means "none" by a number.
const noLimit = 1 << 62

func minus(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// readNumber is 0 for "max", for a file that is not there and for what is too
// large to be a limit.
func readNumber(file string) uint64 {
	s, _ := readString(file)
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n >= noLimit {
		return 0
	}
	return n
}

// readKeys reads lines of "key number".
func readKeys(file string) map[string]uint64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return parseKeys(string(b))
}

func parseKeys(text string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(v, 10, 64); ok && err == nil {
			out[k] = n
		}
	}
	return out
}

func childrenOf(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// procsBelow lists the processes of dir and of the groups in it. Groups that
// disappear meanwhile have none.
func procsBelow(dir string) ([]int, error) {
	b, err := os.ReadFile(dir + "/cgroup.procs")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, f := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	names, err := childrenOf(dir)
	if err != nil && !gone(err) {
		return out, err
	}
	for _, n := range names {
		more, err := procsBelow(dir + "/" + n)
		if err != nil && !gone(err) {
			return out, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// gone tells that a group was removed while it was looked at: reading a file of a
// removed group gives ENODEV.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// killBelow sends SIGKILL to what is in dir and below.
func killBelow(dir string) error {
	pids, err := procsBelow(dir)
	if err != nil && !gone(err) {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cgroup: kill %d: %w", pid, err)
		}
	}
	return nil
}

// removeBelow removes dir and the groups in it, deepest first.
func removeBelow(dir string, rmdir func(string) error) error {
	names, err := childrenOf(dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := removeBelow(dir+"/"+n, rmdir); err != nil {
			return err
		}
	}
	if err := rmdir(dir); err != nil && !gone(err) {
		return &os.PathError{Op: "remove cgroup", Path: dir, Err: err}
	}
	return nil
}
