package compose

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// colours of services, in the order in which docker compose gives them.
var colours = []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}

// printer interleaves the lines of containers, each with its container's name in
// front. It is safe for concurrent use.
type printer struct {
	mu       sync.Mutex
	out, err io.Writer
	colour   bool
	prefix   bool
	width    int
	given    map[string]string
}

func newPrinter(out, err io.Writer, colour, prefix bool) *printer {
	return &printer{out: out, err: err, colour: colour, prefix: prefix, given: map[string]string{}}
}

// expect makes room for a name, so that the lines of all are in one column.
func (p *printer) expect(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.width = max(p.width, len(name)+1)
}

// label is the name of a container without its project, as logs show it.
func label(project, separator, name string) string {
	if rest, ok := strings.CutPrefix(name, project+separator); ok {
		return rest
	}
	return name
}

func (p *printer) line(to io.Writer, name, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.prefix {
		fmt.Fprintln(to, text)
		return
	}
	fmt.Fprintln(to, p.coloured(name, fmt.Sprintf("%-*s | ", p.width, name))+text)
}

// coloured is text in the colour of a container, where there are colours.
func (p *printer) coloured(name, text string) string {
	if !p.colour {
		return text
	}
	c, ok := p.given[name]
	if !ok {
		c = colours[len(p.given)%len(colours)]
		p.given[name] = c
	}
	return "\x1b[" + c + "m" + text + "\x1b[0m"
}

// note tells something about a container in a line that none of its own looks like.
func (p *printer) note(name, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, p.coloured(name, name+" ")+text)
}

// lines is a writer that prints whole lines, the last one when it is closed.
type lines struct {
	p    *printer
	to   io.Writer
	name string
	part []byte
}

// maxLine bounds how much of a line is kept until its end comes.
const maxLine = 1 << 20

func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	for {
		head, rest, ok := cutLine(b)
		l.part = append(l.part, head...)
		if !ok {
			if len(l.part) > maxLine {
				l.Close()
			}
			return n, nil
		}
		l.p.line(l.to, l.name, strings.TrimSuffix(string(l.part), "\r"))
		l.part, b = l.part[:0], rest
	}
}

func cutLine(b []byte) (head, rest []byte, ok bool) {
	for i, c := range b {
		if c == '\n' {
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}

func (l *lines) Close() {
	if len(l.part) > 0 {
		l.p.line(l.to, l.name, string(l.part))
		l.part = l.part[:0]
	}
}

// follow prints the logs of one container until they end.
func (p *printer) follow(ctx context.Context, d containers, id, name string, o client.ContainerLogsOptions) error {
	got, err := d.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	tty := got.Container.Config != nil && got.Container.Config.Tty
	o.ShowStdout, o.ShowStderr = true, true
	stream, err := d.ContainerLogs(ctx, id, o)
	if err != nil {
		return err
	}
	defer stream.Close()
	return p.copy(ctx, stream, name, tty)
}

// copy prints a stream in the form of logs and attach.
func (p *printer) copy(ctx context.Context, stream io.Reader, name string, tty bool) error {
	out, errs := &lines{p: p, to: p.out, name: name}, &lines{p: p, to: p.err, name: name}
	var err error
	if tty {
		_, err = io.Copy(out, bufio.NewReader(stream))
	} else {
		_, err = stdcopy.StdCopy(out, errs, stream)
	}
	out.Close()
	errs.Close()
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
