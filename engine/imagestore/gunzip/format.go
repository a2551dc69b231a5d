package gunzip

import (
	"hash/crc32"
	"io"
)

// Flags of a member's header. Others mean nothing, as to Go's own library.
const (
	flagHeaderSum = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// header reads bytes of a member's header, which has a checksum of its own.
type header struct {
	d   *Reader
	sum uint32
	err error
}

func (h *header) byte() byte {
	if h.err != nil {
		return 0
	}
	v, err := h.d.get(8)
	h.err = err
	h.sum = crc32.Update(h.sum, crc32.IEEETable, []byte{byte(v)})
	return byte(v)
}

func (h *header) short() uint16 { return uint16(h.byte()) | uint16(h.byte())<<8 }

func (h *header) text() {
	for h.byte() != 0 && h.err == nil {
	}
}

// member begins the next one, or ends the file.
func (d *Reader) member() error {
	end, err := d.end()
	if err != nil {
		return err
	}
	if end {
		if d.first {
			return io.ErrUnexpectedEOF
		}
		d.state = ended
		return nil
	}
	d.first = false
	h := &header{d: d}
	if h.byte() != 0x1f || h.byte() != 0x8b || h.byte() != 8 {
		if h.err != nil {
			return h.err
		}
		return corrupt("no gzip header")
	}
	flags := h.byte()
	for range 6 {
		h.byte() // time, flags of the compressor, its system
	}
	if flags&flagExtra != 0 {
		for range h.short() {
			h.byte()
		}
	}
	if flags&flagName != 0 {
		h.text()
	}
	if flags&flagComment != 0 {
		h.text()
	}
	if sum := uint16(h.sum); flags&flagHeaderSum != 0 && h.short() != sum && h.err == nil {
		return corrupt("wrong checksum of a header")
	}
	d.start, d.sum, d.size, d.summed = d.w, 0, 0, d.w
	d.state = atBlock
	return h.err
}

// trailer ends a member.
func (d *Reader) trailer() error {
	d.add()
	d.align()
	var v [2]uint32
	for i := range v {
		var err error
		if v[i], err = d.get(32); err != nil {
			return err
		}
	}
	if v[0] != d.sum || v[1] != d.size {
		return corrupt("wrong checksum")
	}
	d.state = atMember
	return nil
}

// block begins the next one of the member.
func (d *Reader) block() error {
	if d.last {
		d.last, d.state = false, atTrailer
		return nil
	}
	v, err := d.get(3)
	if err != nil {
		return err
	}
	d.last = v&1 != 0
	switch v >> 1 {
	case 0:
		d.align()
		n, err := d.get(32)
		if err != nil {
			return err
		}
		if n&0xffff != ^n>>16 {
			return corrupt("length of a stored block")
		}
		d.stored, d.state = int(n&0xffff), inStored
		return nil
	case 1:
		d.codes.fixed()
	case 2:
		if err := d.dynamic(); err != nil {
			return err
		}
	default:
		return corrupt("unknown kind of block")
	}
	d.state = inCodes
	return nil
}

// copyStored copies of a stored block what the output has room for.
func (d *Reader) copyStored() error {
	// Whole bytes may be among the bits.
	for d.nbits >= 8 && d.stored > 0 && d.w < window+chunk {
		d.out[d.w] = byte(d.take(8))
		d.w++
		d.stored--
		if err := d.checkEnd(); err != nil {
			return err
		}
	}
	if d.stored == 0 {
		d.state = atBlock
		return nil
	}
	if d.nbits >= 8 {
		return nil // the output is full
	}
	d.bits, d.nbits = 0, 0
	if err := d.load(); err != nil {
		return err
	}
	if d.r >= d.n {
		return io.ErrUnexpectedEOF
	}
	k := min(d.stored, d.n-d.r, window+chunk-d.w)
	copy(d.out[d.w:d.w+k], d.in[d.r:])
	d.w, d.r, d.stored = d.w+k, d.r+k, d.stored-k
	return nil
}

// order of the lengths of the code of lengths.
var order = [19]byte{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads a block's codes.
func (d *Reader) dynamic() error {
	v, err := d.get(14)
	if err != nil {
		return err
	}
	literals, distances, n := int(v&31)+257, int(v>>5&31)+1, int(v>>10)+4
	if literals > 286 || distances > 30 {
		return corrupt("too many codes")
	}
	var lengths [19]byte
	for i := range n {
		v, err := d.get(3)
		if err != nil {
			return err
		}
		lengths[order[i]] = byte(v)
	}
	if !d.codes.lengths.build(lengthBits, lengths[:], lengthEntry) {
		return corrupt("code of lengths")
	}
	var all [286 + 30]byte
	for i := 0; i < literals+distances; {
		if err := d.refill(); err != nil {
			return err
		}
		e := d.codes.lengths.entries[d.bits&(1<<lengthBits-1)]
		if e&codeLength == 0 {
			return corrupt("code of a length")
		}
		d.take(uint(e & codeLength))
		symbol, value, times := e>>16, byte(0), 1
		switch {
		case symbol < 16:
			value = byte(symbol)
		case symbol == 16 && i == 0:
			return corrupt("a length that repeats nothing")
		case symbol == 16:
			value, times = all[i-1], 3+int(d.take(2))
		case symbol == 17:
			times = 3 + int(d.take(3))
		default:
			times = 11 + int(d.take(7))
		}
		if err := d.checkEnd(); err != nil {
			return err
		}
		if i+times > literals+distances {
			return corrupt("too many lengths")
		}
		for range times {
			all[i] = value
			i++
		}
	}
	if !d.codes.literals.build(literalBits, all[:literals], literalEntry) || !d.codes.distances.build(distanceBits, all[literals:literals+distances], distanceEntry) {
		return corrupt("codes")
	}
	d.codes.isFixed = false
	return nil
}
