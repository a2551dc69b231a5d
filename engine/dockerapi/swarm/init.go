package swarm

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/moby/moby/api/types/swarm"

	"skiff.dev/skiff/engine/dockerapi/route"
)

// defaultHost and defaultPort complete an address that has not both.
const (
	defaultHost = "0.0.0.0"
	defaultPort = "2377"
)

// initialise checks what Docker checks before it makes a swarm, and makes none.
func initialise(_ http.ResponseWriter, r *route.Request) error {
	var req swarm.InitRequest
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	if req.ListenAddr == "" {
		return route.Invalidf("invalid ListenAddr %q: invalid empty address", req.ListenAddr)
	}
	if name := req.Spec.Name; name != "" && name != "default" {
		return route.Invalidf(`swarm spec must be named "default"`)
	}
	if err := checkListen(complete(req.ListenAddr)); err != nil {
		return err
	}
	return errNoMode
}

func join(_ http.ResponseWriter, r *route.Request) error {
	var req swarm.JoinRequest
	if err := r.ReadJSON(&req); err != nil {
		return err
	}
	if req.ListenAddr == "" {
		return route.Invalidf("invalid ListenAddr %q: invalid empty address", req.ListenAddr)
	}
	if len(req.RemoteAddrs) == 0 {
		return route.Invalidf("at least 1 RemoteAddr is required to join")
	}
	for _, a := range req.RemoteAddrs {
		if a == "" {
			return route.Invalidf("invalid remoteAddr %q: invalid empty address", a)
		}
	}
	if err := checkListen(complete(req.ListenAddr)); err != nil {
		return err
	}
	return errNoMode
}

// complete adds the host and port that an address lacks; one that is no TCP address
// is left as it is.
func complete(addr string) string {
	whole := addr
	if !strings.Contains(whole, "://") {
		whole = "tcp://" + whole
	}
	u, err := url.Parse(whole)
	if err != nil || u.Scheme != "tcp" || u.Path != "" {
		return addr
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = defaultHost
	}
	if port == "" {
		port = defaultPort
	}
	return net.JoinHostPort(host, port)
}

func checkListen(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return route.Invalidf("could not parse listen address %s", addr)
	}
	if _, err := net.InterfaceByName(host); err == nil {
		return nil
	}
	if net.ParseIP(host) == nil {
		return route.Invalidf("listen address must be an IP address or network interface (with optional port number)")
	}
	return nil
}
