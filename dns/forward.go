package dns

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// forwarder asks the machine's own resolvers what the cluster does not know.
type forwarder struct {
	resolvConf string
	// avoid are our own addresses: a machine that resolves by us would make a loop.
	avoid []string
	// slots bounds the questions under way; more are refused.
	slots chan struct{}
}

const (
	upstreamTimeout = 2 * time.Second
	maxUpstream     = 1000
)

var errNoUpstream = errors.New("dns: no upstream resolver answered")

func newForwarder(resolvConf string, avoid []string) *forwarder {
	return &forwarder{resolvConf: resolvConf, avoid: avoid, slots: make(chan struct{}, maxUpstream)}
}

// servers are the resolvers of now: the file may change.
func (f *forwarder) servers() []string {
	file, err := os.Open(f.resolvConf)
	if err != nil {
		return nil
	}
	defer file.Close()
	conf, err := dns.ClientConfigFromReader(file)
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range conf.Servers {
		if !slices.Contains(f.avoid, s) {
			out = append(out, net.JoinHostPort(s, conf.Port))
		}
	}
	return out
}

// ask sends m to one resolver after the other until one answers. network is the
// client's: who asks by TCP wants the whole answer.
func (f *forwarder) ask(ctx context.Context, m *dns.Msg, network string) (*dns.Msg, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return nil, errNoUpstream
	}
	var last *dns.Msg
	for _, server := range f.servers() {
		reply, err := exchange(ctx, m, network, server)
		if err != nil {
			continue
		}
		if reply.Rcode != dns.RcodeServerFailure && reply.Rcode != dns.RcodeRefused {
			return reply, nil
		}
		last = reply
	}
	if last == nil {
		return nil, errNoUpstream
	}
	return last, nil
}

func exchange(ctx context.Context, m *dns.Msg, network, server string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamTimeout)
	defer cancel()
	c := &dns.Client{Net: network, Timeout: upstreamTimeout, UDPSize: dns.MaxMsgSize}
	out := m.Copy()
	out.Id = dns.Id()
	reply, _, err := c.ExchangeContext(ctx, out, server)
	if err != nil {
		return nil, err
	}
	if reply.Id != out.Id || !reply.Response || !sameQuestion(reply, out) {
		return nil, errors.New("dns: the answer is to another question")
	}
	reply.Id = m.Id
	return reply, nil
}

func sameQuestion(a, b *dns.Msg) bool {
	return len(a.Question) == 1 && len(b.Question) == 1 && a.Question[0].Qtype == b.Question[0].Qtype &&
		strings.EqualFold(a.Question[0].Name, b.Question[0].Name)
}
