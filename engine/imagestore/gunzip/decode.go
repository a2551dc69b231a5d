package gunzip

import "encoding/binary"

// decode goes on with a block of codes until it ends or the output is full. The fields
// that change with each code are kept in variables meanwhile.
func (d *Reader) decode() error {
	for d.w < window+chunk {
		if err := d.load(); err != nil {
			return err
		}
		ended, err := d.run()
		if err == nil {
			err = d.checkEnd()
		}
		if err != nil {
			return err
		}
		if ended {
			d.state = atBlock
			return nil
		}
	}
	return nil
}

// run decodes while there are eight bytes of input, padding included, for each look.
func (d *Reader) run() (ended bool, err error) {
	in, r, b, nb := d.in, d.r, d.bits, d.nbits
	out, w := d.out, d.w
	literals, distances := d.codes.literals.entries, d.codes.distances.entries
	firstLiterals, firstDistances := literals[:1<<literalBits], distances[:1<<distanceBits]
	moreLiterals, moreDistances := uint64(1)<<d.codes.literals.more-1, uint64(1)<<d.codes.distances.more-1
	limit := d.n - 8
	if d.eof {
		limit = min(d.n+padding-8, len(in)-8)
	}
	start := d.start
loop:
	for r <= limit && w < window+chunk {
		b |= binary.LittleEndian.Uint64(in[r:]) << (nb & 63)
		r += int((63 - nb) >> 3)
		nb |= 56
		e := firstLiterals[b&(1<<literalBits-1)]
		// Two literals, and one look more, take at most 45 of the 56 bits.
		if e&isLiteral != 0 {
			b >>= e & codeLength
			nb -= uint(e & codeLength)
			out[w] = byte(e >> valueShift)
			w++
			e = firstLiterals[b&(1<<literalBits-1)]
			if e&isLiteral != 0 {
				b >>= e & codeLength
				nb -= uint(e & codeLength)
				out[w] = byte(e >> valueShift)
				w++
				e = firstLiterals[b&(1<<literalBits-1)]
				if e&isLiteral != 0 {
					b >>= e & codeLength
					nb -= uint(e & codeLength)
					out[w] = byte(e >> valueShift)
					w++
					continue
				}
			}
			if r > limit {
				continue // the look comes again, with more input or at its end
			}
			b |= binary.LittleEndian.Uint64(in[r:]) << (nb & 63)
			r += int((63 - nb) >> 3)
			nb |= 56
		}
		if e&isLonger != 0 {
			e = literals[uint64(e>>valueShift&0x7fff)+b>>literalBits&moreLiterals]
		}
		b >>= e & codeLength
		nb -= uint(e & codeLength)
		switch {
		case e&isLiteral != 0:
			out[w] = byte(e >> valueShift)
			w++
			continue
		case e&isMatch != 0:
		case e&isEnd != 0:
			ended = true
			break loop
		default:
			err = corrupt("code of a literal or length")
			break loop
		}
		extra := e >> extraShift & extraMask
		length := int(e>>valueShift) + int(b&(1<<extra-1))
		b >>= extra
		nb -= uint(extra)
		e = firstDistances[b&(1<<distanceBits-1)]
		if e&isLonger != 0 {
			e = distances[uint64(e>>valueShift&0x7fff)+b>>distanceBits&moreDistances]
		}
		if e&isMatch == 0 {
			err = corrupt("code of a distance")
			break loop
		}
		b >>= e & codeLength
		nb -= uint(e & codeLength)
		extra = e >> extraShift & extraMask
		distance := int(e>>valueShift) + int(b&(1<<extra-1))
		b >>= extra
		nb -= uint(extra)
		if distance > w-start {
			err = corrupt("a distance beyond the beginning")
			break loop
		}
		repeat(out, w, distance, length)
		w += length
	}
	d.r, d.bits, d.nbits, d.w = r, b, nb, w
	return ended, err
}

// repeat copies what is distance before w to w. It may write up to seven bytes more.
func repeat(out []byte, w, distance, length int) {
	from := w - distance
	switch {
	case distance >= length && length > 32:
		copy(out[w:w+length], out[from:from+length])
	case distance >= 8:
		src, dst := out[from:from+length+8], out[w:w+length+8]
		for i := 0; i < length; i += 8 {
			binary.LittleEndian.PutUint64(dst[i:], binary.LittleEndian.Uint64(src[i:]))
		}
	case distance == 1:
		v := out[from]
		dst := out[w : w+length]
		for i := range dst {
			dst[i] = v
		}
	default:
		for i := range length {
			out[w+i] = out[from+i]
		}
	}
}
