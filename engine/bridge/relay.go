package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"skiff.dev/skiff/kernel/netns"
)

const (
	// relayPatience is how long a container may take to accept a connection.
	relayPatience = 10 * time.Second
	// talkPatience is how long nothing may pass between a UDP client and a container
	// until they are strangers again, as Docker's.
	talkPatience = 90 * time.Second
	// maxTalks bounds the UDP clients of one port.
	maxTalks = 1024
)

// relay holds a port of the host for a container: no program of the host can have it,
// and who comes to it by a way that the kernel's tables do not turn is served by this
// process: [::1] and other addresses of the family that the container does not have,
// and clients by interfaces without a turn.
type relay struct {
	b  Binding
	ns *netns.Namespace
	to atomic.Pointer[netip.AddrPort]

	tcp    net.Listener
	udp    *net.UDPConn
	mu     sync.Mutex
	closed bool
	open   map[net.Conn]bool
	talks  map[netip.AddrPort]net.Conn
}

// newRelay opens the port. A family or protocol that the machine does not have is no
// error: nobody can come by it.
func newRelay(b Binding, ns *netns.Namespace) (*relay, error) {
	r := &relay{b: b, ns: ns, open: map[net.Conn]bool{}, talks: map[netip.AddrPort]net.Conn{}}
	if err := r.inside(r.listen); err != nil {
		if errors.Is(err, unix.EAFNOSUPPORT) || (b.HostIP.Is6() && b.HostIP.IsUnspecified() && errors.Is(err, unix.EADDRNOTAVAIL)) {
			return r, nil
		}
		var sys unix.Errno
		why := err.Error()
		if errors.As(err, &sys) {
			why = sys.Error()
		}
		return nil, failed("failed to bind host port %s/%s: %s", netip.AddrPortFrom(b.HostIP, b.HostPort), b.Protocol, why)
	}
	if r.tcp != nil {
		go r.accept()
	}
	if r.udp != nil {
		go r.receive()
	}
	return r, nil
}

func (r *relay) inside(f func() error) error {
	if r.ns == nil {
		return f()
	}
	return r.ns.Do(f)
}

func (r *relay) listen() error {
	family := "4"
	if r.b.HostIP.Is6() {
		family = "6"
	}
	at := netip.AddrPortFrom(r.b.HostIP, r.b.HostPort)
	switch r.b.Protocol {
	case TCP:
		l, err := net.Listen("tcp"+family, at.String())
		r.tcp = l
		return err
	case UDP:
		c, err := net.ListenUDP("udp"+family, net.UDPAddrFromAddrPort(at))
		r.udp = c
		return err
	}
	return nil // sctp is the kernel's alone
}

// lead names the container's address.
func (r *relay) lead(to netip.AddrPort) { r.to.Store(&to) }

func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.tcp != nil {
		r.tcp.Close()
	}
	if r.udp != nil {
		r.udp.Close()
	}
	for c := range r.open {
		c.Close()
	}
	for _, c := range r.talks {
		c.Close()
	}
}

// keep notes a connection to be closed with the relay; done forgets and closes it.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return false
	}
	r.open[c] = true
	return true
}

func (r *relay) done(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
	c.Close()
}

// dial connects to the container.
func (r *relay) dial(network string) (c net.Conn, err error) {
	to := r.to.Load()
	if to == nil {
		return nil, errors.New("the port leads nowhere yet")
	}
	ctx, cancel := context.WithTimeout(context.Background(), relayPatience)
	defer cancel()
	err = r.inside(func() error {
		c, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, to.String())
		return err
	})
	return c, err
}

func (r *relay) accept() {
	for {
		c, err := r.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the client has gone, or there is no room for it
		}
		go r.carry(c.(*net.TCPConn))
	}
}

// carry copies both ways until both ends have ended.
func (r *relay) carry(client *net.TCPConn) {
	if !r.keep(client) {
		return
	}
	defer r.done(client)
	c, err := r.dial("tcp")
	if err != nil {
		client.SetLinger(0) // a reset tells the client that nobody is there
		return
	}
	server := c.(*net.TCPConn)
	if !r.keep(server) {
		return
	}
	defer r.done(server)
	var wg sync.WaitGroup
	one := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			to.SetLinger(0)
			to.Close()
			return
		}
		to.CloseWrite()
	}
	wg.Go(func() { one(server, client) })
	one(client, server)
	wg.Wait()
}

func (r *relay) receive() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier packet
		}
		if c, err := r.talk(from); err == nil {
			c.Write(buf[:n]) // lost like any packet
		}
	}
}

// talk is the way of a UDP client to the container.
func (r *relay) talk(client netip.AddrPort) (net.Conn, error) {
	r.mu.Lock()
	c, full := r.talks[client], len(r.talks) >= maxTalks
	r.mu.Unlock()
	if c != nil {
		return c, nil
	}
	if full {
		return nil, fmt.Errorf("more than %d clients", maxTalks)
	}
	c, err := r.dial("udp")
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	r.talks[client] = c
	go r.back(client, c)
	return c, nil
}

// back carries the container's answers until none comes for a while.
func (r *relay) back(client netip.AddrPort, c net.Conn) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.talks, client)
		c.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		if err := c.SetReadDeadline(time.Now().Add(talkPatience)); err != nil {
			return
		}
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := r.udp.WriteToUDPAddrPort(buf[:n], client); err != nil {
			return
		}
	}
}
