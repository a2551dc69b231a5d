// Package logs is the log format of containers: it writes lines in the format
// that the CRI prescribes and reads them back (follow, tail, since). The monitor
// writes, the node and the Docker API read. It uses the standard library and
// golang.org/x/sys alone, because the monitor must stay small.
package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// TimeFormat of a line: RFC 3339 with all nine digits, so that lines sort.
const TimeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// MaxLine is the longest piece of output in one line; a longer line is written as
// several partial ones (containerd's max_container_log_line_size).
const MaxLine = 16 * 1024

// Names of the streams.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// ErrFormat is a line that is not in the CRI's format.
var ErrFormat = errors.New("logs: not a CRI log line")

// Line is one line of a log. Text has no line end; Partial says that the output
// had none either: the next line of the same stream goes on.
type Line struct {
	Time    time.Time
	Stream  string
	Partial bool
	Text    []byte
}

// Append writes l in the CRI's format to buf, with its line end.
func Append(buf []byte, l Line) []byte {
	buf = l.Time.UTC().AppendFormat(buf, TimeFormat)
	buf = append(buf, ' ')
	buf = append(buf, l.Stream...)
	if l.Partial {
		buf = append(buf, " P "...)
	} else {
		buf = append(buf, " F "...)
	}
	buf = append(buf, l.Text...)
	return append(buf, '\n')
}

// Parse reads one line, with or without its line end. Text shares raw's memory.
// Tags after the first, separated by ":", are ignored as the format demands.
func Parse(raw []byte) (Line, error) {
	raw = bytes.TrimSuffix(raw, []byte{'\n'})
	stamp, rest, ok := bytes.Cut(raw, []byte{' '})
	if !ok {
		return Line{}, fmt.Errorf("%w: no stream", ErrFormat)
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Line{}, fmt.Errorf("%w: no tag", ErrFormat)
	}
	l := Line{Time: t}
	switch string(stream) {
	case Stdout:
		l.Stream = Stdout
	case Stderr:
		l.Stream = Stderr
	default:
		return Line{}, fmt.Errorf("%w: stream %q", ErrFormat, stream)
	}
	tags, text, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Line{}, fmt.Errorf("%w: no text", ErrFormat)
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	l.Partial = string(tag) == "P"
	l.Text = text
	return l, nil
}
