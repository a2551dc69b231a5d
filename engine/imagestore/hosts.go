package imagestore

import (
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

// insecure tells whether a registry may be spoken to in plain HTTP.
func insecure(c engine.RegistryConfig, host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" {
		return true
	}
	addr, addrErr := netip.ParseAddr(name)
	if addrErr == nil && addr.IsLoopback() {
		return true
	}
	return slices.ContainsFunc(c.Insecure, func(entry string) bool {
		if entry == host || entry == name {
			return true
		}
		p, err := netip.ParsePrefix(entry)
		return err == nil && addrErr == nil && p.Contains(addr)
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
	if insecure {
		return &http.Client{Transport: docker.NewHTTPFallback(t)}
	}
	return &http.Client{Transport: t}
}

// authorizer answers what a registry asks for with the caller's credentials.
func authorizer(client *http.Client, o engine.PullOptions) docker.Authorizer {
	creds := o.Credentials
	if creds == nil {
		creds = func(string) (string, string, error) { return "", "", nil }
	}
	return docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(creds))
}

// newResolver finds registries: their mirrors first, by https, and in plain HTTP
// those that are insecure and speak no TLS.
func (s *Store) newResolver(o engine.PullOptions, tracker docker.StatusTracker) remotes.Resolver {
	c := s.registryConfig()
	return docker.NewResolver(docker.ResolverOptions{Tracker: tracker, Hosts: func(host string) ([]docker.RegistryHost, error) {
		var out []docker.RegistryHost
		add := func(scheme, at, path string, can docker.HostCapabilities) {
			client := s.client(o, o.Insecure || insecure(c, at) || insecure(c, host))
			out = append(out, docker.RegistryHost{Client: client, Authorizer: authorizer(client, o), Host: at, Scheme: scheme, Path: path, Capabilities: can})
		}
		for _, m := range c.Mirrors[host] {
			u, err := url.Parse(m)
			if err != nil {
				return nil, err
			}
			add(u.Scheme, u.Host, u.JoinPath("/v2").Path, docker.HostCapabilityPull|docker.HostCapabilityResolve)
		}
		at := host
		if host == dockerHub {
			at = dockerHubAPI
		}
		add("https", at, "/v2", docker.HostCapabilityPull|docker.HostCapabilityResolve|docker.HostCapabilityPush|docker.HostCapabilityReferrers)
		return out, nil
	}})
}
