package server

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"skiff.dev/skiff/engine/monitor/wire"
)

// TestReplyWithClosedTerminal: a reply arrives, whether the terminal that goes with it
// is open, closed, or closed just now.
func TestReplyWithClosedTerminal(t *testing.T) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for round := range 300 {
		client, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		if round%3 == 1 {
			r.Close()
		} else if round%3 == 2 {
			go r.Close()
		}
		sendWith(server, &wire.Reply{Kind: "x"}, r)
		var got wire.Reply
		fds, err := wire.Recv(client, &got)
		if err != nil || got.Kind != "x" || (round%3 == 0) != (len(fds) == 1) && round%3 != 2 {
			t.Fatalf("round %d: %v, %+v with %d files", round, err, got, len(fds))
		}
		wire.CloseAll(fds)
		r.Close()
		client.Close()
		server.Close()
	}
}
