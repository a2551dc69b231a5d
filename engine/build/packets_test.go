package build

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/cache/contenthash"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// TestPacketPipe copies a tree through a pipe.
func TestPacketPipe(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	large := bytes.Repeat([]byte("0123456789"), 300_000)
	for name, body := range map[string][]byte{"a/b": []byte("b"), "empty": nil, "large": large, "z/y/x": large[:100_000]} {
		p := filepath.Join(from, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, body, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := fsutil.NewFS(from)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sender, receiver := packetPipe(ctx)
	sent := make(chan error, 1)
	go func() {
		err := fsutil.Send(ctx, sender, fs, nil)
		sender.close()
		sent <- err
	}()
	if err := errors.Join(fsutil.Receive(ctx, receiver, to, fsutil.ReceiveOpt{}), <-sent); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b", "empty", "large", "z/y/x"} {
		want, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d: %v", name, len(got), len(want), err)
		}
	}
}

// TestPacketPipeBreaks holds that nobody waits at a pipe whose context has ended.
func TestPacketPipeBreaks(t *testing.T) {
	why := errors.New("broken")
	ctx, cancel := context.WithCancelCause(t.Context())
	first, _ := packetPipe(ctx)
	cancel(why)
	var err error
	for range inFlight + 1 {
		err = first.SendMsg(&fstypes.Packet{Data: []byte("x")})
	}
	if !errors.Is(err, why) {
		t.Errorf("send: %v", err)
	}
	a, b := packetPipe(ctx)
	if err := b.RecvMsg(new(fstypes.Packet)); !errors.Is(err, why) {
		t.Errorf("receive: %v", err)
	}
	a.close()
	a.close()
}

// TestFileHash holds that a hash beside the writing is BuildKit's.
func TestFileHash(t *testing.T) {
	body := bytes.Repeat([]byte("abc"), besideFrom)
	st := &fstypes.Stat{Path: "f", Mode: 0o644, Size: int64(len(body))}
	want, err := contenthash.NewFromStat(st.Clone())
	if err != nil {
		t.Fatal(err)
	}
	want.Write(body)
	got, err := fileHasher(t.Context())(st.Clone())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.(*fileHash); !ok {
		t.Errorf("a file of %d bytes is hashed by %T", len(body), got)
	}
	for piece := body; len(piece) > 0; {
		n := min(len(piece), 32<<10)
		got.Write(piece[:n])
		piece = piece[n:]
	}
	if g, w := got.Sum(nil), want.Sum(nil); !bytes.Equal(g, w) {
		t.Errorf("%x, want %x", g, w)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, err = fileHasher(ctx)(st.Clone())
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range inFlight * 2 {
		_, err = got.Write(body[:1])
	}
	if err == nil {
		t.Error("a hash goes on after its context has ended")
	}
}
