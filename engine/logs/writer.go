package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// rotatedFormat names rotated files: <path>.<time>, as the kubelet does; we add a
// fraction of the second, since a busy container rotates several times in one.
const rotatedFormat = "20060102-150405"

// Writer appends the output of a container to its log file. It is safe for
// concurrent use by the container's streams.
type Writer struct {
	mu       sync.Mutex
	path     string
	maxBytes int64
	maxFiles int
	file     *os.File
	size     int64
	buf      []byte
}

// NewWriter opens (creates, appends to) the file at path. maxBytes 0 never
// rotates; maxFiles counts the file in use as well and is at least 2 when
// rotating.
func NewWriter(path string, maxBytes int64, maxFiles int) (*Writer, error) {
	w := &Writer{path: path, maxBytes: maxBytes, maxFiles: max(maxFiles, 2)}
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	w.file, w.size = f, st.Size()
	return nil
}

// Write appends the lines in one write and rotates before it when the file would
// grow over its limit.
func (w *Writer) Write(lines ...Line) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return os.ErrClosed
	}
	w.buf = w.buf[:0]
	for _, l := range lines {
		w.buf = Append(w.buf, l)
		if len(w.buf) >= 4*MaxLine {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	err := w.flush()
	if cap(w.buf) > 2*MaxLine {
		w.buf = nil // a burst must not pin memory
	}
	return err
}

func (w *Writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if w.maxBytes > 0 && w.size > 0 && w.size+int64(len(w.buf)) > w.maxBytes {
		if err := w.rotate(); err != nil {
			return fmt.Errorf("rotate %s: %w", w.path, err)
		}
	}
	n, err := w.file.Write(w.buf)
	w.size += int64(n)
	w.buf = w.buf[:0]
	return err
}

func (w *Writer) rotate() error {
	to := w.path + "." + time.Now().UTC().Format(rotatedFormat+".000000000")
	if err := os.Rename(w.path, to); err != nil {
		return err
	}
	w.file.Close()
	w.file = nil
	old := Rotated(w.path)
	for i := 0; i < len(old)-(w.maxFiles-1); i++ {
		os.Remove(old[i])
	}
	return w.open()
}

// Reopen goes on in a new file at the same path, after somebody has renamed the
// old one.
func (w *Writer) Reopen() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
	return w.open()
}

// Close ends the log.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}

// Rotated lists the rotated files of the log at path, oldest first. Compressed
// ones are not among them.
func Rotated(path string) []string {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), base+".")
		if !ok || len(suffix) < len(rotatedFormat) {
			continue
		}
		if _, err := time.Parse(rotatedFormat, suffix[:len(rotatedFormat)]); err != nil {
			continue
		}
		if rest := suffix[len(rotatedFormat):]; rest != "" && strings.Trim(rest, ".0123456789") != "" {
			continue
		}
		out = append(out, filepath.Join(dir, e.Name()))
	}
	sort.Strings(out)
	return out
}

// Splitter cuts the raw output of one stream into lines. It keeps the end of a
// line that has not come yet, at most MaxLine bytes.
type Splitter struct {
	Stream string
	rest   []byte
}

// Split returns the lines that data completes. Their Text is valid until the next
// call and as long as data is.
func (s *Splitter) Split(now time.Time, data []byte, lines []Line) []Line {
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		room := MaxLine - len(s.rest)
		switch {
		case i >= 0 && i <= room:
			lines = append(lines, Line{Time: now, Stream: s.Stream, Text: s.take(data[:i])})
			data = data[i+1:]
		case len(data) >= room && (i < 0 || i > room):
			if len(data) == room {
				// Whether the line goes on is not known yet.
				s.rest = append(s.rest, data...)
				return lines
			}
			lines = append(lines, Line{Time: now, Stream: s.Stream, Partial: true, Text: s.take(data[:room])})
			data = data[room:]
		default:
			s.rest = append(s.rest, data...)
			return lines
		}
	}
	return lines
}

// take joins what was kept with more, and keeps nothing.
func (s *Splitter) take(more []byte) []byte {
	if len(s.rest) == 0 {
		return more
	}
	out := append(s.rest, more...)
	s.rest = nil
	return out
}

// End returns the last line when the output did not end with a line end.
func (s *Splitter) End(now time.Time, lines []Line) []Line {
	if len(s.rest) == 0 {
		return lines
	}
	return append(lines, Line{Time: now, Stream: s.Stream, Text: s.take(nil)})
}
