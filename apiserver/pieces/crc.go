package pieces

import "hash/crc32"

// A CRC-32 is a polynomial over GF(2) modulo crc32.IEEE, its coefficients from the
// highest bit (x^0) to the lowest (x^31). That of two texts behind each other is the
// first's times x^(8 * length of the second), plus the second's.

// combine is the checksum of a text with checksum first and one behind it with
// checksum second, of the length that shift is the shiftOf.
func combine(first, shift, second uint32) uint32 { return multiply(shift, first) ^ second }

const one = 1 << 31 // x^0

// powers are x^(2^i).
var powers = func() (p [32]uint32) {
	p[0] = one >> 1
	for i := 1; i < len(p); i++ {
		p[i] = multiply(p[i-1], p[i-1])
	}
	return p
}()

// shiftOf is x^(8n).
func shiftOf(n int) uint32 {
	p := uint32(one)
	// The order of x divides 2^32-1, so x^(2^32) is x again.
	for i := 3; n > 0; i++ {
		if n&1 != 0 {
			p = multiply(powers[i%32], p)
		}
		n >>= 1
	}
	return p
}

func multiply(a, b uint32) uint32 {
	var p uint32
	for ; a != 0; a <<= 1 {
		if a&one != 0 {
			p ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return p
}
