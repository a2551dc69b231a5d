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

	mu   sync.Mutex
	used bool // since the last Trim
	encs []encoding
}

type encoding struct {
	media   codec.Media
	version *kinds.Version // nil for the hub
	body    []byte
}

// Body is the object's encoding without its type (see codec.Body) in one served
// form: made at most once and shared. Nobody may change it.
func (e *Entry) Body(m codec.Media, v *kinds.Version) ([]byte, error) {
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
	e.encs = append(e.encs, encoding{m, v, body})
	return body, nil
}

// Trim drops the encodings if nobody has asked for one since the last Trim.
func (e *Entry) Trim() {
	e.mu.Lock()
	if !e.used {
		e.encs = nil
	}
	e.used = false
	e.mu.Unlock()
}
