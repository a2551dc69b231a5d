package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// nameTTL of what networks know themselves, in seconds, as Docker's.
	nameTTL = 600
	// forwardPatience is how long one server may take.
	forwardPatience = 4 * time.Second
	// maxForwards bounds the questions of one container that wait for other servers.
	maxForwards = 256
)

// resolver answers what one container asks at 127.0.0.11. inside dials from the
// container's namespace.
type resolver interface {
	resolve(ctx context.Context, q *dns.Msg, network string, inside dialer) *dns.Msg
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// names is the resolver of a container: it sees the networks that the container is
// in, as they are when it is asked.
type names struct {
	m       *Manager
	s       *sandbox
	waiting chan struct{} // has room for a forward
}

// serveNames answers DNS for a container in users' networks. s is locked.
func (m *Manager) serveNames(s *sandbox) error {
	if !s.embedded() {
		m.stopNames(s.Container)
		return nil
	}
	return m.machine.serve(&s.record, &names{m, s, make(chan struct{}, maxForwards)})
}

func (m *Manager) stopNames(container string) { m.machine.unserve(container) }

func (r *names) resolve(ctx context.Context, q *dns.Msg, network string, inside dialer) *dns.Msg {
	reply := r.answer(ctx, q, network, inside)
	size := dns.MinMsgSize
	if network == "tcp" {
		size = dns.MaxMsgSize
	} else if o := q.IsEdns0(); o != nil {
		size = max(size, int(o.UDPSize()))
	}
	reply.Truncate(size)
	return reply
}

func (r *names) answer(ctx context.Context, q *dns.Msg, network string, inside dialer) *dns.Msg {
	reply := new(dns.Msg).SetReply(q)
	if q.Response || q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 {
		reply.Rcode = dns.RcodeFormatError
		return reply
	}
	ask := q.Question[0]
	reply.RecursionAvailable = true
	if ask.Qclass == dns.ClassINET {
		if rrs, known := r.local(ask); known {
			reply.Answer = rrs
			return reply
		}
	}
	servers, outside := r.servers()
	if outside {
		inside = (&net.Dialer{}).DialContext
	}
	select {
	case r.waiting <- struct{}{}:
		defer func() { <-r.waiting }()
	default:
		reply.Rcode = dns.RcodeRefused
		return reply
	}
	for _, s := range servers {
		if got, err := exchange(ctx, q, network, netip.AddrPortFrom(s, 53).String(), inside); err == nil {
			return got
		}
	}
	reply.Rcode = dns.RcodeServerFailure
	return reply
}

// exchange asks one server.
func exchange(ctx context.Context, q *dns.Msg, network, server string, dial dialer) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardPatience)
	defer cancel()
	conn, err := dial(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c := dns.Client{Net: network, Timeout: forwardPatience, UDPSize: dns.MaxMsgSize}
	out := q.Copy()
	out.Id = dns.Id()
	reply, _, err := c.ExchangeWithConnContext(ctx, out, &dns.Conn{Conn: conn, UDPSize: dns.MaxMsgSize})
	if err != nil {
		return nil, err
	}
	if reply.Id != out.Id || !reply.Response || len(reply.Question) != 1 || reply.Question[0].Qtype != q.Question[0].Qtype ||
		!strings.EqualFold(reply.Question[0].Name, q.Question[0].Name) {
		return nil, errors.New("the answer is to another question")
	}
	reply.Id = q.Id
	return reply, nil
}

// servers are those that know what the networks do not: none for a container that has
// no way to the outside. They are asked from inside the container where it named them
// itself.
func (r *names) servers() (servers []netip.Addr, outside bool) {
	r.m.mu.Lock()
	way := r.s.gateway(true) != nil || r.s.gateway(false) != nil
	r.m.mu.Unlock()
	switch {
	case !way:
		return nil, false
	case len(r.s.DNS) > 0:
		return r.s.DNS, false
	}
	c, err := readResolvConf(resolvConfs[:1])
	if err != nil {
		return nil, false // answered as a failure of the server
	}
	return c.servers, true
}

