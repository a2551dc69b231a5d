package compose

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
	"golang.org/x/term"
)

// streams are the standard ones of a verb.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// terminal is the descriptor of in, if it is one.
func (s streams) terminal() (int, bool) {
	f, ok := s.in.(*os.File)
	if !ok {
		return 0, false
	}
	return int(f.Fd()), term.IsTerminal(int(f.Fd()))
}

// outTerminal tells whether out is a terminal.
func (s streams) outTerminal() bool {
	f, ok := s.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// session joins the user's streams with those of a process until its output ends.
// With tty, the user's terminal is put into raw mode and its size followed.
func (s streams) session(ctx context.Context, conn client.HijackedResponse, stdin, tty bool, resize func(height, width uint) error) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if fd, is := s.terminal(); tty && is {
		old, err := term.MakeRaw(fd)
		if err != nil {
			return err
		}
		defer term.Restore(fd, old) //nolint:errcheck // nothing is left to do about it
		defer followSize(fd, resize)()
	}
	if stdin {
		go func() {
			io.Copy(conn.Conn, s.in) //nolint:errcheck // a process that ended takes no input
			conn.CloseWrite()        //nolint:errcheck // likewise
		}()
	}
	var err error
	if tty {
		_, err = io.Copy(s.out, conn.Reader)
	} else {
		_, err = stdcopy.StdCopy(s.out, s.err, conn.Reader)
	}
	if errors.Is(err, io.EOF) || ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// followSize tells the size of a terminal now and whenever it changes, until the
// function that it returns is called. A process that has not started or has ended
// refuses sizes; that is no fault.
func followSize(fd int, resize func(height, width uint) error) func() {
	tell := func() {
		if w, h, err := term.GetSize(fd); err == nil {
			resize(uint(h), uint(w)) //nolint:errcheck // see above
		}
	}
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, syscall.SIGWINCH)
	done := make(chan struct{})
	go func() {
		tell()
		for {
			select {
			case <-changes:
				tell()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(changes)
		close(done)
	}
}
