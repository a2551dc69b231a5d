package cache

import (
	"iter"
	"slices"
	"sync"

	"skiff.dev/skiff/apiserver/pieces"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Lists of many objects differ in few of them. They are cut into runs, after entries
// that their keys choose, so that a change touches the run it is in alone; what a run
// looks like compressed is kept at its first entry and shared by all lists that have
// the same run.

const (
	// runLength is how many entries a run has on average, and maxRun at most.
	runLength = 32
	maxRun    = 8 * runLength

	// maxPieces is how many bytes of pieces are kept.
	maxPieces = 32 << 20
)

// endsRun tells whether a run ends behind the entry with this key.
func endsRun(key string) bool { return (fnv(fnvBegin, key)>>32)%runLength == 0 }

// Runs cuts entries that follow each other in a snapshot into runs.
func Runs(entries []*Entry) iter.Seq[[]*Entry] {
	return func(yield func([]*Entry) bool) {
		from := 0
		for i, e := range entries {
			if e.last || i+1-from == maxRun || i+1 == len(entries) {
				if !yield(entries[from : i+1 : i+1]) {
					return
				}
				from = i + 1
			}
		}
	}
}

// runs are the pieces of lists that begin with an entry, one for each form.
type runs struct {
	mu   sync.Mutex // held while a piece is made, so that it is made once
	kept []run
}

type run struct {
	media   codec.Media
	version *kinds.Version // nil for the hub
	entries []*Entry
	piece   *pieces.Piece
	used    bool // since the last Trim
}

// KnownPiece is the piece of a run in one form if it is kept, else nil.
func KnownPiece(entries []*Entry, m codec.Media, v *kinds.Version) *pieces.Piece {
	e := entries[0]
	e.mu.Lock()
	r := e.runs
	e.mu.Unlock()
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(entries, m, hubless(v))
}

// Piece is the piece of a run in one form. Where it is not kept it is made, once for
// all who ask meanwhile, and kept while there is room.
func Piece(entries []*Entry, m codec.Media, v *kinds.Version, make func() (*pieces.Piece, error)) (*pieces.Piece, error) {
	e := entries[0]
	e.mu.Lock()
	if e.runs == nil {
		e.runs = &runs{}
	}
	r := e.runs
	e.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	v = hubless(v)
	if p := r.find(entries, m, v); p != nil {
		return p, nil
	}
	p, err := make()
	if err != nil || !e.cache.roomForPiece(p.Kept()) {
		return p, err
	}
	r.kept = slices.DeleteFunc(r.kept, func(x run) bool { return x.media == m && x.version == v })
	r.kept = append(r.kept, run{m, v, slices.Clone(entries), p, true})
	return p, nil
}

// roomForPiece counts n bytes if they may stay. What others replace is counted until
// Trim.
func (c *Cache) roomForPiece(n int) bool {
	if c == nil {
		return true
	}
	if c.pieces.Add(int64(n)) <= maxPieces {
		return true
	}
	c.pieces.Add(-int64(n))
	c.press()
	return false
}

func hubless(v *kinds.Version) *kinds.Version {
	if codec.IsHub(v) {
		return nil
	}
	return v
}

func (r *runs) find(entries []*Entry, m codec.Media, v *kinds.Version) *pieces.Piece {
	for i := range r.kept {
		x := &r.kept[i]
		if x.media == m && x.version == v && slices.Equal(x.entries, entries) {
			x.used = true
			return x.piece
		}
	}
	return nil
}

// trim drops the pieces that nobody has asked for since the last Trim and returns how
// many bytes stay.
func (r *runs) trim() (kept int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = slices.DeleteFunc(r.kept, func(x run) bool { return !x.used })
	for i := range r.kept {
		r.kept[i].used = false
		kept += r.kept[i].piece.Kept()
	}
	return kept
}
