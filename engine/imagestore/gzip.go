package imagestore

import (
	"bytes"
	"io"
	"runtime"

	"github.com/klauspost/compress/gzip"
)

// gzipBlock is how much of a layer is compressed as one member of the gzip file.
const gzipBlock = 1 << 20

// parallelGzip compresses on all cores: blocks become gzip members of their own,
// which every reader of gzip takes for one file. Close ends the last and waits.
type parallelGzip struct {
	w     io.Writer
	block []byte
	queue chan chan []byte // results in order
	done  chan error
	wrote bool
}

func newParallelGzip(w io.Writer) *parallelGzip {
	g := &parallelGzip{w: w, queue: make(chan chan []byte, runtime.GOMAXPROCS(0)+1), done: make(chan error, 1)}
	go func() {
		var err error
		for r := range g.queue {
			b := <-r
			if err == nil {
				_, err = g.w.Write(b)
			}
		}
		g.done <- err
	}()
	return g
}

func (g *parallelGzip) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if g.block == nil {
			g.block = make([]byte, 0, gzipBlock)
		}
		k := min(len(p), gzipBlock-len(g.block))
		g.block = append(g.block, p[:k]...)
		p = p[k:]
		if len(g.block) == gzipBlock {
			g.send()
		}
	}
	return n, nil
}

// send hands the block to a goroutine; the queue's length bounds how many there are.
func (g *parallelGzip) send() {
	block, r := g.block, make(chan []byte, 1)
	g.block, g.wrote = nil, true
	g.queue <- r
	go func() {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		z.Write(block) //nolint:errcheck // a buffer takes everything
		z.Close()
		r <- b.Bytes()
	}()
}

// Close writes what is left and tells the first error of writing.
func (g *parallelGzip) Close() error {
	if len(g.block) > 0 || !g.wrote {
		g.send()
	}
	close(g.queue)
	return <-g.done
}
