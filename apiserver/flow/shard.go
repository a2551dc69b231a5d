package flow

// maxHand is the largest hand: validation of PriorityLevelConfigurations keeps
// hands so small that a hash of 60 bits deals them.
const maxHand = 64

// Deal draws hand different numbers below deck from hash and appends them to dst in
// ascending order: the queues of a flow. Two flows seldom have all their queues in
// common (apiserver/pkg/util/shufflesharding).
func Deal(deck, hand int, hash uint64, dst []int) []int {
	hand = min(max(hand, 1), deck, maxHand)
	base := len(dst)
	for i := range hand {
		left := uint64(deck - i)
		card := int(hash % left)
		hash /= left
		// card counts the numbers that have not been drawn.
		at := base
		for ; at < len(dst) && dst[at] <= card; at++ {
			card++
		}
		dst = append(dst, 0)
		copy(dst[at+1:], dst[at:])
		dst[at] = card
	}
	return dst
}

// Hash is that of a flow: a schema's name and what tells its flows apart.
func Hash(schema, distinguisher string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(schema); i++ {
		h = (h ^ uint64(schema[i])) * 1099511628211
	}
	h *= 1099511628211 // a zero byte between the two
	for i := 0; i < len(distinguisher); i++ {
		h = (h ^ uint64(distinguisher[i])) * 1099511628211
	}
	// Mixed, because dealing takes the low bits first.
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}
