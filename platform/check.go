package platform

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// checkMachine says what this machine lacks before anything is made on it.
// What only a node needs is looked at if there is one.
func checkMachine(node bool) error {
	if os.Geteuid() != 0 {
		return &Fault{What: "skiff must run as root: it makes network interfaces, mounts and control groups", Do: "run it with sudo"}
	}
	if !node {
		return nil
	}
	raw, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return &Fault{What: "cannot read /proc: " + err.Error(), Do: "mount proc at /proc"}
	}
	have := strings.Fields(string(raw))
	if !slices.Contains(have, "overlay") && !loadModule("overlay") {
		return &Fault{What: "the kernel has no overlay file system", Do: "load it with: modprobe overlay"}
	}
	if !exists("/proc/self/ns/net") {
		return &Fault{What: "the kernel has no network namespaces", Do: "use a kernel with CONFIG_NET_NS"}
	}
	if !exists("/sys/fs/cgroup/cgroup.controllers") && !exists("/sys/fs/cgroup/memory") {
		return &Fault{What: "control groups are not mounted at /sys/fs/cgroup", Do: "mount them: mount -t cgroup2 none /sys/fs/cgroup"}
	}
	return checkNetwork()
}

// loadModule lets the kernel load a file system by opening it, without mounting
// anything; it tells whether the file system is there.
func loadModule(fstype string) bool {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// listen opens a TCP port or says who has it. Where choose is set and the port is
// not free, another one of the same address is taken.
func listen(flag, address string, choose bool) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	if errors.Is(err, unix.EADDRINUSE) {
		if choose {
			host, _, _ := net.SplitHostPort(address)
			return net.Listen("tcp", net.JoinHostPort(host, "0"))
		}
		return nil, &Fault{
			What: fmt.Sprintf("the port of --%s=%s is in use by another program", flag, address),
			Do:   fmt.Sprintf("stop that program, or give another port with --%s", flag),
			Err:  err,
		}
	}
	return nil, &Fault{What: fmt.Sprintf("cannot listen on --%s=%s: %v", flag, address, err), Do: "give an address of this machine", Err: err}
}
