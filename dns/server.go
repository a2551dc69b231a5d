// Package dns answers the cluster's names on every node: services, their
// endpoints and pods from the API's cache, by the specification of DNS-based
// service discovery (version 1.1) and, where that leaves a choice, as CoreDNS'
// kubernetes plugin does. All other names go to the machine's own resolvers. It
// reads Services, EndpointSlices and Namespaces, and writes nothing; network makes
// the address that it listens on.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/telemetry"
)

// Options of a server.
type Options struct {
	Cache  cache.Cache
	Domain string // "cluster.local" where empty
	// Listen are addresses with port, each served over UDP and TCP.
	Listen []string
	// ResolvConf names the resolvers for other names; "/etc/resolv.conf" where empty.
	ResolvConf string
	Telemetry  *telemetry.Telemetry
}

// Server answers names.
type Server struct {
	o       Options
	index   *index
	zone    zone
	forward *forwarder
}

// New returns a server that knows no names before Run.
func New(o Options) *Server {
	if o.Domain == "" {
		o.Domain = "cluster.local"
	}
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	var own []string
	for _, l := range o.Listen {
		if host, _, err := net.SplitHostPort(l); err == nil {
			own = append(own, host)
		}
	}
	x := newIndex()
	return &Server{o: o, index: x, zone: zone{domain: dns.Fqdn(strings.ToLower(o.Domain)), x: x}, forward: newForwarder(o.ResolvConf, own)}
}

// Run follows the cluster and answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	if err := s.follow(ctx); err != nil {
		return err
	}
	errs := make(chan error, 2*len(s.o.Listen))
	var servers []*dns.Server
	defer func() {
		for _, srv := range servers {
			_ = srv.Shutdown()
		}
	}()
	for _, address := range s.o.Listen {
		udp, err := net.ListenPacket("udp", address)
		if err != nil {
			return fmt.Errorf("dns: %w", err)
		}
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			udp.Close()
			return fmt.Errorf("dns: %w", err)
		}
		for _, srv := range []*dns.Server{{PacketConn: udp, UDPSize: 4096}, {Listener: tcp}} {
			srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.serve(ctx, w, m) })
			servers = append(servers, srv)
			go func() { errs <- srv.ActivateAndServe() }()
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-errs:
		return fmt.Errorf("dns: %w", err)
	}
}

// follow keeps the index up to date with the cache; it returns when all that
// exists now is in it.
func (s *Server) follow(ctx context.Context) error {
	synced := []toolscache.InformerSynced{}
	for _, f := range []struct {
		object crclient.Object
		change func(obj any, gone bool)
	}{
		{&corev1.Namespace{}, func(obj any, gone bool) { s.index.setNamespace(obj.(*corev1.Namespace).Name, !gone) }},
		{&corev1.Service{}, func(obj any, gone bool) {
			svc := obj.(*corev1.Service)
			if gone {
				s.index.setService(svc.Namespace, svc.Name, nil)
				return
			}
			s.index.setService(svc.Namespace, svc.Name, svc)
		}},
		{&discoveryv1.EndpointSlice{}, func(obj any, gone bool) { s.index.setSlice(obj.(*discoveryv1.EndpointSlice), gone) }},
	} {
		informer, err := s.o.Cache.GetInformer(ctx, f.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("dns: follow %T: %w", f.object, err)
		}
		reg, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { f.change(obj, false) },
			UpdateFunc: func(_, obj any) { f.change(obj, false) },
			DeleteFunc: func(obj any) {
				if d, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
					obj = d.Obj
				}
				f.change(obj, true)
			},
		})
		if err != nil {
			return fmt.Errorf("dns: follow %T: %w", f.object, err)
		}
		synced = append(synced, reg.HasSynced)
	}
	if !toolscache.WaitForCacheSync(ctx.Done(), synced...) && ctx.Err() == nil {
		return errors.New("dns: the cache did not fill")
	}
	return nil
}

// serve answers one message.
func (s *Server) serve(ctx context.Context, w dns.ResponseWriter, m *dns.Msg) {
	network := "udp"
	if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
		network = "tcp"
	}
	reply := s.reply(ctx, m, network)
	if network == "udp" {
		reply.Truncate(sizeFor(m))
	}
	if err := w.WriteMsg(reply); err != nil {
		s.o.Telemetry.Log.Debug("dns: write an answer", "err", err)
	}
}

// sizeFor is how large an answer over UDP the client takes (RFC 6891).
func sizeFor(m *dns.Msg) int {
	if opt := m.IsEdns0(); opt != nil && opt.UDPSize() > dns.MinMsgSize {
		return min(int(opt.UDPSize()), 4096)
	}
	return dns.MinMsgSize
}

// reply decides the answer to m.
func (s *Server) reply(ctx context.Context, m *dns.Msg, network string) *dns.Msg {
	if m.Response || m.Opcode != dns.OpcodeQuery {
		return new(dns.Msg).SetRcode(m, dns.RcodeNotImplemented)
	}
	if len(m.Question) != 1 {
		return new(dns.Msg).SetRcode(m, dns.RcodeFormatError)
	}
	q := m.Question[0]
	if q.Qclass == dns.ClassINET && s.zone.covers(q.Name) {
		return s.own(ctx, m, s.zone.answer(q), network)
	}
	if r, ok := s.zone.reverse(q); ok && q.Qclass == dns.ClassINET {
		return s.own(ctx, m, r, network)
	}
	reply, err := s.forward.ask(ctx, m, network)
	if err != nil {
		return new(dns.Msg).SetRcode(m, dns.RcodeServerFailure)
	}
	return reply
}

// own makes an answer of the cluster's own knowledge.
func (s *Server) own(ctx context.Context, m *dns.Msg, r result, network string) *dns.Msg {
	reply := new(dns.Msg).SetReply(m)
	reply.Authoritative = true
	reply.RecursionAvailable = true
	reply.Answer, reply.Extra = r.answers, r.extra
	switch {
	case !r.exists:
		reply.Rcode = dns.RcodeNameError
		reply.Ns = []dns.RR{s.zone.soa()}
	case len(r.answers) == 0:
		reply.Ns = []dns.RR{s.zone.soa()}
	case r.alias != "":
		reply.Answer = append(reply.Answer, s.behind(ctx, r.alias, m.Question[0].Qtype, network)...)
	}
	if opt := m.IsEdns0(); opt != nil {
		reply.SetEdns0(4096, opt.Do())
	}
	return reply
}

// behind finds the addresses of an alias, in the cluster or upstream; none is no
// failure, the client has the alias.
func (s *Server) behind(ctx context.Context, name string, qtype uint16, network string) []dns.RR {
	q := new(dns.Msg).SetQuestion(name, qtype)
	if s.zone.covers(name) {
		r := s.zone.answer(q.Question[0])
		return r.answers // one step only: an alias of an alias in the cluster is the client's to follow
	}
	reply, err := s.forward.ask(ctx, q, network)
	if err != nil {
		return nil
	}
	return reply.Answer
}
