// Package alloc gives Services what is unique in the cluster: cluster addresses
// and node ports. It keeps what is taken in memory, rebuilt from the services at
// start, and hands a number to one service only, however many ask at once. The
// engine in package objects calls it around the storing of a Service.
package alloc

import (
	"errors"
	"math/rand/v2"
	"sync"
)

// Errors of a pool.
var (
	errTaken = errors.New("already allocated")
	errRange = errors.New("not in the valid range")
	errFull  = errors.New("range is full")
)

// pool hands out the numbers 0..size-1. The first band of them is given to those
// who ask for a number, and only at last to those who take any
// (core/service/ipallocator, static and dynamic ranges).
type pool struct {
	mu    sync.Mutex
	size  int
	band  int
	taken map[int]struct{}
}

func newPool(size, band int) *pool {
	return &pool{size: size, band: min(band, size), taken: map[int]struct{}{}}
}

// take takes one number.
func (p *pool) take(n int) error {
	if n < 0 || n >= p.size {
		return errRange
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.taken[n]; ok {
		return errTaken
	}
	p.taken[n] = struct{}{}
	return nil
}

// next takes any number. peek looks for one without taking it.
func (p *pool) next(peek bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range [][2]int{{p.band, p.size}, {0, p.band}} {
		width := r[1] - r[0]
		if width <= 0 {
			continue
		}
		start := rand.IntN(width)
		for i := range width {
			n := r[0] + (start+i)%width
			if _, ok := p.taken[n]; ok {
				continue
			}
			if !peek {
				p.taken[n] = struct{}{}
			}
			return n, nil
		}
	}
	return 0, errFull
}

// free tells whether a number could be taken.
func (p *pool) free(n int) error {
	if n < 0 || n >= p.size {
		return errRange
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.taken[n]; ok {
		return errTaken
	}
	return nil
}

func (p *pool) release(n int) {
	p.mu.Lock()
	delete(p.taken, n)
	p.mu.Unlock()
}
