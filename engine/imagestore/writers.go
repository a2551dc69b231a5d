package imagestore

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/content"
)

// The library's content store by names opens a file of the store below within a
// transaction. Where that cannot be written down, as on a full disk, it forgets the
// file open, and with it the lock on what is being fetched: nobody could fetch that
// again. Two stores close it: named, above, knows that it failed, and opening,
// below, what was opened.

type named struct{ content.Store }

type opening struct{ content.Store }

type openedKey struct{}

// opened is a file that was opened on behalf of a call.
type opened struct{ w content.Writer }

// Writer implements content.Ingester.
func (s named) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o opened
	w, err := s.Store.Writer(context.WithValue(ctx, openedKey{}, &o), opts...)
	if err != nil && o.w != nil {
		return nil, errors.Join(err, o.w.Close())
	}
	return w, err
}

// Writer implements content.Ingester.
func (s opening) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	if o, ok := ctx.Value(openedKey{}).(*opened); ok && err == nil {
		o.w = w
	}
	return w, err
}
