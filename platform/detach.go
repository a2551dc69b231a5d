package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"skiff.dev/skiff/cli"
	"skiff.dev/skiff/cli/localapi"
)

// reportFD is the descriptor on which a detached process reports; its presence
// in the environment makes a process a detached one.
const (
	reportFD  = 3
	reportEnv = "SKIFF_REPORT_FD"
)

// detach starts the same command again in a session of its own, prints its steps
// and returns when it is ready or has failed. When ctx ends before, the start is
// ended and taken back.
func detach(ctx context.Context, c *Config, args []string, out io.Writer) error {
	begin := time.Now()
	made, err := makeDirs(c.Data)
	if err != nil {
		return &Fault{What: "cannot make the data directory: " + err.Error(), Do: "choose another with --data-dir", Err: err}
	}
	logPath := filepath.Join(c.Data, logFile)
	hadLog := exists(logPath)
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	since, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	ready, failed, err := startAgain(ctx, args, log, out)
	if ready && err == nil {
		fmt.Fprintf(out, "ready in %.2f s; logs in %s\n", time.Since(begin).Seconds(), logPath)
		s, err := localapi.NewClient(c.Run).Status(ctx)
		if err != nil {
			return err
		}
		s.PrintShortages(out)
		return nil
	}
	if failed == nil || failed.Hint == "" {
		showLog(out, logPath, since)
	}
	if fresh, err2 := isFresh(c.Data); err2 == nil && fresh && !hadLog {
		if _, held := cli.Holder(c.Data); !held {
			os.Remove(logPath)
		}
	}
	for i := len(made) - 1; i >= 0; i-- {
		os.Remove(made[i]) // stays if something is in it
	}
	switch {
	case err == nil && failed != nil:
		return silent{}
	case err == nil:
		err = errors.New("it ended without saying why")
	}
	return &Fault{What: fmt.Sprintf("skiff ended while starting: %v", err), Do: "its log above may tell why"}
}

// startAgain runs this program with args until it is ready or has ended.
func startAgain(ctx context.Context, args []string, log *os.File, out io.Writer) (ready bool, failed *localapi.Step, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return false, nil, err
	}
	defer r.Close()
	self, err := os.Executable()
	if err != nil {
		w.Close()
		return false, nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", reportEnv, reportFD))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return false, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	ready, failed, err = follow(r, out)
	if ready && stop() {
		return true, nil, cmd.Process.Release()
	}
	state := cmd.Wait()
	if err == nil && failed == nil {
		err = state
	}
	return false, failed, err
}

// showLog prints the last lines that the process has logged.
func showLog(out io.Writer, path string, since int64) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	raw, err := io.ReadAll(io.NewSectionReader(f, since, 1<<20))
	if err != nil || len(raw) == 0 {
		return
	}
	lines := strings.SplitAfter(strings.TrimRight(string(raw), "\n")+"\n", "\n")
	fmt.Fprintf(out, "\nthe end of its log:\n%s", strings.Join(lines[max(0, len(lines)-16):], ""))
}

// silent ends with exit code 1 after the reason has been printed.
type silent struct{}

func (silent) Error() string { return "" }

// reporter tells steps to the process that started this one, if there is one,
// else to out.
type reporter struct {
	out io.Writer
	enc *json.Encoder
	f   *os.File
}

func newReporter(out io.Writer) *reporter {
	if os.Getenv(reportEnv) == "" {
		return &reporter{out: out}
	}
	os.Unsetenv(reportEnv)
	syscall.CloseOnExec(reportFD)
	f := os.NewFile(reportFD, "report")
	return &reporter{f: f, enc: json.NewEncoder(f)}
}

// step tells one step. A starter that has gone away does not matter.
func (r *reporter) step(s localapi.Step) {
	if r.enc != nil {
		_ = r.enc.Encode(report{Step: &s})
		return
	}
	printStep(r.out, s)
}

func (r *reporter) ready() {
	if r.enc != nil {
		_ = r.enc.Encode(report{Ready: true})
		r.f.Close()
	}
}
