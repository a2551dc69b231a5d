// Package netnstest serves and asks in network namespaces, for tests of who reaches
// whom and as whom.
package netnstest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/kernel/netns"
)

// Serve answers each TCP connection and each UDP packet on the port with a line: the
// name, and where the client seems to be. What a TCP client says it gets back.
func Serve(t testing.TB, ns *netns.Namespace, port int, name string) {
	t.Helper()
	addr := fmt.Sprintf(":%d", port)
	var l net.Listener
	var u net.PacketConn
	err := ns.Do(func() (err error) {
		if l, err = net.Listen("tcp", addr); err == nil {
			u, err = net.ListenPacket("udp", addr)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); u.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s\n", name, Host(c.RemoteAddr()))
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := u.ReadFrom(buf)
			if err != nil {
				return
			}
			u.WriteTo(fmt.Appendf(nil, "%s %s\n", name, Host(from)), from)
		}
	}()
}

// Ask connects from ns and returns what the server says: its name and the client.
// It waits for so long.
func Ask(ns *netns.Namespace, network, to string, long time.Duration) (server, client string, err error) {
	c, err := Dial(ns, network, to, long)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	if network == "udp" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", "", err
		}
	}
	c.SetReadDeadline(time.Now().Add(long))
	line, err := bufio.NewReader(c).ReadString('\n')
	server, client, _ = strings.Cut(strings.TrimSpace(line), " ")
	return server, client, err
}

// Dial connects from ns.
func Dial(ns *netns.Namespace, network, to string, long time.Duration) (c net.Conn, err error) {
	err = ns.Do(func() error {
		c, err = net.DialTimeout(network, to, long)
		return err
	})
	return c, err
}

// Host is the address without the port.
func Host(a net.Addr) string { h, _, _ := net.SplitHostPort(a.String()); return h }
