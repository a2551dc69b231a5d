package authn

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/recent"
)

// ProxyHeaders name the headers in which a front proxy tells who asks, as the flags
// --requestheader-* give them.
type ProxyHeaders struct {
	Names         []string // the first that has a value counts
	UIDs          []string // as above
	Groups        []string // all values of all
	ExtraPrefixes []string
}

// FrontProxy authenticates requests that a proxy in front has authenticated: the
// proxy shows a client certificate of its own authority and tells the user in
// headers. Headers of anybody else mean nothing
// (authentication/request/headerrequest).
type FrontProxy struct {
	headers ProxyHeaders
	allowed []string // common names; empty allows every certificate of the authority
	roots   func() *x509.CertPool
	now     func() time.Time
	seen    *recent.Map[string, verifiedUntil]
}

type verifiedUntil struct {
	roots *x509.CertPool
	until time.Time
}

// NewFrontProxy trusts what roots holds at the time of a request. now may be nil.
func NewFrontProxy(h ProxyHeaders, allowed []string, roots func() *x509.CertPool, now func() time.Time) *FrontProxy {
	if now == nil {
		now = time.Now
	}
	return &FrontProxy{h, allowed, roots, now, recent.New[string, verifiedUntil](64)}
}

// Authenticate implements auth.Authenticator. The headers are removed from a
// request that they authenticate.
func (p *FrontProxy) Authenticate(r *http.Request) (*auth.User, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	name := firstHeader(r.Header, p.headers.Names)
	if name == "" {
		return nil, false, nil // most certificates are their owners' own
	}
	if err := p.verify(r.TLS.PeerCertificates); err != nil {
		return nil, false, err
	}
	u := &auth.User{
		Name:   name,
		UID:    firstHeader(r.Header, p.headers.UIDs),
		Groups: allHeaders(r.Header, p.headers.Groups),
		Extra:  extraHeaders(r.Header, p.headers.ExtraPrefixes),
	}
	p.clear(r.Header)
	return authenticated(u), true, nil
}

func (p *FrontProxy) verify(chain []*x509.Certificate) error {
	leaf, roots, now := chain[0], p.roots(), p.now()
	if k, ok := p.seen.Get(string(leaf.Raw)); ok && k.roots == roots && now.Before(k.until) {
		return nil
	}
	until, err := verifyClient(chain, roots, now)
	if err != nil {
		return err
	}
	if cn := leaf.Subject.CommonName; len(p.allowed) > 0 && !slices.Contains(p.allowed, cn) {
		return fmt.Errorf("x509: subject with cn=%s is not in the allowed list", cn)
	}
	p.seen.Put(string(leaf.Raw), verifiedUntil{roots, until})
	return nil
}

// verifyClient verifies a client's certificate with the intermediates that came
// with it, and tells until when the chain is good.
func verifyClient(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (until time.Time, err error) {
	o := x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(chain) > 1 {
		o.Intermediates = x509.NewCertPool()
		for _, i := range chain[1:] {
			o.Intermediates.AddCert(i)
		}
	}
	chains, err := chain[0].Verify(o)
	if err != nil {
		return time.Time{}, err
	}
	until = chain[0].NotAfter
	for _, x := range chains[0] {
		if x.NotAfter.Before(until) {
			until = x.NotAfter
		}
	}
	return until, nil
}

func (p *FrontProxy) clear(h http.Header) {
	for _, list := range [][]string{p.headers.Names, p.headers.UIDs, p.headers.Groups} {
		for _, k := range list {
			h.Del(k)
		}
	}
	for _, prefix := range p.headers.ExtraPrefixes {
		for k := range h {
			if hasPrefixFold(k, prefix) {
				delete(h, k)
			}
		}
	}
}

func firstHeader(h http.Header, names []string) string {
	for _, n := range names {
		if v := h.Get(n); v != "" {
			return v
		}
	}
	return ""
}

func allHeaders(h http.Header, names []string) []string {
	out := []string{}
	for _, n := range names {
		for _, v := range h.Values(n) {
			if v != "" {
				out = append(out, v)
			}
		}
	}
	return out
}

func extraHeaders(h http.Header, prefixes []string) map[string][]string {
	out := map[string][]string{}
	for _, prefix := range prefixes {
		for k, v := range h {
			if hasPrefixFold(k, prefix) {
				key := plainKey(k[len(prefix):])
				out[key] = append(out[key], v...)
			}
		}
	}
	return out
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}
