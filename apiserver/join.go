package apiserver

import (
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/pieces"
	"skiff.dev/skiff/codec"
)

// A list that goes out compressed is joined of pieces, compressed once for all lists
// that have the same run of objects (cache.Runs). So it is not compressed again, nor
// are its objects copied.

// itemForm appends one item of a list, with nothing between it and the next.
type itemForm func(b, body []byte) []byte

func protobufItem(b, body []byte) []byte {
	b = append(b, 2<<3|2)
	b = protowire.AppendVarint(b, uint64(len(body)))
	return append(b, body...)
}

// jsonItem is the form of items that begin with typed, which ends with a comma, or
// with nothing.
func jsonItem(typed []byte) itemForm {
	return func(b, body []byte) []byte {
		if typed != nil {
			b = append(b, typed...)
			body = body[1:]
		}
		return append(b, body...)
	}
}

// joins tells whether a list may go out joined: for a client that takes gzip, where
// the items are runs, and large enough to be compressed.
func (c *call) joins(p *page) bool {
	if !p.runs || !acceptsGzip(c.r) {
		return false
	}
	size := 0
	for run := range cache.Runs(p.items) {
		if known := cache.KnownPiece(run, c.out.Media, c.version); known != nil {
			size += known.Size()
		} else {
			for _, e := range run {
				body, err := e.Body(c.out.Media, c.version)
				if err != nil {
					return false // the list will say it
				}
				size += len(body)
			}
		}
		if size > compressFrom {
			return true
		}
	}
	return false
}

// joined collects the pieces of a list, and the size of what they are made of.
func (c *call) joined(p *page, form itemForm, between string) (all []*pieces.Piece, size int, err error) {
	for run := range cache.Runs(p.items) {
		piece, err := cache.Piece(run, c.out.Media, c.version, func() (*pieces.Piece, error) {
			buf := buffers.get()
			defer buffers.put(buf)
			b := (*buf)[:0]
			for i, e := range run {
				body, err := e.Body(c.out.Media, c.version)
				if err != nil {
					return nil, err
				}
				if i > 0 {
					b = append(b, between...)
				}
				b = form(b, body)
			}
			*buf = b
			return pieces.Compress(b)
		})
		if err != nil {
			return nil, 0, err
		}
		all = append(all, piece)
		size += piece.Size()
	}
	return all, size, nil
}

// joinJSON answers with head, the items and the end of a list.
func (c *call) joinJSON(p *page, head, typed []byte) {
	all, _, err := c.joined(p, jsonItem(typed), ",")
	if err != nil {
		c.fail(apierrors.NewInternalError(err))
		return
	}
	c.join(codec.TypeJSON, head, all, ",", "]}\n")
}

// joinProtobuf answers with a list whose metadata are meta.
func (c *call) joinProtobuf(p *page, gvk schema.GroupVersionKind, meta []byte) {
	all, size, err := c.joined(p, protobufItem, "")
	if err != nil {
		c.fail(apierrors.NewInternalError(err))
		return
	}
	head := codec.AppendEnvelopeHead(nil, gvk, 1+protowire.SizeBytes(len(meta))+size)
	head = append(head, 1<<3|2)
	head = protowire.AppendBytes(head, meta)
	c.join(codec.TypeProtobuf, head, all, "", string(codec.AppendEnvelopeTail(nil)))
}

// join writes a whole answer. Errors of writing mean that the client is gone.
func (c *call) join(contentType string, head []byte, all []*pieces.Piece, between, tail string) {
	c.beginGzip(http.StatusOK, contentType)
	buf := buffers.get()
	defer buffers.put(buf)
	s := pieces.NewStream(c.w, *buf)
	if s.Text(head) != nil {
		return
	}
	for i, piece := range all {
		if i > 0 && between != "" && s.Text([]byte(between)) != nil || s.Piece(piece) != nil {
			return
		}
	}
	if s.Text([]byte(tail)) == nil {
		*buf, _ = s.Close()
	}
}
