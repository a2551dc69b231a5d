package build

import (
	"context"
	"hash"
	"io"
	"sync"

	"github.com/moby/buildkit/cache/contenthash"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// packetEnd is an end of a pipe for fsutil's packets within this process. One
// goroutine at a time sends, and one receives.
type packetEnd struct {
	ctx     context.Context
	in, out chan *fstypes.Packet
	last    *fstypes.Packet // whose data the receiver may still look at
	once    sync.Once
}

// inFlight is how many packets wait in a pipe; of data each has up to 32 KiB.
const inFlight = 64

// packetPipe returns the ends of a pipe that breaks when ctx ends.
func packetPipe(ctx context.Context) (a, b *packetEnd) {
	to, from := make(chan *fstypes.Packet, inFlight), make(chan *fstypes.Packet, inFlight)
	return &packetEnd{ctx: ctx, in: from, out: to}, &packetEnd{ctx: ctx, in: to, out: from}
}

// packets are reused, with the room of their data.
var packets = sync.Pool{New: func() any { return new(fstypes.Packet) }}

// Context implements fsutil.Stream.
func (e *packetEnd) Context() context.Context { return e.ctx }

// SendMsg implements fsutil.Stream. The packet stays the caller's.
func (e *packetEnd) SendMsg(m any) error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	p := m.(*fstypes.Packet)
	c := packets.Get().(*fstypes.Packet)
	c.Type, c.ID, c.Stat, c.Data = p.Type, p.ID, p.Stat.Clone(), append(c.Data[:0], p.Data...)
	select {
	case e.out <- c:
		return nil
	case <-e.ctx.Done():
		return context.Cause(e.ctx)
	}
}

// RecvMsg implements fsutil.Stream. The data is the receiver's until the next call.
func (e *packetEnd) RecvMsg(m any) error {
	if e.last != nil {
		e.last.Stat = nil
		packets.Put(e.last)
		e.last = nil
	}
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	select {
	case p, ok := <-e.in:
		if !ok {
			return io.EOF
		}
		to := m.(*fstypes.Packet)
		to.Type, to.ID, to.Stat, to.Data = p.Type, p.ID, p.Stat, p.Data
		e.last = p
		return nil
	case <-e.ctx.Done():
		return context.Cause(e.ctx)
	}
}

// close tells the other end that nothing more comes.
func (e *packetEnd) close() { e.once.Do(func() { close(e.out) }) }

// fileHash is a hash that is reckoned beside the writing of a file.
type fileHash struct {
	hash.Hash
	ctx    context.Context
	pieces chan *[]byte
	done   chan struct{}
}

// besideFrom is the size of a file from which on a goroutine pays.
const besideFrom = 1 << 20

// fileHasher makes the hashes of BuildKit's checksums of files, until ctx ends.
func fileHasher(ctx context.Context) func(*fstypes.Stat) (hash.Hash, error) {
	return func(st *fstypes.Stat) (hash.Hash, error) {
		h, err := contenthash.NewFromStat(st)
		if err != nil || st.Size < besideFrom {
			return h, err
		}
		return &fileHash{Hash: h, ctx: ctx}, nil
	}
}

var pieces = sync.Pool{New: func() any { return new([]byte) }}

// Write implements io.Writer.
func (h *fileHash) Write(p []byte) (int, error) {
	if h.ctx.Err() != nil {
		return 0, context.Cause(h.ctx)
	}
	if h.pieces == nil {
		h.pieces, h.done = make(chan *[]byte, inFlight), make(chan struct{})
		go h.reckon(h.pieces, h.done)
	}
	piece := pieces.Get().(*[]byte)
	*piece = append((*piece)[:0], p...)
	select {
	case h.pieces <- piece:
		return len(p), nil
	case <-h.ctx.Done():
		return 0, context.Cause(h.ctx)
	}
}

func (h *fileHash) reckon(in <-chan *[]byte, done chan<- struct{}) {
	defer close(done)
	for {
		select {
		case p, ok := <-in:
			if !ok {
				return
			}
			h.Hash.Write(*p) // a hash takes all
			pieces.Put(p)
		case <-h.ctx.Done():
			return
		}
	}
}

// Sum implements hash.Hash.
func (h *fileHash) Sum(b []byte) []byte {
	h.settle()
	return h.Hash.Sum(b)
}

// Reset implements hash.Hash.
func (h *fileHash) Reset() {
	h.settle()
	h.Hash.Reset()
}

func (h *fileHash) settle() {
	if h.pieces != nil {
		close(h.pieces)
		<-h.done
		h.pieces = nil
	}
}
