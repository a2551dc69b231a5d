package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// maxRaw bounds one line of a file: MaxLine of text and its head. A longer one
// was not written by us and is read in pieces, the later of which do not parse.
const maxRaw = MaxLine + 256

// Options of Read.
type Options struct {
	// Follow goes on until ctx ends, or until Done is closed and all that the file
	// holds then has been read. Close Done when the container has ended.
	Follow bool
	Done   <-chan struct{}
	// Tail, when not nil, is how many of the last lines to begin with.
	Tail *int64
	// Since, when not zero, leaves out what is older.
	Since time.Time
	// Until, when not zero, ends the read at the first line that is younger; with
	// Follow also when that time has come.
	Until time.Time
	// LimitBytes, when not nil, is how many bytes to write in all.
	LimitBytes *int64
	// Timestamps puts each line's time before it.
	Timestamps bool
	// CurrentOnly leaves out rotated files.
	CurrentOnly bool
}

// errLimit ends a read whose LimitBytes are used up; it is not an error outside.
var errLimit = errors.New("logs: limit reached")

// Read writes the log at path to stdout and stderr, either of which may be nil,
// older rotated files first. Lines that are not in the CRI's format are left out.
// A log that does not exist is os.ErrNotExist.
func Read(ctx context.Context, path string, o Options, stdout, stderr io.Writer) error {
	r := &reader{o: o, stdout: stdout, stderr: stderr, left: -1}
	if o.LimitBytes != nil {
		r.left = max(*o.LimitBytes, 0)
	}
	var w *watch
	if o.Follow {
		// Watching begins before reading, so that no write falls between.
		var err error
		if w, err = newWatch(path); err != nil {
			return err
		}
		defer w.Close()
	}
	inner := ctx
	if o.Follow && !o.Until.IsZero() {
		var cancel context.CancelFunc
		inner, cancel = context.WithDeadline(ctx, o.Until)
		defer cancel()
	}
	err := r.read(inner, path, w)
	if errors.Is(err, errLimit) || (errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil) {
		return nil
	}
	return err
}

type reader struct {
	o              Options
	stdout, stderr io.Writer
	left           int64 // bytes, or -1
	// midLine tells, for stdout and stderr, that the last thing written was
	// partial: what follows goes on in the same line.
	midLine [2]bool
	buf     []byte
}

func (r *reader) read(ctx context.Context, path string, w *watch) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	older := r.rotated(path)
	start := int64(0)
	if r.o.Tail != nil {
		if older, start, err = findTail(f, older, max(*r.o.Tail, 0)); err != nil {
			return err
		}
	}
	for i, name := range older {
		from := int64(0)
		if i == 0 && r.o.Tail != nil {
			from, start = start, 0
		}
		if err := r.copyOld(ctx, name, from); err != nil {
			return err
		}
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return err
	}
	in := bufio.NewReaderSize(f, maxRaw)
	for {
		ended := w == nil || isClosed(r.o.Done)
		if err := r.copyLines(ctx, in); err != nil {
			return err
		}
		if next, err := reopened(f, path); err != nil {
			return err
		} else if next != nil {
			// The writer finished the old file before it opened the new one.
			if err := r.copyLines(ctx, in); err != nil {
				next.Close()
				return err
			}
			f.Close()
			f = next
			in.Reset(f)
			r.buf = nil
			continue
		}
		if ended {
			return r.flushRest()
		}
		if err := w.wait(ctx, r.o.Done); err != nil {
			return err
		}
	}
}

// rotated files that can hold something to show.
func (r *reader) rotated(path string) []string {
	if r.o.CurrentOnly {
		return nil
	}
	all := Rotated(path)
	if r.o.Since.IsZero() {
		return all
	}
	for len(all) > 0 {
		st, err := os.Stat(all[0])
		if err == nil && !st.ModTime().Before(r.o.Since) {
			break
		}
		all = all[1:]
	}
	return all
}

