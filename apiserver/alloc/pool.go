// Package alloc gives Services what is unique in the cluster: cluster addresses
// and node ports. It follows the stored services and keeps in memory what they hold
// and what is being given out, so that a number goes to one service only, however
// many ask at once. Where several servers share a store, each number's key in it
// (Services.Reserve) decides between them. The engine in package objects calls it
// around the storing of a Service.
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
	held  map[int]int      // by how many stored services; more than one only by old errors
	taken map[int]struct{} // by services that are being stored
}

func newPool(size, band int) *pool {
	return &pool{size: size, band: min(band, size), held: map[int]int{}, taken: map[int]struct{}{}}
}

// used tells whether nobody else may have a number.
func (p *pool) used(n int) bool {
	_, taken := p.taken[n]
	return taken || p.held[n] > 0
}

// take takes one number until release.
func (p *pool) take(n int) error {
	if n < 0 || n >= p.size {
		return errRange
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used(n) {
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
			if p.used(n) {
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
	if p.used(n) {
		return errTaken
	}
	return nil
}

// release ends a take: the service has been stored, and holds the number, or not.
func (p *pool) release(n int) {
	p.mu.Lock()
	delete(p.taken, n)
	p.mu.Unlock()
}

// hold counts a stored service that has a number (by 1) or has it no more (by -1).
func (p *pool) hold(n, by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[n] += by; p.held[n] <= 0 {
		delete(p.held, n)
	}
}
