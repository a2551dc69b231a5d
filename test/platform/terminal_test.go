package platform

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo terminal of so many rows and columns.
func terminal(t *testing.T, rows, cols uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	setSize(t, master, rows, cols)
	return master, slave
}

func setSize(t *testing.T, master *os.File, rows, cols uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		t.Fatal(err)
	}
}

// A program in a container sees the size of the terminal in front of its user, and
// how it changes.
func TestTerminalSize(t *testing.T) {
	needRoot(t)
	c := sharedCluster(t)
	kubectl := func(args ...string) string { return must(t)(c.kubectl(args...)) }
	kubectl("create", "namespace", "terminal-size")
	t.Cleanup(func() { kubectl("delete", "namespace", "terminal-size", "--wait=false") })
	c.apply(t, `
apiVersion: v1
kind: Pod
metadata: {name: sized, namespace: terminal-size}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: test/standin:1, command: [sleep, "3600"]}]
`)
	kubectl("wait", "-n", "terminal-size", "--for=condition=Ready", "pod/sized", "--timeout=60s")

	master, slave := terminal(t, 41, 123)
	// The program says its terminal's size at first and whenever it is told of a
	// change; each line comes when it is true, so nothing has to be waited for.
	script := `trap 'echo "size $(stty size)"' WINCH; echo "size $(stty size)"; while :; do sleep 0.05; done`
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, filepath.Join(c.binDir, "kubectl"), "exec", "-n", "terminal-size", "-it", "sized", "--", "sh", "-c", script)
	cmd.Env = append(os.Environ(), "KUBECONFIG=")
	for k, v := range c.env() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close() // so that reading ends when the program does
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	lines := bufio.NewScanner(master)
	want := []string{"size 41 123", "size 30 90"}
	var seen []string
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		seen = append(seen, line)
		if !strings.HasSuffix(line, want[0]) {
			continue
		}
		if want = want[1:]; len(want) == 0 {
			return
		}
		setSize(t, master, 30, 90)
	}
	t.Fatalf("the terminal ended before %q: %v\n%s", want[0], lines.Err(), strings.Join(seen, "\n"))
}
