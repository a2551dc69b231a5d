package network

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"skiff.dev/skiff/kernel/namespace"
	"skiff.dev/skiff/kernel/netns"
)

func TestDialPodReachesItsLoopback(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	dir := filepath.Join(t.TempDir(), "ns")
	if err := namespace.Pin(dir, namespace.Spec{Net: true}); err != nil {
		t.Fatal(err)
	}
	defer namespace.Unpin(dir)
	path := filepath.Join(dir, namespace.Net)
	space, err := netns.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	for _, at := range []string{"127.0.0.1:7171", "[::1]:7172"} {
		var l net.Listener
		err := space.Do(func() (err error) {
			l, err = net.Listen("tcp", at)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				io.WriteString(c, at)
				c.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(at)
		c, err := (&Network{}).DialPod(t.Context(), "uid", path, "tcp", net.JoinHostPort("localhost", port))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		c.Close()
		if string(got) != at || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if c, err := (&Network{}).DialPod(t.Context(), "uid", path, "tcp", "localhost:7173"); err == nil {
		c.Close()
		t.Error("something listens on 7173")
	}
	for _, bad := range []string{"localhost", "example.org:80"} {
		if _, err := (&Network{}).DialPod(t.Context(), "uid", path, "tcp", bad); err == nil {
			t.Errorf("%s was dialled", bad)
		}
	}
}
