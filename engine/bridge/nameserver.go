package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/miekg/dns"

	"skiff.dev/skiff/kernel/netns"
	"skiff.dev/skiff/kernel/nft"
)

// nameTable is the table in a container's namespace that leads the resolver's port 53
// to this process's sockets, whose own ports the container may have for itself.
const nameTable = "skiff-names"

// nameServer answers one container at 127.0.0.11, on sockets in its namespace.
type nameServer struct {
	ns      *netns.Namespace
	r       resolver
	ctx     context.Context
	cancel  context.CancelFunc
	servers []*dns.Server
}

// newNameServer listens in the namespace that is pinned at path. What an earlier
// process left there is replaced.
func newNameServer(path string, r resolver) (*nameServer, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	n := &nameServer{ns: ns, r: r}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	var udp net.PacketConn
	var tcp net.Listener
	err = ns.Do(func() (err error) {
		if udp, err = net.ListenPacket("udp4", resolverAddress+":0"); err == nil {
			tcp, err = net.Listen("tcp4", resolverAddress+":0")
		}
		return err
	})
	if err == nil {
		err = lead(ns, udp.LocalAddr().(*net.UDPAddr).Port, tcp.Addr().(*net.TCPAddr).Port)
	}
	if err != nil {
		if udp != nil {
			udp.Close()
		}
		if tcp != nil {
			tcp.Close()
		}
		n.cancel()
		return nil, errors.Join(err, ns.Close())
	}
	n.serve(&dns.Server{PacketConn: udp, UDPSize: dns.MaxMsgSize}, "udp")
	n.serve(&dns.Server{Listener: tcp}, "tcp")
	return n, nil
}

// lead redirects port 53.
func lead(ns *netns.Namespace, udp, tcp int) error {
	c, err := nft.Open(ns)
	if err != nil {
		return err
	}
	tx := nft.NewTx(nameTable)
	tx.Replace()
	tx.AddChain(nft.Chain{Name: "ask", Type: "nat", Hook: "output", Priority: -100})
	tx.AddRule("ask", fmt.Sprintf("ip daddr %s meta l4proto udp th dport 53 dnat to %s:%d", resolverAddress, resolverAddress, udp))
	tx.AddRule("ask", fmt.Sprintf("ip daddr %s meta l4proto tcp th dport 53 dnat to %s:%d", resolverAddress, resolverAddress, tcp))
	err = c.Apply(tx)
	// Closing waits until the kernel has put away what the transaction replaced, which
	// takes it longer than all else here.
	go c.Close() //nolint:errcheck // it is applied, or the error is told
	return err
}

func (n *nameServer) serve(s *dns.Server, network string) {
	started := make(chan struct{})
	s.NotifyStartedFunc = func() { close(started) }
	s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(n.r.resolve(n.ctx, q, network, n.dial)) // lost like any packet: the client asks again
	})
	n.servers = append(n.servers, s)
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	select { // Shutdown needs one that has started
	case <-started:
	case <-done:
	}
}

// dial connects from inside.
func (n *nameServer) dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = n.ns.Do(func() error {
		c, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

func (n *nameServer) close() {
	n.cancel()
	for _, s := range n.servers {
		_ = s.Shutdown() // fails where it is down already
	}
	n.ns.Close()
}
