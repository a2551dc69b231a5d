// Package gunzip decompresses gzip (RFC 1952, RFC 1951), which is most of the work of a
// pull. It takes about two thirds of a general library's processor time: it looks at
// eight bytes of input at a time, and one look at a table gives a literal, or a length
// and how many extra bits it has. It checks all that the format lets it check. Its
// neighbour imagestore checks digests.
package gunzip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// ErrCorrupt says that the data is not gzip, or damaged.
var ErrCorrupt = errors.New("gunzip: corrupt data")

func corrupt(why string) error { return fmt.Errorf("%w: %s", ErrCorrupt, why) }

const (
	window  = 32 << 10 // how far back a match may reach
	chunk   = 128 << 10
	slack   = 258 + 16 // what one match may write beyond the limit, in steps of eight
	inSize  = 128 << 10
	padding = 16 // zeros behind the input's end, so that eight bytes are always there
)

// state is what comes next in the input.
type state int

const (
	atMember state = iota
	atBlock
	inStored
	inCodes
	atTrailer
	ended
)

// Reader reads the members of a gzip file as one. It reads ahead of what it gives.
type Reader struct {
	src io.Reader
	err error // what Read gives when all is given

	in    []byte // in[r:n] is unread; behind n are padding zeros when eof
	r, n  int
	eof   bool
	bits  uint64 // the next bits, the low ones first
	nbits uint   // how many of them count; those above are right or zero

	out   []byte
	given int // out[given:w] is for the reader
	w     int
	start int // where the member begins; 0 if farther back than a match can reach

	state  state
	last   bool // this block ends the member
	stored int  // bytes of a stored block that are left
	first  bool // no member has been read
	sum    uint32
	size   uint32 // of the member, modulo 2^32
	summed int    // out[:summed] is in sum and size

	codes codes
}

// NewReader begins to read; what is not gzip is an error of Read.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, in: make([]byte, inSize+padding), out: make([]byte, window+chunk+slack), first: true}
}

// Read implements io.Reader.
func (d *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for d.given == d.w {
		if d.err != nil {
			return 0, d.err
		}
		d.err = d.more()
	}
	n := copy(p, d.out[d.given:d.w])
	d.given += n
	return n, nil
}

// WriteTo implements io.WriterTo, without copying in between.
func (d *Reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		if d.given < d.w {
			n, err := w.Write(d.out[d.given:d.w])
			d.given += n
			total += int64(n)
			if err != nil {
				return total, err
			}
			continue
		}
		if errors.Is(d.err, io.EOF) {
			return total, nil
		}
		if d.err != nil {
			return total, d.err
		}
		d.err = d.more()
	}
}

// more decompresses until the output is full or ends. All has been given.
func (d *Reader) more() error {
	if d.w > window {
		shift := d.w - window
		copy(d.out, d.out[shift:d.w])
		d.w, d.given, d.summed = window, window, window
		d.start = max(0, d.start-shift)
	}
	for d.w < window+chunk {
		if err := d.step(); err != nil {
			d.add()
			return err
		}
	}
	d.add()
	return nil
}

// step goes on by one piece of the format, or until the output is full.
func (d *Reader) step() error {
	switch d.state {
	case atMember:
		return d.member()
	case atBlock:
		return d.block()
	case inStored:
		return d.copyStored()
	case inCodes:
		return d.decode()
	case atTrailer:
		return d.trailer()
	default:
		return io.EOF
	}
}

// add counts the output that has not been counted yet.
func (d *Reader) add() {
	b := d.out[d.summed:d.w]
	d.sum = crc32.Update(d.sum, crc32.IEEETable, b)
	d.size += uint32(len(b))
	d.summed = d.w
}

// load makes sure that eight bytes can be read from in[r:].
func (d *Reader) load() error {
	if d.r+8 <= d.n {
		return nil
	}
	if d.eof {
		// Zeros go on; what is taken of them is noticed by checkEnd.
		if d.r > d.n+8 {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	copy(d.in, d.in[d.r:d.n])
	d.n -= d.r
	d.r = 0
	for tries := 0; d.n < 64; tries++ {
		m, err := d.src.Read(d.in[d.n:inSize])
		d.n += m
		if errors.Is(err, io.EOF) {
			d.eof = true
			clear(d.in[d.n : d.n+padding])
			return nil
		}
		if err == nil && m == 0 && tries > 100 {
			err = io.ErrNoProgress
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refill makes nbits at least 56.
func (d *Reader) refill() error {
	if err := d.load(); err != nil {
		return err
	}
	d.bits |= binary.LittleEndian.Uint64(d.in[d.r:]) << d.nbits
	d.r += int((63 - d.nbits) >> 3)
	d.nbits |= 56
	return nil
}

// take returns the next n bits, at most 32, of those that refill has made sure of.
func (d *Reader) take(n uint) uint32 {
	v := uint32(d.bits & (1<<n - 1))
	d.bits >>= n
	d.nbits -= n
	return v
}

// get refills and takes.
func (d *Reader) get(n uint) (uint32, error) {
	if err := d.refill(); err != nil {
		return 0, err
	}
	v := d.take(n)
	return v, d.checkEnd()
}

// checkEnd is an error if more has been taken than there is.
func (d *Reader) checkEnd() error {
	if d.eof && d.r-int(d.nbits/8) > d.n {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// align drops the rest of a byte.
func (d *Reader) align() { d.take(d.nbits & 7) }

// end tells whether the input is used up, at the beginning of a byte.
func (d *Reader) end() (bool, error) {
	if err := d.load(); err != nil {
		return false, err
	}
	return d.eof && d.r-int(d.nbits/8) >= d.n, nil
}
