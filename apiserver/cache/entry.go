package cache

import (
	"sync"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Entry is one object at one revision. All but the encodings is immutable once
// the cache holds it.
type Entry struct {
	Object   kinds.Object
	Key      string // namespace/name, or name
	Revision int64
	// marks has the bits of all labels: see Mark. Set when the cache takes the entry.
	marks uint64

	mu    sync.Mutex
	used  bool // since the last Trim
	last  bool // of its run: see Runs
	encs  []encoding
	runs  *runs  // that begin with this entry
	cache *Cache // whose encodings these are; nil: nobody counts them
}

type encoding struct {
	media   codec.Media
	version *kinds.Version // nil for the hub
	body    []byte
}

// maxEncoded is how many bytes of encodings are kept; beyond it each reader gets
// its own, and maintenance is asked for.
const maxEncoded = 128 << 20

// Body is the object's encoding without its type (see codec.Body) in one served
// form. It is made once and shared while there is room for it. Nobody may change it.
func (e *Entry) Body(m codec.Media, v *kinds.Version) ([]byte, error) { return e.body(m, v, false) }

// EventBody is Body for those who tell many watchers of an event: it is always kept.
func (e *Entry) EventBody(m codec.Media, v *kinds.Version) ([]byte, error) { return e.body(m, v, true) }

func (e *Entry) body(m codec.Media, v *kinds.Version, keep bool) ([]byte, error) {
	if m == codec.YAML {
		m = codec.JSON
	}
	if codec.IsHub(v) {
		v = nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.used = true
	for i := range e.encs {
		if e.encs[i].media == m && e.encs[i].version == v {
			return e.encs[i].body, nil
		}
	}
	obj, err := codec.FromHub(v, e.Object)
	if err != nil {
		return nil, err
	}
	body, err := codec.Body(m, obj)
	if err != nil {
		return nil, err
	}
	if _, packed := e.Object.(codec.Unpacker); packed && !keep {
		return body, nil // it is packed because it is seldom read
	}
	if e.cache.room(len(body)) || keep {
		e.encs = append(e.encs, encoding{m, v, body})
	}
	return body, nil
}

// Encoded gives the entry its encoding in the hub's version, which somebody had made; nil
// is none.
func (e *Entry) Encoded(m codec.Media, body []byte) {
	if body == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.encs {
		if e.encs[i].media == m && e.encs[i].version == nil {
			return
		}
	}
	if e.cache.room(len(body)) {
		e.encs = append(e.encs, encoding{m, nil, body})
	}
}

// room counts n bytes of encodings and tells whether they may stay. A nil cache has
// room for everything.
func (c *Cache) room(n int) bool {
	if c == nil {
		return true
	}
	if c.encoded.Add(int64(n)) <= maxEncoded {
		return true
	}
	c.press()
	return false
}

func (c *Cache) press() {
	select {
	case c.pressed <- struct{}{}:
	default:
	}
}

// Pressed tells when more is encoded than may be kept: Trim then soon.
func (c *Cache) Pressed() <-chan struct{} { return c.pressed }

// Trim drops the encodings if nobody has asked for one since the last Trim, and
// returns how many bytes stay, and how many in pieces of lists.
func (e *Entry) Trim() (kept, pieces int) {
	e.mu.Lock()
	r := e.runs
	e.mu.Unlock()
	if r != nil { // without the lock: a piece is made with its own held
		pieces = r.trim()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.used {
		e.encs = nil
	}
	e.used = false
	for i := range e.encs {
		kept += len(e.encs[i].body)
	}
	return kept, pieces
}

// Mark is a bit that an entry with this label has in its marks. Others may have it
// too: it spares looking at the labels of most entries that do not have one.
func Mark(key, value string) uint64 {
	h := fnv(fnv(fnv(fnvBegin, key), "="), value)
	return 1 << (h >> 58)
}

const fnvBegin = uint64(14695981039346656037)

// fnv goes on with a FNV-1a hash.
func fnv(h uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// MayHave tells whether the entry may have labels with all these marks; false is
// certain.
func (e *Entry) MayHave(marks uint64) bool { return e.marks&marks == marks }

// take makes the entry the cache's: it reads the labels once and for all.
func (e *Entry) take(c *Cache) {
	e.cache = c
	e.last = endsRun(e.Key)
	for k, v := range e.Object.GetLabels() {
		e.marks |= Mark(k, v)
	}
}
