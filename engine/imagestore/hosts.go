package imagestore

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"

	"skiff.dev/skiff/engine"
)

const dockerHub, dockerHubAPI = "docker.io", "registry-1.docker.io"

// Configure sets how registries are reached from the next call on.
func (s *Store) Configure(c engine.RegistryConfig) error {
	for host, urls := range c.Mirrors {
		for _, u := range urls {
			if p, err := url.Parse(u); err != nil || p.Host == "" || (p.Scheme != "http" && p.Scheme != "https") {
				return fmt.Errorf("%w: mirror %q of %s is no http or https URL", engine.ErrInvalid, u, host)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registries = c
	return nil
}

func (s *Store) registryConfig() engine.RegistryConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.registries
}

// insecure tells whether a registry may be spoken to in plain HTTP. A name is looked
// up where ranges of addresses are configured.
func insecure(ctx context.Context, c engine.RegistryConfig, host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" {
		return true
	}
	var ranges []netip.Prefix
	for _, entry := range c.Insecure {
		if entry == host || entry == name {
			return true
		}
		if p, err := netip.ParsePrefix(entry); err == nil {
			ranges = append(ranges, p)
		}
	}
	addr, err := netip.ParseAddr(name)
	addrs := []netip.Addr{addr}
	switch {
	case err == nil && addr.IsLoopback():
		return true
	case len(ranges) == 0:
		return false
	case err != nil:
		// What has no address is in no range; connecting to it tells why.
		addrs, _ = net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	}
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool {
		return slices.ContainsFunc(addrs, func(a netip.Addr) bool { return p.Contains(a.Unmap()) })
	})
}

// client is what one call speaks to one registry with.
func (s *Store) client(o engine.PullOptions, insecure bool) *http.Client {
	dial := s.dialer.DialContext
	if o.Again {
		dial = s.dialer.Try
	}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   fetches,
		IdleConnTimeout:       10 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		ReadBufferSize:        64 << 10,
		WriteBufferSize:       64 << 10,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: insecure},
	}
	c := &http.Client{Transport: patient{t}, CheckRedirect: follow}
	if insecure {
		c.Transport = patient{docker.NewHTTPFallback(t)}
	}
	return c
}

// maxRedirects bounds a registry that leads in a circle.
const maxRedirects = 10

// follow takes care that another server, if only another port, is not told what
// proves to a registry who asks.
func follow(r *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	if r.URL.Host != via[0].URL.Host {
		r.Header.Del("Authorization")
	}
	return nil
}

// authorizer answers what the registry at host asks for with the caller's
// credentials. Nobody else is given them: not a mirror, not where a redirect leads.
func authorizer(client *http.Client, host string, o engine.PullOptions) docker.Authorizer {
	if o.Token != nil {
		if t := o.Token(host); t != "" {
			return &bearer{host: host, token: t}
		}
	}
	return docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(func(asks string) (string, string, error) {
		if o.Credentials == nil || asks != host {
			return "", "", nil
		}
		return o.Credentials(host)
	}))
}

// bearer is a token that the caller has.
type bearer struct{ host, token string }

func (b *bearer) Authorize(_ context.Context, r *http.Request) error {
	if r.URL.Host == b.host {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return nil
}

// AddResponses has nothing else to offer.
func (b *bearer) AddResponses(context.Context, []*http.Response) error {
	return errdefs.ErrNotImplemented
}

// newResolver finds registries: their mirrors first, by https, and in plain HTTP
// those that are insecure and speak no TLS.
func (s *Store) newResolver(ctx context.Context, o engine.PullOptions, tracker docker.StatusTracker) remotes.Resolver {
	c := s.registryConfig()
	return docker.NewResolver(docker.ResolverOptions{Tracker: tracker, Hosts: func(host string) ([]docker.RegistryHost, error) {
		var out []docker.RegistryHost
		plain := o.Insecure || insecure(ctx, c, host)
		for _, m := range c.Mirrors[host] {
			u, err := url.Parse(m)
			if err != nil {
				return nil, err
			}
			client := s.client(o, plain || insecure(ctx, c, u.Host))
			out = append(out, docker.RegistryHost{
				Client: client, Authorizer: authorizer(client, "", engine.PullOptions{}), Host: u.Host, Scheme: u.Scheme, Path: u.JoinPath("/v2").Path,
				Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
			})
		}
		at := host
		if host == dockerHub {
			at = dockerHubAPI
		}
		client := s.client(o, plain)
		return append(out, docker.RegistryHost{
			Client: client, Authorizer: authorizer(client, at, o), Host: at, Scheme: "https", Path: "/v2",
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve | docker.HostCapabilityPush | docker.HostCapabilityReferrers,
		}), nil
	}})
}
