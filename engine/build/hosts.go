package build

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// registryHosts speaks to registries by https, and in plain HTTP to those on this
// machine that have no TLS.
func registryHosts() docker.RegistryHosts {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          8,
		IdleConnTimeout:       10 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
	}
	here := t.Clone()
	here.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	fallback := docker.NewHTTPFallback(here)
	remote := docker.ConfigureDefaultRegistries(docker.WithClient(&http.Client{Transport: t}))
	local := docker.ConfigureDefaultRegistries(docker.WithClient(&http.Client{Transport: fallback}))
	return func(host string) ([]docker.RegistryHost, error) {
		if here, err := docker.MatchLocalhost(host); err != nil || here {
			return local(host)
		}
		return remote(host)
	}
}
