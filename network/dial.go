package network

import (
	"context"
	"errors"
	"net"

	"skiff.dev/skiff/kernel/netns"
)

// DialPod connects to an address from inside the pod's network namespace, so that
// "localhost" is the pod's own loopback. The connection outlives the call; ctx
// bounds the dialling alone.
func (n *Network) DialPod(ctx context.Context, _, ns, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	// Names are not looked up inside: a lookup, and a race between addresses, would
	// leave the thread that is in the namespace.
	hosts := []string{host}
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var conn net.Conn
	var failed error
	err = netns.Do(ns, func() error {
		for _, h := range hosts {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, net.JoinHostPort(h, port))
			if err == nil {
				conn = c
				return nil
			}
			failed = errors.Join(failed, err)
		}
		return failed
	})
	return conn, err
}
