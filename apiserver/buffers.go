package apiserver

import "sync"

// bufferPool lends byte slices to answers. Large ones are not kept.
type bufferPool struct{ p sync.Pool }

var buffers bufferPool

const maxKept = 1 << 20

func (b *bufferPool) get() *[]byte {
	if v, ok := b.p.Get().(*[]byte); ok {
		return v
	}
	v := make([]byte, 0, 8<<10)
	return &v
}

func (b *bufferPool) put(v *[]byte) {
	if cap(*v) <= maxKept {
		b.p.Put(v)
	}
}
