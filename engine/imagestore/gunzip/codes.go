package gunzip

import "math/bits"

// An entry of a table says what a code means and how long it is: in its low five bits
// the code's length, 0 for what is no code; above 16 the symbol, or a length's or
// distance's base, whose number of extra bits is above 8.
const (
	codeLength = 0x1f
	extraShift = 8
	extraMask  = 0xf
	valueShift = 16

	isLiteral = 1 << 31
	isEnd     = 1 << 15
	// isLonger leads to a second table: value is where it begins.
	isLonger = 1 << 14
	isMatch  = 1 << 13
)

// Bits that the first look at a table takes, and entries that second tables may need:
// a code has at most 15 bits, and there is a second table at most for each symbol.
const (
	maxBits      = 15
	literalBits  = 11
	distanceBits = 9
	lengthBits   = 7
)

// codes are those of a block.
type codes struct {
	literals  table
	distances table
	lengths   table
	isFixed   bool
}

// table finds what a code means: entries[the next bits], and for longer codes
// entries[value + the bits after them].
type table struct {
	bits    uint // of the first look
	more    uint // of the second
	entries []uint32
}

// build makes the table of a canonical code from its lengths. A code must be complete,
// or be of one symbol with one bit, or of none; then using what is missing is found
// when it is read. The first look takes so many bits.
func (t *table) build(first uint, lengths []byte, entry func(symbol int) uint32) bool {
	var count [maxBits + 1]int
	longest := 0
	for _, n := range lengths {
		count[n]++
		longest = max(longest, int(n))
	}
	t.bits, t.more = first, 0
	size := 1 << t.bits
	if cap(t.entries) < size {
		t.entries = make([]uint32, size, 4*size)
	}
	t.entries = t.entries[:size]
	clear(t.entries)
	if longest == 0 {
		return true
	}
	var next [maxBits + 2]int
	code := 0
	for n := 1; n <= longest; n++ {
		next[n] = code
		code = (code + count[n]) << 1
	}
	if total := code >> 1; total != 1<<longest && !(longest == 1 && total == 1) {
		return false
	}
	if longest > int(t.bits) {
		t.more = uint(longest) - t.bits
	}
	for symbol, n := range lengths {
		if n > 0 {
			reversed := int(bits.Reverse16(uint16(next[n])) >> (16 - n))
			next[n]++
			t.set(reversed, uint(n), entry(symbol)|uint32(n))
		}
	}
	return true
}

// set enters a code wherever its bits come first.
func (t *table) set(code int, n uint, e uint32) {
	if n <= t.bits {
		for i := code; i < 1<<t.bits; i += 1 << n {
			t.entries[i] = e
		}
		return
	}
	low := code & (1<<t.bits - 1)
	if t.entries[low] == 0 {
		t.entries[low] = uint32(len(t.entries))<<valueShift | isLonger | uint32(t.bits)
		for range 1 << t.more {
			t.entries = append(t.entries, 0)
		}
	}
	second := t.entries[t.entries[low]>>valueShift&0x7fff:][:1<<t.more]
	for i := code >> t.bits; i < len(second); i += 1 << (n - t.bits) {
		second[i] = e
	}
}

func lengthEntry(symbol int) uint32 { return uint32(symbol) << valueShift }

// literalEntry is of the code of literals and lengths.
func literalEntry(symbol int) uint32 {
	switch {
	case symbol < 256:
		return isLiteral | uint32(symbol)<<valueShift
	case symbol == 256:
		return isEnd
	case symbol == 285:
		return 258<<valueShift | isMatch
	case symbol > 285:
		return 0 // no such length, though fixed codes have a code for it
	}
	k := symbol - 257
	if k < 8 {
		return uint32(k+3)<<valueShift | isMatch
	}
	extra := k/4 - 1
	return uint32((4+k%4)<<extra+3)<<valueShift | uint32(extra)<<extraShift | isMatch
}

// distanceEntry is of the code of distances.
func distanceEntry(symbol int) uint32 {
	switch {
	case symbol < 4:
		return uint32(symbol+1)<<valueShift | isMatch
	case symbol > 29:
		return 0
	}
	extra := symbol/2 - 1
	return uint32((2+symbol%2)<<extra+1)<<valueShift | uint32(extra)<<extraShift | isMatch
}

// fixed are the codes of a block without its own.
func (c *codes) fixed() {
	if c.isFixed {
		return
	}
	var lengths [288]byte
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	c.literals.build(literalBits, lengths[:], literalEntry)
	var distances [32]byte
	for i := range distances {
		distances[i] = 5
	}
	c.distances.build(distanceBits, distances[:], distanceEntry)
	c.isFixed = true
}
