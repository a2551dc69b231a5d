package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// specVersion is the version of the specification that the names follow:
// https://github.com/kubernetes/dns/blob/master/docs/specification.md
const specVersion = "1.1.0"

// ttl of all records of the cluster, in seconds.
const ttl = 5

// zone answers questions about the cluster's names from an index.
type zone struct {
	domain string // "cluster.local."
	x      *index
}

// result is what is known about a question.
type result struct {
	answers, extra []dns.RR
	exists         bool // the name does, whatever records it has
	// alias is where an ExternalName leads: to be asked upstream for the rest.
	alias string
}

// covers tells whether the name lies in the cluster's domain.
func (z *zone) covers(name string) bool {
	return dns.IsSubDomain(z.domain, name)
}

// answer looks up a question within the cluster's domain.
func (z *zone) answer(q dns.Question) result {
	name := strings.ToLower(q.Name)
	if name == z.domain {
		return z.apex(q)
	}
	labels := strings.Split(strings.TrimSuffix(name, "."+z.domain), ".")
	z.x.mu.RLock()
	defer z.x.mu.RUnlock()
	last := len(labels) - 1
	switch {
	case last == 0 && labels[0] == "dns-version":
		r := result{exists: true}
		if q.Qtype == dns.TypeTXT || q.Qtype == dns.TypeANY {
			r.answers = []dns.RR{&dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: []string{specVersion}}}
		}
		return r
	case last == 0 && (labels[0] == "svc" || labels[0] == "pod"):
		return result{exists: true}
	case labels[last] == "svc":
		return z.service(q, labels[:last])
	case labels[last] == "pod":
		return z.pod(q, labels[:last])
	}
	return result{}
}

// apex answers for the domain itself.
func (z *zone) apex(q dns.Question) result {
	r := result{exists: true}
	switch q.Qtype {
	case dns.TypeSOA:
		r.answers = []dns.RR{z.soa()}
	case dns.TypeNS:
		r.answers = []dns.RR{&dns.NS{Hdr: header(q.Name, dns.TypeNS), Ns: "kube-dns.kube-system.svc." + z.domain}}
	}
	return r
}

// service answers for [[host.]|[_port._proto.]]name.namespace.
func (z *zone) service(q dns.Question, labels []string) result {
	ns := labels[len(labels)-1]
	if len(labels) == 1 {
		return result{exists: z.x.namespaces[ns]}
	}
	k := key{ns, labels[len(labels)-2]}
	e := z.x.entries[k]
	if e == nil {
		return result{}
	}
	switch below := labels[:len(labels)-2]; {
	case e.external != "":
		if len(below) > 0 {
			return result{}
		}
		return externalName(q, e)
	case len(below) == 0:
		return z.wholeService(q, k, e)
	case len(below) == 1 && e.headless():
		return host(q, e, below[0])
	case len(below) == 2 && strings.HasPrefix(below[0], "_") && strings.HasPrefix(below[1], "_"):
		return z.portOf(q, k, e, below[0][1:], below[1][1:])
	}
	return result{}
}

func externalName(q dns.Question, e *entry) result {
	target := dns.Fqdn(e.external)
	if a, err := netip.ParseAddr(e.external); err == nil {
		return addresses(q, []netip.Addr{a})
	}
	if _, ok := dns.IsDomainName(target); !ok {
		return result{exists: true}
	}
	switch q.Qtype {
	case dns.TypeA, dns.TypeAAAA, dns.TypeCNAME:
	default:
		return result{exists: true}
	}
	r := result{exists: true, answers: []dns.RR{&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: target}}}
	if q.Qtype != dns.TypeCNAME {
		r.alias = target
	}
	return r
}

func (z *zone) wholeService(q dns.Question, k key, e *entry) result {
	if q.Qtype == dns.TypeSRV {
		r := z.srv(q, k, e, func(port) bool { return true })
		r.exists = true
		return r
	}
	if !e.headless() {
		return addresses(q, e.addresses)
	}
	var all []netip.Addr
	for _, ep := range e.endpoints {
		if !slices.Contains(all, ep.addr) {
			all = append(all, ep.addr)
		}
	}
	r := addresses(q, all)
	// A headless service without endpoints has no name (CoreDNS answers NXDOMAIN).
	r.exists = len(all) > 0
	return r
}

