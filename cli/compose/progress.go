package compose

import (
	"fmt"
	"io"
	"sync"
)

// progress tells what happens, a line a step, in docker compose's plain form. It
// is safe for concurrent use.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	quiet bool
}

func (p *progress) say(kind, name, what string) {
	if p.quiet {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, " %s %s  %s\n", kind, name, what)
}

func (p *progress) warn(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "WARN: %s\n", text)
}

// step tells that something begins and, unless it failed, that it is done.
func (p *progress) step(kind, name, doing, done string, do func() error) error {
	p.say(kind, name, doing)
	if err := do(); err != nil {
		p.say(kind, name, "Error")
		return err
	}
	p.say(kind, name, done)
	return nil
}