// local answers from the container's networks; known is false for what they do not
// know.
func (r *names) local(q dns.Question) (rrs []dns.RR, known bool) {
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if a, ok := reverseAddress(name); ok {
		to := r.pointer(a)
		if to == "" {
			return nil, false
		}
		if q.Qtype == dns.TypePTR {
			rrs = append(rrs, &dns.PTR{Hdr: header(q, dns.TypePTR), Ptr: dns.Fqdn(to)})
		}
		return rrs, true
	}
	found := r.find(name)
	for _, a := range found {
		if q.Qtype == dns.TypeA && a.IPv4.IsValid() {
			rrs = append(rrs, &dns.A{Hdr: header(q, dns.TypeA), A: a.IPv4.Addr().AsSlice()})
		}
		if q.Qtype == dns.TypeAAAA && a.IPv6.IsValid() {
			rrs = append(rrs, &dns.AAAA{Hdr: header(q, dns.TypeAAAA), AAAA: a.IPv6.Addr().AsSlice()})
		}
	}
	rand.Shuffle(len(rrs), func(i, j int) { rrs[i], rrs[j] = rrs[j], rrs[i] })
	return rrs, len(found) > 0
}

func header(q dns.Question, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: q.Name, Rrtype: t, Class: dns.ClassINET, Ttl: nameTTL}
}

// find lists who has the name in the first of the container's networks that knows it:
// by a link of the container's, by a name, or by name.network. m.mu is held.
func (r *names) find(name string) []*Attachment {
	for _, c := range r.s.byPriority() {
		n := r.m.networks[c.NetworkID]
		if n == nil || c.DNSNames == nil {
			continue
		}
		here := name
		if before, ok := strings.CutSuffix(name, "."+strings.ToLower(n.Name)); ok {
			here = before
		}
		if found := r.in(n, c, here); len(found) > 0 {
			return found
		}
		if found := r.in(n, c, name); here != name && len(found) > 0 {
			return found
		}
	}
	return nil
}

func (r *names) in(n *network, c *end, name string) []*Attachment {
	for _, l := range c.Links {
		if strings.EqualFold(l.Alias, name) {
			if a := r.m.linked(n.ID, l.Container); a != nil {
				return []*Attachment{a}
			}
		}
	}
	var out []*Attachment
	for _, a := range n.endpoints {
		if slices.ContainsFunc(a.DNSNames, func(s string) bool { return strings.EqualFold(s, name) }) {
			out = append(out, a)
		}
	}
	return out
}

// byPriority orders the connections as gateways are chosen: what the first network
// says holds. One of the Manager's locks is held.
func (s *sandbox) byPriority() []*end {
	out := slices.Clone(s.Ends)
	slices.SortStableFunc(out, func(a, b *end) int {
		if a.Priority != b.Priority {
			return b.Priority - a.Priority
		}
		return strings.Compare(a.NetworkName, b.NetworkName)
	})
	return out
}

// pointer is the name that an address in one of the container's networks leads to.
func (r *names) pointer(a netip.Addr) string {
	for _, c := range r.s.Ends {
		n := r.m.networks[c.NetworkID]
		if n == nil || c.DNSNames == nil {
			continue
		}
		for _, e := range n.endpoints {
			if (e.IPv4.Addr() == a || e.IPv6.Addr() == a) && len(e.DNSNames) > 0 {
				return e.DNSNames[0] + "." + n.Name
			}
		}
	}
	return ""
}

// reverseAddress reads a name below in-addr.arpa or ip6.arpa.
func reverseAddress(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(digits, ".")
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa")
	parts := strings.Split(digits, ".")
	if !ok || len(parts) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(parts)
	var b strings.Builder
	for i, p := range parts {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		b.WriteString(p)
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil && a.Is6()
}
