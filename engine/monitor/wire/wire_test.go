package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFrames(t *testing.T) {
	want := Request{V: Version, Op: OpStart, Start: &Start{ID: "a", Runtime: Runtime{Args: []string{"x"}}}}
	b, err := Encode(&want)
	if err != nil {
		t.Fatal(err)
	}
	var got Request
	if err := Decode(bytes.NewReader(b), &got); err != nil || got.Start.ID != "a" {
		t.Fatalf("%+v %v", got, err)
	}
	if err := Decode(bytes.NewReader(b[:len(b)-1]), &got); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if err := Decode(bytes.NewReader(binary.BigEndian.AppendUint32(nil, MaxFrame+1)), &got); !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
	if _, err := Encode(strings.Repeat("x", MaxFrame)); !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
}

// TestFiles sends descriptors over a socket whose path is longer than an address
// holds.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	addr, d, err := Address(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ln, err := net.ListenUnix("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 1<<20)
	go func() {
		Send(c, &Request{Op: OpAttach, Path: big}, p[1])
		unix.Close(p[1])
	}()
	s, err := ln.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var r Request
	fds, err := Recv(s, &r)
	if err != nil || len(fds) != 1 || r.Path != big {
		t.Fatalf("%v %v", fds, err)
	}
	w, rd := os.NewFile(uintptr(fds[0]), "w"), os.NewFile(uintptr(p[0]), "r")
	defer rd.Close()
	w.WriteString("through")
	w.Close()
	if b, err := io.ReadAll(rd); err != nil || string(b) != "through" {
		t.Errorf("%q %v", b, err)
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := Encode(&Request{V: 1, Op: OpHello})
	f.Add(b)
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		var q Request
		var r Reply
		Decode(bytes.NewReader(b), &q)
		Decode(bytes.NewReader(b), &r)
	})
}
