// Package namespace is the kernel room's part for namespaces that outlive
// processes: it makes network, IPC and UTS namespaces and pins them as files by
// bind mounts, so that containers can join them by path.
package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Names of the files in a pinned directory.
const (
	Net = "net"
	IPC = "ipc"
	UTS = "uts"
	PID = "pid"
)

// Spec says which namespaces to make.
type Spec struct {
	Net, IPC, UTS bool
	Hostname      string            // of UTS
	Sysctls       map[string]string // "net.ipv4.ip_forward" to "1"; applied inside
}

// Pin makes the namespaces and pins each as a file of its name in dir, which it
// creates. Loopback is up in a new network namespace. On an error nothing stays.
func Pin(dir string, s Spec) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, Unpin(dir))
		}
	}()
	done := make(chan error, 1)
	go func() {
		// The thread is in the new namespaces: it is not unlocked, so that it ends
		// with this goroutine.
		runtime.LockOSThread()
		done <- pinHere(dir, s)
	}()
	return <-done
}

func pinHere(dir string, s Spec) error {
	flags, names := 0, []string{}
	for _, n := range []struct {
		want bool
		flag int
		name string
	}{{s.Net, unix.CLONE_NEWNET, Net}, {s.IPC, unix.CLONE_NEWIPC, IPC}, {s.UTS, unix.CLONE_NEWUTS, UTS}} {
		if n.want {
			flags |= n.flag
			names = append(names, n.name)
		}
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare %s: %w", strings.Join(names, ","), err)
	}
	if s.UTS && s.Hostname != "" {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return fmt.Errorf("set host name %q: %w", s.Hostname, err)
		}
	}
	if s.Net {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	for k, v := range s.Sysctls {
		if err := setSysctl(k, v); err != nil {
			return err
		}
	}
	for _, n := range names {
		if err := pin("/proc/thread-self/ns/"+n, filepath.Join(dir, n)); err != nil {
			return err
		}
	}
	return nil
}

// PinPID pins the PID namespace of a process as the file "pid" in dir.
func PinPID(dir string, pid int) error {
	return pin(fmt.Sprintf("/proc/%d/ns/pid", pid), filepath.Join(dir, PID))
}

func pin(from, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin %s at %s: %w", from, to, err)
	}
	return nil
}

// Unpin takes away what is pinned or else mounted in dir, and dir. The namespaces end with the
// last process in them. A dir that does not exist is no error.
func Unpin(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	errs := make([]error, len(entries))
	var wg sync.WaitGroup
	for i, e := range entries {
		wg.Go(func() { errs[i] = unpin(filepath.Join(dir, e.Name())) })
	}
	wg.Wait()
	return errors.Join(append(errs, os.Remove(dir))...)
}

// unpin takes one mount away, for which the kernel waits until no processor looks at
// it: several together wait once.
func unpin(p string) error {
	if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && err != unix.EINVAL {
		return fmt.Errorf("unpin %s: %w", p, err)
	}
	return os.Remove(p)
}

// Pinned tells whether the file holds a namespace: after a restart of the machine
// it may be there without one.
func Pinned(file string) bool {
	var st unix.Statfs_t
	return unix.Statfs(file, &st) == nil && st.Type == unix.NSFS_MAGIC
}

func setSysctl(name, value string) error {
	// Names may be written with slashes, in which dots belong to names.
	p := strings.ReplaceAll(name, ".", "/")
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '/' {
		p = name
	}
	if strings.Contains(p, "..") || filepath.Clean("/"+p) != "/"+p {
		return fmt.Errorf("sysctl %q: not a name", name)
	}
	if err := os.WriteFile("/proc/sys/"+p, []byte(value), 0o644); err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", name, value, err)
	}
	return nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}
