package network

import (
	"context"
	"errors"
	"fmt"
	"net"

	"skiff.dev/skiff/kernel/netns"
)

// DialPod connects to address as the pod itself would: from inside the namespace
// that is pinned at ns, so that what listens on the pod's loopback alone is reached.
// Of "localhost" the IPv4 loopback is tried first and then the IPv6 one, as
// containerd does for port-forward. Names of any other kind are not resolved.
func (n *Network) DialPod(ctx context.Context, _, ns, proto, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial in pod: %w", err)
	}
	hosts := []string{host}
	if host == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	for _, h := range hosts {
		if net.ParseIP(h) == nil {
			return nil, fmt.Errorf("dial in pod: %q is no address", h)
		}
	}
	space, err := netns.Open(ns)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	var conn net.Conn
	err = space.Do(func() error {
		var errs []error
		for _, h := range hosts {
			// A literal address is dialled on this very thread: the socket is made in
			// the namespace and stays in it.
			c, err := (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, proto, net.JoinHostPort(h, port))
			if err == nil {
				conn = c
				return nil
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return conn, err
}
