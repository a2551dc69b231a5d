package imagestore

import (
	"context"
	"errors"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
)

// forgetful opens a file and then cannot note it.
type forgetful struct {
	content.Store
	err error
}

func (f *forgetful) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := f.Store.Writer(ctx, opts...)
	if err == nil && f.err != nil {
		return nil, f.err
	}
	return w, err
}

// TestWriterThatIsNotNoted: content whose opening could not be noted is not held
// open, and can be fetched when there is room.
func TestWriterThatIsNotNoted(t *testing.T) {
	below, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	full := &forgetful{opening{below}, errors.New("no space left on device")}
	s := named{full}
	if _, err := s.Writer(t.Context(), content.WithRef("layer")); !errors.Is(err, full.err) {
		t.Fatal(err)
	}
	full.err = nil
	w, err := s.Writer(t.Context(), content.WithRef("layer"))
	if err != nil {
		t.Fatalf("with room: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
