package flow

import (
	"math"
	"time"
)

// Integral integrates a number over time.
type Integral struct {
	last               time.Duration
	x, max             float64
	span, sum, squares float64
}

// Stats describe a number over a span of time.
type Stats struct {
	Span          float64 // seconds
	Average, Std  float64
	HighWatermark int
}

// Set says that the number is x from now on.
func (i *Integral) Set(now time.Duration, x float64) {
	if dt := (now - i.last).Seconds(); dt > 0 {
		i.span += dt
		i.sum += i.x * dt
		i.squares += i.x * i.x * dt
		i.last = now
	}
	i.x, i.max = x, max(i.max, x)
}

// Reset returns what was since the last Reset.
func (i *Integral) Reset(now time.Duration) Stats {
	i.Set(now, i.x)
	s := Stats{Span: i.span, HighWatermark: int(math.Round(i.max))}
	if i.span > 0 {
		s.Average = i.sum / i.span
		s.Std = math.Sqrt(max(0, i.squares/i.span-s.Average*s.Average))
	}
	i.span, i.sum, i.squares, i.max = 0, 0, 0, i.x
	return s
}

// smoothing is how much of a fallen demand is believed after each adjustment: half
// of it is gone after five minutes of adjustments every ten seconds.
const smoothing = 0.977

// Smooth is the demand that counts: it rises at once and falls slowly
// (apf_controller, seatDemandStats).
func Smooth(before float64, s Stats) float64 {
	if s.Span <= 0 {
		return before
	}
	envelope := s.Average + s.Std
	return max(envelope, smoothing*before+(1-smoothing)*envelope)
}