func (r *reader) copyOld(ctx context.Context, name string, from int64) error {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil // rotated away while we read
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	if err := r.copyLines(ctx, bufio.NewReaderSize(f, maxRaw)); err != nil {
		return err
	}
	return r.flushRest()
}

// copyLines writes all whole lines; the beginning of a line whose end has not
// been written yet stays in r.buf.
func (r *reader) copyLines(ctx context.Context, in *bufio.Reader) error {
	for n := 0; ; n++ {
		if n%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		piece, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			r.buf = append(r.buf, piece...)
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
		if len(r.buf) > 0 {
			r.buf = append(r.buf, piece...)
			piece, r.buf = r.buf, r.buf[:0]
		}
		if err := r.line(piece); err != nil {
			return err
		}
	}
}

// flushRest shows a last line without its end: a torn write, or a file that is
// not ours.
func (r *reader) flushRest() error {
	if len(r.buf) == 0 {
		return nil
	}
	rest := r.buf
	r.buf = nil
	return r.line(rest)
}

func (r *reader) line(raw []byte) error {
	l, err := Parse(raw)
	if err != nil || (!r.o.Since.IsZero() && l.Time.Before(r.o.Since)) {
		return nil
	}
	if !r.o.Until.IsZero() && l.Time.After(r.o.Until) {
		return errLimit
	}
	out, i := r.stdout, 0
	if l.Stream == Stderr {
		out, i = r.stderr, 1
	}
	if out == nil {
		return nil
	}
	msg := make([]byte, 0, len(l.Text)+len(TimeFormat)+2)
	if r.o.Timestamps && !r.midLine[i] {
		msg = append(l.Time.AppendFormat(msg, TimeFormat), ' ')
	}
	msg = append(msg, l.Text...)
	if !l.Partial {
		msg = append(msg, '\n')
	}
	r.midLine[i] = l.Partial
	full := false
	if r.left >= 0 && int64(len(msg)) >= r.left {
		msg, full = msg[:r.left], true
	}
	if r.left > 0 {
		r.left -= int64(len(msg))
	}
	if _, err := out.Write(msg); err != nil {
		return err
	}
	if full {
		return errLimit
	}
	return nil
}

// reopened returns the file that is now at path when it is not f any more.
func reopened(f *os.File, path string) (*os.File, error) {
	was, err := f.Stat()
	if err != nil {
		return nil, err
	}
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // between rename and creation, or removed
	}
	if err != nil {
		return nil, err
	}
	if os.SameFile(was, now) {
		return nil, nil
	}
	next, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return next, err
}

// findTail finds where the last n lines begin: the rotated files that are needed,
// and the offset in the first of them, or in f when none is.
func findTail(f *os.File, older []string, n int64) ([]string, int64, error) {
	off, found, err := tailOffset(f, n)
	if err != nil || found >= n {
		return nil, off, err
	}
	for i := len(older) - 1; i >= 0; i-- {
		g, err := os.Open(older[i])
		if err != nil {
			return older[i+1:], 0, nil
		}
		off, more, err := tailOffset(g, n-found)
		g.Close()
		if err != nil {
			return nil, 0, err
		}
		found += more
		if found >= n {
			return older[i:], off, nil
		}
	}
	return older, 0, nil
}

// tailOffset returns the offset at which the last n lines of f begin, and how
// many lines that is.
func tailOffset(f *os.File, n int64) (offset, found int64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return end, 0, err
	}
	const block = 8 << 10
	buf := make([]byte, block)
	for left := end; left > 0; {
		size := min(left, block)
		left -= size
		if _, err := f.ReadAt(buf[:size], left); err != nil {
			return 0, 0, err
		}
		piece := buf[:size]
		for {
			i := bytes.LastIndexByte(piece, '\n')
			if i < 0 {
				break
			}
			// A line end at the very end of the file begins no line.
			if at := left + int64(i) + 1; at < end {
				if found++; found == n {
					return at, found, nil
				}
			}
			piece = piece[:i]
		}
	}
	if end > 0 {
		found++
	}
	return 0, found, nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
