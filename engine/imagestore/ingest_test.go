package imagestore

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestIngest writes content of many sizes in pieces of many sizes.
func TestIngest(t *testing.T) {
	dir := t.TempDir()
	disk, err := local.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &ingests{disk, dir}
	random := rand.New(rand.NewPCG(1, 2))
	for i, size := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3*pieceSize + 7, 20 * pieceSize} {
		body := make([]byte, size)
		for k := range body {
			body[k] = byte(random.Uint32())
		}
		ref := digest.FromBytes([]byte{byte(i)}).String()
		w, err := s.Writer(t.Context(), content.WithRef(ref))
		if err != nil {
			t.Fatal(err)
		}
		for rest := body; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(2*pieceSize))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			if i%2 == 1 { // what is asked in between is answered of all that was written
				if st, err := w.Status(); err != nil || st.Offset != int64(size-len(rest)) {
					t.Fatalf("offset %d of %d: %v", st.Offset, size-len(rest), err)
				}
			}
		}
		want := digest.FromBytes(body)
		if got := w.Digest(); got != want {
			t.Fatalf("size %d: digest %s, want %s", size, got, want)
		}
		if err := w.Commit(t.Context(), int64(size), want); err != nil {
			t.Fatal(err)
		}
		got, err := content.ReadBlob(t.Context(), s, imagespec.Descriptor{Digest: want, Size: int64(size)})
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("size %d: %d bytes, %v", size, len(got), err)
		}
	}
}

// TestIngestResumes closes a writer in the middle and goes on with another.
func TestIngestResumes(t *testing.T) {
	dir := t.TempDir()
	disk, err := local.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &ingests{disk, dir}
	body := bytes.Repeat([]byte("0123456789"), pieceSize/3)
	for _, part := range [][]byte{body[:2*pieceSize+5], body[2*pieceSize+5:]} {
		w, err := s.Writer(t.Context(), content.WithRef("resumed"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w, err := s.Writer(t.Context(), content.WithRef("resumed"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), int64(len(body)), digest.FromBytes(body)); err != nil {
		t.Fatal(err)
	}
}

var errFull = errors.New("full")

// fullStore has room for some bytes.
type fullStore struct {
	content.Store
	room int
}

func (s *fullStore) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := s.Store.Writer(ctx, opts...)
	return &fullWriter{w, s.room}, err
}

type fullWriter struct {
	content.Writer
	room int
}

func (w *fullWriter) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, errFull
	}
	return w.Writer.Write(p)
}

// TestIngestFails holds that an error is told, whenever it comes, and nothing is
// committed after it.
func TestIngestFails(t *testing.T) {
	dir := t.TempDir()
	disk, err := local.NewStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []int{0, 1, pieceSize, 5 * pieceSize, 9*pieceSize + 1} {
		s := &ingests{&fullStore{disk, room}, dir}
		w, err := s.Writer(t.Context(), content.WithRef("fails"))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Truncate(0); err != nil {
			t.Fatal(err)
		}
		for range 10*pieceSize/4096 + 1 {
			if _, err = w.Write(make([]byte, 4096)); err != nil {
				break
			}
		}
		if err == nil {
			err = w.Commit(t.Context(), 0, "")
		}
		if !errors.Is(err, errFull) {
			t.Errorf("room for %d: %v", room, err)
		}
		if err := w.Commit(t.Context(), 0, ""); !errors.Is(err, errFull) {
			t.Errorf("room for %d: commit after the error: %v", room, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}
