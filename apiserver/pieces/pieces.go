// Package pieces compresses what many answers have in common once: a Piece is a part
// of an answer, compressed by itself, and a Stream joins pieces and plain text to one
// gzip stream of one member, as every client reads it. Package cache keeps pieces
// beside the objects that they are made of; the API server's lists are written of
// them.
//
// A piece is a sequence of deflate blocks that ends at a byte (RFC 1951, 3.2.4), so
// that pieces follow each other as they are; the checksum of the whole (RFC 1952) is
// combined of the pieces' own.
package pieces

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Level is how hard pieces are compressed: the level that costs the least, which
// kube-apiserver takes for its answers (endpoints/handlers/responsewriters).
const Level = 1

// Piece is a compressed part of an answer. Nobody may change it.
type Piece struct {
	data  []byte
	size  int    // before compression
	sum   uint32 // CRC-32 of what was compressed
	shift uint32 // what moves a checksum over size bytes: see combine
}

// Size is the length of what was compressed.
func (p *Piece) Size() int { return p.size }

// Kept is the memory that the piece takes.
func (p *Piece) Kept() int { return len(p.data) }

type compressor struct {
	z   *flate.Writer
	out bytes.Buffer
}

var compressors = sync.Pool{New: func() any {
	z, err := flate.NewWriter(io.Discard, Level)
	if err != nil {
		panic(err) // the level is a constant
	}
	return &compressor{z: z}
}}

// Compress makes a piece of the parts, joined.
func Compress(parts ...[]byte) (*Piece, error) {
	c := compressors.Get().(*compressor)
	defer compressors.Put(c)
	c.out.Reset()
	c.z.Reset(&c.out)
	p := &Piece{}
	for _, part := range parts {
		p.size += len(part)
		p.sum = crc32.Update(p.sum, crc32.IEEETable, part)
		if _, err := c.z.Write(part); err != nil {
			return nil, err
		}
	}
	if err := c.z.Flush(); err != nil {
		return nil, err
	}
	p.data = bytes.Clone(c.out.Bytes())
	p.shift = shiftOf(p.size)
	return p, nil
}

// header is that of a gzip stream without name and time, of an unknown system
// (RFC 1952, 2.3); XFL 4: the fastest algorithm.
var header = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}

// maxStored is the most that a stored block holds.
const maxStored = 1<<16 - 1

// Stream is a gzip stream under way. Make it with NewStream, end it with Close.
type Stream struct {
	w    io.Writer
	buf  []byte
	size uint32 // modulo 2^32, as the trailer has it
	sum  uint32
}

// flushFrom is how much is gathered for one write.
const flushFrom = 64 << 10

// NewStream begins a gzip stream on w. The bytes go through buf, which may be nil;
// Close returns it for further use.
func NewStream(w io.Writer, buf []byte) *Stream {
	return &Stream{w: w, buf: append(buf[:0], header...)}
}

// Text adds plain text, not compressed.
func (s *Stream) Text(b []byte) error {
	s.size += uint32(len(b))
	s.sum = crc32.Update(s.sum, crc32.IEEETable, b)
	for len(b) > 0 {
		n := min(len(b), maxStored)
		s.stored(b[:n], false)
		b = b[n:]
	}
	return s.flush(flushFrom)
}

// Piece adds a piece.
func (s *Stream) Piece(p *Piece) error {
	s.size += uint32(p.size)
	s.sum = combine(s.sum, p.shift, p.sum)
	s.buf = append(s.buf, p.data...)
	return s.flush(flushFrom)
}

// Close ends the stream; w stays open.
func (s *Stream) Close() ([]byte, error) {
	s.stored(nil, true)
	s.buf = binary.LittleEndian.AppendUint32(s.buf, s.sum)
	s.buf = binary.LittleEndian.AppendUint32(s.buf, s.size)
	err := s.flush(1)
	return s.buf, err
}

// stored appends a block that is not compressed. The stream stands at a byte.
func (s *Stream) stored(b []byte, last bool) {
	kind := byte(0)
	if last {
		kind = 1
	}
	n := uint16(len(b))
	s.buf = append(s.buf, kind, byte(n), byte(n>>8), byte(^n), byte(^n>>8))
	s.buf = append(s.buf, b...)
}

func (s *Stream) flush(from int) error {
	if len(s.buf) < from {
		return nil
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}
