// Command skiff-monitor parents the containers of a node; skiff carries it inside
// and starts it. See package engine/monitor/server.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/engine/monitor/server"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "pause":
		pause()
		return
	case "docker-init":
		os.Exit(initProcess(os.Args[1:]))
	case "probe": // in the container by which skiff tries an OCI runtime
		return
	}
	if len(os.Args) != 3 || os.Args[1] != "serve" {
		fmt.Fprintln(os.Stderr, "skiff-monitor is started by skiff: skiff-monitor serve DIR")
		os.Exit(2)
	}
	// Memory is what there may be little of here; there is hardly garbage.
	debug.SetGCPercent(25)
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.SIGTERM)
	build := "unknown"
	if exe, err := os.Readlink("/proc/self/exe"); err == nil {
		build = filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
	}
	env, replacing := os.LookupEnv(server.TerminalsEnv)
	terminals := parseTerminals(env)
	os.Unsetenv(server.TerminalsEnv)
	if err := server.Run(os.Args[2], build, terminals, func() {
		if !replacing { // then nobody waits, and the descriptor is something else
			ready()
		}
	}); err != nil {
		fmt.Fprintln(os.Stderr, "skiff-monitor:", err)
		os.Exit(1)
	}
}

// readyFD is a pipe that skiff reads until the monitor listens.
const readyFD = 3

func ready() {
	unix.Write(readyFD, []byte("ready\n"))
	unix.Close(readyFD)
}

func parseTerminals(env string) map[string]int {
	out := map[string]int{}
	for _, e := range strings.Split(env, ",") {
		id, fd, ok := strings.Cut(e, "=")
		if n, err := strconv.Atoi(fd); ok && err == nil {
			unix.CloseOnExec(n)
			out[id] = n
		}
	}
	return out
}

// pause holds a PID namespace as its first process: it reaps and does nothing
// else, until it is killed.
func pause() {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, unix.SIGCHLD)
	for range sig {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err != nil || pid <= 0 {
				break
			}
		}
	}
}
