package flow

import (
	"math"
	"slices"
)

// Share is a level's part of the server's seats, as configured.
type Share struct {
	Shares   int32
	Lendable int32  // percent of its seats that others may use
	Borrow   *int32 // percent of its seats that it may use of others'; nil: no bound
}

// Limits are the seats that a share comes to: what the level has when all are
// busy, and between which numbers borrowing may move that.
type Limits struct {
	Nominal, Min, Max int
}

// First is the limit before any demand is known: half of what may be lent is.
func (l Limits) First() int { return l.Nominal - (l.Nominal-l.Min)/2 }

// Divide gives each share its seats. Fractions are rounded up, so the sum may be a
// little more than total.
func Divide(total int, shares []Share) []Limits {
	var sum float64
	for _, s := range shares {
		sum += float64(s.Shares)
	}
	out := make([]Limits, len(shares))
	for i, s := range shares {
		if sum == 0 {
			out[i].Max = total
			continue
		}
		n := int(math.Ceil(float64(total) * float64(s.Shares) / sum))
		lend := int(math.Round(float64(n) * float64(s.Lendable) / 100))
		borrow := total
		if s.Borrow != nil {
			borrow = int(math.Round(float64(n) * float64(*s.Borrow) / 100))
		}
		out[i] = Limits{Nominal: n, Min: n - lend, Max: n + borrow}
	}
	return out
}

// MaxSeats bounds the width of a request in a level with queues: it shall not take
// so much that the others of its hand starve (apf_controller,
// finishQueueSetReconfigsLocked).
func MaxSeats(nominal, hand int) int {
	return int(max(1, min(math.Ceil(float64(nominal)*0.15), float64(nominal/max(hand, 1)))))
}

// Level's side of borrowing.
type Borrower struct {
	Limits
	Exempt        bool
	HighWatermark int     // of demanded seats since the last adjustment
	Smoothed      float64 // demand
}

// floor is the limit below which borrowing does not push a level.
func (b *Borrower) floor() int {
	if b.Exempt {
		return max(b.Min, b.HighWatermark)
	}
	return max(b.Min, min(b.Nominal, b.HighWatermark))
}

// Target is the limit that the level's demand asks for.
func (b *Borrower) Target() float64 { return max(float64(b.floor()), b.Smoothed) }

// Borrow decides each level's limit by its demand: seats that one does not need
// serve the others, each in proportion to what it asks for (apf_controller,
// updateBorrowingLocked). fair is that proportion; 0: there was nothing to divide.
func Borrow(levels []Borrower) (limits []int, fair float64) {
	limits = make([]int, len(levels))
	var total, least, floors int
	var items []bounded
	for i := range levels {
		total += levels[i].Nominal
	}
	left := total
	for i := range levels {
		b := &levels[i]
		if b.Exempt {
			limits[i] = b.floor()
			left -= limits[i]
			continue
		}
		least += b.Min
		floors += b.floor()
		items = append(items, bounded{i, b.Target(), float64(b.floor()), float64(b.Max)})
	}
	switch {
	case left <= least: // the exempt requests take all: everybody else has the minimum
		for _, x := range items {
			limits[x.i] = levels[x.i].Min
		}
	case left <= floors:
		part := float64(left-least) / float64(floors-least)
		for _, x := range items {
			b := &levels[x.i]
			limits[x.i] = b.Min + int(math.Round(float64(b.floor()-b.Min)*part))
		}
	default:
		fair = proportion(float64(total), items)
		for _, x := range items {
			limits[x.i] = int(math.Round(x.at(fair)))
		}
	}
	return limits, fair
}

// bounded is a target with bounds.
type bounded struct {
	i              int
	target, lo, hi float64
}

// leastTarget stands for a target of nothing, which cannot be divided by.
const leastTarget = 0.001

func (b *bounded) at(p float64) float64 {
	return max(b.lo, min(b.hi, p*max(b.target, leastTarget)))
}

// proportion finds p so that the bounded multiples of the targets have the sum
// want, or the nearest sum that the bounds allow. The sum never falls as p rises
// and is a straight line between the points at which a bound takes hold.
func proportion(want float64, items []bounded) float64 {
	points := []float64{0}
	for i := range items {
		t := max(items[i].target, leastTarget)
		points = append(points, items[i].lo/t, items[i].hi/t)
	}
	slices.Sort(points)
	sum := func(p float64) (s float64) {
		for i := range items {
			s += items[i].at(p)
		}
		return s
	}
	for k, to := range points {
		high := sum(to)
		if high < want {
			continue
		}
		if k == 0 || high == want {
			return to
		}
		from := points[k-1]
		low := sum(from)
		return from + (want-low)*(to-from)/(high-low)
	}
	return points[len(points)-1]
}