// host answers for one endpoint of a headless service.
func host(q dns.Question, e *entry, label string) result {
	var all []netip.Addr
	for _, ep := range e.endpoints {
		if ep.host == label {
			all = append(all, ep.addr)
		}
	}
	if len(all) == 0 {
		return result{}
	}
	return addresses(q, all)
}

// portOf answers for _port._protocol.
func (z *zone) portOf(q dns.Question, k key, e *entry, name, protocol string) result {
	fits := func(p port) bool { return p.name == name && p.protocol == protocol }
	r := z.srv(q, k, e, fits)
	r.exists = len(r.answers) > 0
	if q.Qtype != dns.TypeSRV {
		r.answers, r.extra = nil, nil
	}
	return r
}

// srv lists the ports that fit, and the addresses of their targets.
func (z *zone) srv(q dns.Question, k key, e *entry, fits func(port) bool) result {
	var r result
	base := k.name + "." + k.namespace + ".svc." + z.domain
	add := func(target string, p port) {
		r.answers = append(r.answers, &dns.SRV{Hdr: header(q.Name, dns.TypeSRV), Weight: 100, Port: p.number, Target: target})
	}
	for _, p := range e.ports {
		if len(e.addresses) > 0 && fits(p) {
			add(base, p)
		}
	}
	if len(r.answers) > 0 {
		for _, a := range e.addresses {
			r.extra = append(r.extra, record(base, a))
		}
	}
	for _, ep := range e.endpoints {
		target := ep.host + "." + base
		before := len(r.answers)
		for _, p := range ep.ports {
			if fits(p) {
				add(target, p)
			}
		}
		if len(r.answers) > before {
			r.extra = append(r.extra, record(target, ep.addr))
		}
	}
	if n := len(r.answers); n > 0 {
		for _, rr := range r.answers {
			rr.(*dns.SRV).Weight = uint16(max(100/n, 1))
		}
	}
	return r
}

// pod answers for a-b-c-d.namespace: the address that the name says, without
// looking whether a pod has it (CoreDNS' mode "insecure", which kubeadm sets).
func (z *zone) pod(q dns.Question, labels []string) result {
	ns := labels[len(labels)-1]
	if !z.x.namespaces[ns] {
		return result{}
	}
	if len(labels) == 1 {
		return result{exists: true}
	}
	if len(labels) > 2 {
		return result{}
	}
	text := strings.ReplaceAll(labels[0], "-", ".")
	if strings.Count(labels[0], "-") != 3 || strings.Contains(labels[0], "--") {
		text = strings.ReplaceAll(labels[0], "-", ":")
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return result{}
	}
	return addresses(q, []netip.Addr{a})
}

// reverse answers a reverse question; ok is false when no name of the cluster
// leads back to the address.
func (z *zone) reverse(q dns.Question) (r result, ok bool) {
	a, ok := reverseAddress(strings.ToLower(q.Name))
	if !ok {
		return result{}, false
	}
	z.x.mu.RLock()
	defer z.x.mu.RUnlock()
	names := z.x.pointers[a]
	if len(names) == 0 {
		return result{}, false
	}
	r.exists = true
	if q.Qtype != dns.TypePTR {
		return r, true
	}
	for _, n := range names {
		r.answers = append(r.answers, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: n + z.domain})
	}
	slices.SortFunc(r.answers, func(a, b dns.RR) int { return strings.Compare(a.(*dns.PTR).Ptr, b.(*dns.PTR).Ptr) })
	return r, true
}

// reverseAddress reads a name below in-addr.arpa or ip6.arpa.
func reverseAddress(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(digits, ".")
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil
	}
	digits, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(digits, ".")
	if len(parts) != 32 {
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
	return a, err == nil
}

// addresses are the A or AAAA records that the question asks for.
func addresses(q dns.Question, all []netip.Addr) result {
	r := result{exists: true}
	for _, a := range all {
		if a.Is4() && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY) || a.Is6() && (q.Qtype == dns.TypeAAAA || q.Qtype == dns.TypeANY) {
			r.answers = append(r.answers, record(q.Name, a))
		}
	}
	return r
}

func record(name string, a netip.Addr) dns.RR {
	if a.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA), A: a.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: a.AsSlice()}
}

func header(name string, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}

// soa goes with answers that say that there is nothing.
func (z *zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: header(z.domain, dns.TypeSOA), Ns: "ns.dns." + z.domain, Mbox: "hostmaster." + z.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl,
	}
}
