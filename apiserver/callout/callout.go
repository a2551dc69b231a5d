// Package callout reaches the servers that API objects name: admission and
// conversion webhooks, and extension API servers. It finds where a Service is
// served, speaks TLS with the certificate authority that the object gives, and
// keeps one connection pool for each target. What is said over the connection is
// its callers' business.
//
// Every target is outside: callers bound the time (by the context) and the size
// (ReadLimited) of an answer.
package callout

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"skiff.dev/skiff/telemetry"
)

// Service names a port of a Service of the cluster.
type Service struct {
	Namespace, Name string
	Port            int32 // 0 means 443
}

// ServerName is the name that the server's certificate must have.
func (s Service) ServerName() string { return s.Name + "." + s.Namespace + ".svc" }

// Target is a server outside: a URL, or a Service with a path.
type Target struct {
	URL     string   // used where Service is nil
	Service *Service // the request goes to https://NAME.NAMESPACE.svc:PORT
	Path    string   // of a Service's request
	// CABundle is PEM; empty means the machine's authorities.
	CABundle []byte
	// Insecure skips the check of the server's certificate
	// (APIService.spec.insecureSkipTLSVerify).
	Insecure bool
}

// Resolver finds an address ("host:port") that serves a Service now. It is asked
// once for each new connection.
type Resolver interface {
	Resolve(ctx context.Context, s Service) (address string, err error)
}

// Clients makes and keeps HTTP clients. It is safe for concurrent use.
type Clients struct {
	resolver Resolver
	// identity is the certificate shown to servers that ask for one; may be nil.
	identity func() (*tls.Certificate, error)

	mu    sync.Mutex
	pools map[poolKey]*pool
}

type poolKey struct {
	service  Service // zero for URLs: those of one authority share a pool
	bundle   [sha256.Size]byte
	insecure bool
}

type pool struct {
	transport *http.Transport
	used      time.Time
}

// idlePools is how many pools are kept; beyond it the one unused for longest goes.
const idlePools = 256

// New makes Clients. identity is the client certificate that extension servers
// verify (the front proxy's); nil shows none.
func New(r Resolver, identity func() (*tls.Certificate, error)) *Clients {
	return &Clients{resolver: r, identity: identity, pools: map[poolKey]*pool{}}
}

// Client returns a client for the target and the URL to ask. The client follows no
// redirects: a target may not point the server elsewhere.
func (c *Clients) Client(t Target) (*http.Client, *url.URL, error) {
	tr, u, err := c.Transport(t)
	if err != nil {
		return nil, nil, err
	}
	return &http.Client{
		Transport:     traced{tr},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, u, nil
}

// traced carries the trace in which a request is made on to the other server.
type traced struct{ *http.Transport }

func (t traced) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace := telemetry.Trace(r.Context()); trace != "" && r.Header.Get("Traceparent") == "" {
		r = r.Clone(r.Context())
		r.Header.Set("Traceparent", trace)
	}
	return t.Transport.RoundTrip(r)
}

// Transport is Client for callers that proxy requests.
func (c *Clients) Transport(t Target) (*http.Transport, *url.URL, error) {
	u, err := t.url()
	if err != nil {
		return nil, nil, err
	}
	tr, err := c.pool(t)
	if err != nil {
		return nil, nil, err
	}
	return tr, u, nil
}

func (t *Target) url() (*url.URL, error) {
	if t.Service != nil {
		u, err := url.Parse(t.Path)
		if err != nil {
			return nil, fmt.Errorf("the path %q of service %s/%s: %w", t.Path, t.Service.Namespace, t.Service.Name, err)
		}
		u.Scheme, u.Host = "https", net.JoinHostPort(t.Service.ServerName(), strconv.Itoa(int(t.Service.port())))
		return u, nil
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the URL %q must begin with https:// and name a host", t.URL)
	}
	return u, nil
}

func (s Service) port() int32 {
	if s.Port == 0 {
		return 443
	}
	return s.Port
}

func (c *Clients) pool(t Target) (*http.Transport, error) {
	key := poolKey{bundle: sha256.Sum256(t.CABundle), insecure: t.Insecure}
	if t.Service != nil {
		key.service = *t.Service
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if p := c.pools[key]; p != nil {
		p.used = now
		return p.transport, nil
	}
	tr, err := c.transport(t)
	if err != nil {
		return nil, err
	}
	if len(c.pools) >= idlePools {
		c.dropOldest()
	}
	c.pools[key] = &pool{transport: tr, used: now}
	return tr, nil
}

// dropOldest forgets the pool unused for longest. Requests under way on it end as
// they would have.
func (c *Clients) dropOldest() {
	var oldest poolKey
	var p *pool
	for k, x := range c.pools {
		if p == nil || x.used.Before(p.used) {
			oldest, p = k, x
		}
	}
	delete(c.pools, oldest)
	p.transport.CloseIdleConnections()
}

func (c *Clients) transport(t Target) (*http.Transport, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: t.Insecure}
	if len(t.CABundle) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(t.CABundle) {
			return nil, errors.New("the CA bundle holds no certificate that can be read")
		}
	}
	if c.identity != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.identity() }
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	dial := dialer.DialContext
	if t.Service != nil {
		s := *t.Service
		s.Port = s.port()
		conf.ServerName = s.ServerName()
		dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			addr, err := c.resolver.Resolve(ctx, s)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, addr)
		}
	}
	return &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     conf,
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 25,
	}, nil
}

// Close ends the idle connections.
func (c *Clients) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pools {
		p.transport.CloseIdleConnections()
	}
}

// ReadLimited reads an answer's body, at most limit bytes; a longer one is an
// error.
func ReadLimited(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("the answer has more than %d bytes", limit)
	}
	return b, nil
}
