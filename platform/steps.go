package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/cli/localapi"
	"skiff.dev/skiff/store"
)

// stepper runs the steps of a start in order, tells each with its time, and when
// one fails undoes the earlier ones in reverse, so that nothing half made stays.
type stepper struct {
	tell func(localapi.Step)
	undo []func()
	done []localapi.Step
}

// run does one step. undo, which may be nil, takes it back.
func (s *stepper) run(ctx context.Context, name string, do func(context.Context) (undo func(), err error)) error {
	begin := time.Now()
	var undo func()
	err := ctx.Err()
	if err == nil {
		undo, err = do(ctx)
	}
	if undo != nil {
		s.undo = append(s.undo, undo)
	}
	st := localapi.Step{Name: name, Took: time.Since(begin)}
	if err != nil {
		st.Err = err.Error()
		if ctx.Err() != nil {
			err = &Fault{What: "the start was interrupted", Err: err}
		}
		err = explain(err)
		var f *Fault
		if errors.As(err, &f) {
			st.Err, st.Hint = f.What, f.Do
		}
	}
	s.done = append(s.done, st)
	s.tell(st)
	return err
}

// explain says what to do about failures that any step may meet.
func explain(err error) error {
	var f *Fault
	var corrupt *store.CorruptError
	switch {
	case errors.As(err, &f):
	case errors.Is(err, store.ErrNoSpace), errors.Is(err, unix.ENOSPC):
		return &Fault{What: "the disk of the data directory is full: " + err.Error(), Do: "make room and start again; nothing is lost", Err: err}
	case errors.As(err, &corrupt):
		what, _, _ := strings.Cut(err.Error(), "\n")
		return &Fault{What: what, Do: "restore the directory store of the data directory from a backup, or begin anew with: skiff reset", Err: err}
	}
	return err
}

// rollback undoes every step that was done, newest first.
func (s *stepper) rollback() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.undo = nil
}

// printStep is the line that people see.
func printStep(w io.Writer, s localapi.Step) {
	mark := "ok"
	if s.Err != "" {
		mark = "failed"
	}
	fmt.Fprintf(w, "  %-34s %-6s %6d ms\n", s.Name, mark, s.Took.Milliseconds())
	if s.Err != "" {
		fmt.Fprintf(w, "\n%s\n", s.Err)
	}
	if s.Hint != "" {
		fmt.Fprintf(w, "  %s\n", s.Hint)
	}
}

// report is what a detached process tells the one that started it, a JSON
// document a line: steps, then Ready or the last step's error.
type report struct {
	Step  *localapi.Step `json:"step,omitempty"`
	Ready bool           `json:"ready,omitempty"`
}

// follow prints reports until the other side is ready or closes its end.
func follow(r io.Reader, w io.Writer) (ready bool, failed *localapi.Step, err error) {
	dec := json.NewDecoder(r)
	for {
		var m report
		if err := dec.Decode(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return false, failed, nil
			}
			return false, failed, err
		}
		if m.Ready {
			return true, nil, nil
		}
		if m.Step != nil {
			printStep(w, *m.Step)
			if m.Step.Err != "" {
				failed = m.Step
			}
		}
	}
}
