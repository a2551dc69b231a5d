package platform

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"skiff.dev/skiff/cli/localapi"
)

// reportFD is the descriptor on which a detached process reports; its presence
// in the environment makes a process a detached one.
const (
	reportFD  = 3
	reportEnv = "SKIFF_REPORT_FD"
)

// detach starts the same command again in a session of its own, prints its steps
// and returns when it is ready or has failed.
func detach(c *Config, args []string, out io.Writer) error {
	begin := time.Now()
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	logPath := filepath.Join(c.Data, "skiff.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", reportEnv, reportFD))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	ready, failed, err := follow(r, out)
	switch {
	case err != nil:
		return fmt.Errorf("follow the start: %w", err)
	case ready:
		fmt.Fprintf(out, "ready in %.2f s; logs in %s\n", time.Since(begin).Seconds(), logPath)
		return cmd.Process.Release()
	}
	state := cmd.Wait()
	if failed != nil {
		return silent{}
	}
	return &Fault{What: fmt.Sprintf("skiff ended while starting: %v", state), Do: "read " + logPath}
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
