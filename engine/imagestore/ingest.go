package imagestore

import (
	"context"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// ingests is a content store on disk that writes and hashes large content beside who
// makes it, and has the disk begin at once, so that little is left to wait for when
// it is committed.
type ingests struct {
	content.Store
	root string // of the store
}

// Writer implements content.Ingester.
func (s *ingests) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	if err != nil {
		return nil, err
	}
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	return &ingest{Writer: w, data: filepath.Join(s.root, "ingest", digest.FromString(o.Ref).Encoded(), "data")}, nil
}

const (
	// pieceSize is how much is handed on at a time; content of less is written as it
	// comes.
	pieceSize = 1 << 20
	// piecesWaiting bounds what is in memory.
	piecesWaiting = 4
	// flushEach is how much the disk is told to write at a time.
	flushEach = 8 << 20
)

// ingest is a writer of content. As with any, one goroutine at a time uses it.
type ingest struct {
	content.Writer
	data string // the file

	piece  []byte
	pieces chan []byte
	free   chan []byte
	done   chan error // the error of the goroutine, once
	broken chan struct{}
	err    error // what has become known of it
}

// Write implements io.Writer. An error may be that of an earlier piece.
func (w *ingest) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if w.err != nil {
			return 0, w.err
		}
		if w.piece == nil {
			w.piece = make([]byte, 0, min(pieceSize, max(len(p), 64<<10)))
		}
		k := min(len(p), pieceSize-len(w.piece))
		w.piece = append(w.piece, p[:k]...)
		p = p[k:]
		if len(w.piece) == pieceSize {
			w.handOn()
		}
	}
	return n, w.err
}

// handOn gives the full piece to the goroutine, which begins with the first.
func (w *ingest) handOn() {
	if w.pieces == nil {
		w.pieces, w.free = make(chan []byte, piecesWaiting), make(chan []byte, piecesWaiting+2)
		w.done, w.broken = make(chan error, 1), make(chan struct{})
		go w.write(w.pieces, w.free)
	}
	select {
	case w.pieces <- w.piece:
	case <-w.broken:
		w.settle()
		return
	}
	select {
	case w.piece = <-w.free:
	default:
		w.piece = nil
	}
}

func (w *ingest) write(pieces <-chan []byte, free chan<- []byte) {
	err := w.writeAll(pieces, free)
	w.done <- err
	if err != nil {
		close(w.broken)
	}
}

func (w *ingest) writeAll(pieces <-chan []byte, free chan<- []byte) error {
	// The hint is only a hint: without the file there is none.
	f, err := os.Open(w.data)
	if err == nil {
		defer f.Close()
	}
	st, err := w.Writer.Status()
	if err != nil {
		return err
	}
	written, flushed := st.Offset, st.Offset
	for p := range pieces {
		if _, err := w.Writer.Write(p); err != nil {
			return err
		}
		written += int64(len(p))
		if f != nil && written-flushed >= flushEach {
			unix.SyncFileRange(int(f.Fd()), flushed, written-flushed, unix.SYNC_FILE_RANGE_WRITE) //nolint:errcheck // as above
			flushed = written
		}
		select {
		case free <- p[:0]:
		default:
		}
	}
	return nil
}

// settle waits until all is written that Write has taken.
func (w *ingest) settle() {
	if w.pieces != nil {
		close(w.pieces)
		if err := <-w.done; w.err == nil {
			w.err = err
		}
		w.pieces = nil
	}
	if len(w.piece) > 0 && w.err == nil {
		_, w.err = w.Writer.Write(w.piece)
	}
	w.piece = nil
}

// Commit implements content.Writer.
func (w *ingest) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	if w.settle(); w.err != nil {
		return w.err
	}
	return w.Writer.Commit(ctx, size, expected, opts...)
}

// Digest implements content.Writer.
func (w *ingest) Digest() digest.Digest {
	w.settle()
	return w.Writer.Digest()
}

// Status implements content.Writer.
func (w *ingest) Status() (content.Status, error) {
	w.settle()
	return w.Writer.Status()
}

// Truncate implements content.Writer.
func (w *ingest) Truncate(size int64) error {
	w.settle()
	w.err = nil // what is written next begins anew
	return w.Writer.Truncate(size)
}

// Close implements io.Closer.
func (w *ingest) Close() error {
	w.settle()
	return w.Writer.Close()
}
