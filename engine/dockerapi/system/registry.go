package system

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"

	"skiff.dev/skiff/engine/dockerapi/route"
)

const (
	hub     = "docker.io"
	hubIP   = "index.docker.io" // its name of old
	hubAPI  = "registry-1.docker.io"
	timeout = 15 * time.Second
	maxBody = 1 << 20 // of a registry's answers to logins
)

// Hosts is a Registries for what the configuration says of registries. Loopback
// addresses are insecure by themselves: reached with any certificate, and in plain
// HTTP where they speak no TLS.
type Hosts struct {
	Mirrors  []string // of Docker Hub
	Insecure []string // host, host:port or a range of addresses
	Agent    string   // tells registries who asks
}

// Config implements Registries.
func (h *Hosts) Config() *registry.ServiceConfig {
	mirrors := make([]string, len(h.Mirrors))
	for i, m := range h.Mirrors {
		mirrors[i] = strings.TrimSuffix(m, "/") + "/" // as Docker writes them
	}
	c := &registry.ServiceConfig{
		InsecureRegistryCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("127.0.0.0/8")},
		IndexConfigs:          map[string]*registry.IndexInfo{hub: {Name: hub, Mirrors: mirrors, Secure: true, Official: true}},
		Mirrors:               mirrors,
	}
	for _, entry := range h.Insecure {
		if p, err := netip.ParsePrefix(entry); err == nil {
			c.InsecureRegistryCIDRs = append(c.InsecureRegistryCIDRs, p.Masked())
		} else {
			c.IndexConfigs[entry] = &registry.IndexInfo{Name: entry, Mirrors: []string{}}
		}
	}
	return c
}

// insecure tells whether a registry, a host with or without a port, is so.
func (h *Hosts) insecure(ctx context.Context, host string) bool {
	c := h.Config()
	if index, ok := c.IndexConfigs[host]; ok {
		return !index.Secure
	}
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	}
	addresses := []netip.Addr{}
	if a, err := netip.ParseAddr(name); err == nil {
		addresses = append(addresses, a)
	} else if found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name); err == nil {
		addresses = found
	}
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool {
		return slices.ContainsFunc(c.InsecureRegistryCIDRs, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	})
}

// Login implements Registries.
func (h *Hosts) Login(ctx context.Context, auth *registry.AuthConfig) (string, error) {
	host := hub
	if auth.ServerAddress != "" {
		address := auth.ServerAddress
		if !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
			address = "https://" + address
		}
		u, err := url.Parse(address)
		if err != nil {
			return "", route.Invalid(fmt.Errorf("unable to parse server address: %w", err))
		}
		host = u.Host
	}
	schemes := []string{"https"}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case host == hub || host == hubIP:
		host = hubAPI
	case h.insecure(ctx, host):
		schemes = append(schemes, "http")
		config.InsecureSkipVerify = true
	}
	l := &login{auth: auth, agent: h.Agent, client: &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, DisableKeepAlives: true},
	}}
	var last error
	for _, scheme := range schemes {
		token, err := l.try(ctx, scheme+"://"+host+"/v2/")
		var answered *loginError
		if err == nil || ctx.Err() != nil || route.Status(err) == http.StatusUnauthorized || errors.As(err, &answered) {
			// Credentials that are refused are not sent again without TLS.
			return token, err
		}
		last = err
	}
	return "", last
}

// login tries credentials.
type login struct {
	auth   *registry.AuthConfig
	agent  string
	client *http.Client
}

// try asks the registry how it wants to be asked, and asks again so.
func (l *login) try(ctx context.Context, endpoint string) (token string, err error) {
	ping, err := l.get(ctx, endpoint, nil)
	if err != nil {
		return "", err
	}
	ping.Body.Close()
	var bearer string
	authorize := func(*http.Request) {}
	if ping.StatusCode == http.StatusUnauthorized {
		challenge, ok := choose(ping.Header.Values("Www-Authenticate"))
		switch {
		case ok && challenge.scheme == "bearer":
			if bearer, token, err = l.token(ctx, challenge); err != nil {
				return "", &url.Error{Op: "Get", URL: endpoint, Err: err}
			}
			authorize = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+bearer) }
		case ok:
			if l.auth.Username == "" || l.auth.Password == "" {
				return "", &url.Error{Op: "Get", URL: endpoint, Err: errNoBasic}
			}
			authorize = func(r *http.Request) { r.SetBasicAuth(l.auth.Username, l.auth.Password) }
		}
	}
	res, err := l.get(ctx, endpoint, authorize)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", &loginError{endpoint, res.StatusCode}
	}
	return token, nil
}

// loginError is a registry's refusal.
type loginError struct {
	endpoint string
	status   int
}

func (e *loginError) Error() string {
	return fmt.Sprintf("login attempt to %s failed with status: %d %s", e.endpoint, e.status, http.StatusText(e.status))
}

var errNoBasic = errors.New("no basic auth credentials")

func (l *login) get(ctx context.Context, at string, change func(*http.Request)) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", l.agent)
	if change != nil {
		change(req)
	}
	return l.client.Do(req)
}

// token asks the server that a challenge names for a bearer token, and for one that
// stands for the credentials from now on.
func (l *login) token(ctx context.Context, c challenge) (bearer, refresh string, err error) {
	realm, err := url.Parse(c.parameters["realm"])
	if err != nil || realm.Host == "" {
		return "", "", errors.New("no realm specified for token auth challenge")
	}
	q := realm.Query()
	q.Set("service", c.parameters["service"])
	q.Set("offline_token", "true")
	q.Set("client_id", "docker")
	if l.auth.Username != "" {
		q.Set("account", l.auth.Username)
	}
	realm.RawQuery = q.Encode()
	var res *http.Response
	if l.auth.IdentityToken != "" {
		res, err = l.refresh(ctx, c)
	} else {
		res, err = l.get(ctx, realm.String(), func(r *http.Request) {
			if l.auth.Username != "" && l.auth.Password != "" {
				r.SetBasicAuth(l.auth.Username, l.auth.Password)
			}
		})
	}
	if err != nil {
		return "", "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return "", "", err
	}
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return "", "", refused(res.StatusCode, body)
	}
	var got struct {
		Token        string `json:"token"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return "", "", fmt.Errorf("unable to decode token response: %w", err)
	}
	if got.AccessToken != "" {
		got.Token = got.AccessToken
	}
	if got.Token == "" {
		return "", "", errors.New("authorization server did not include a token in the response")
	}
	if got.RefreshToken == "" {
		got.RefreshToken = l.auth.IdentityToken
	}
	return got.Token, got.RefreshToken, nil
}

// refresh asks with a token that stands for credentials.
func (l *login) refresh(ctx context.Context, c challenge) (*http.Response, error) {
	form := url.Values{
		"grant_type": {"refresh_token"}, "service": {c.parameters["service"]}, "client_id": {"docker"}, "refresh_token": {l.auth.IdentityToken},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.parameters["realm"], strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", l.agent)
	return l.client.Do(req)
}

// refused is the error of an answer, in the words that registries' errors have.
func refused(status int, body []byte) error {
	var v struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
		Details string `json:"details"`
	}
	err := fmt.Errorf("unexpected status from the token server: %d %s", status, http.StatusText(status))
	if json.Unmarshal(body, &v) == nil {
		switch {
		case len(v.Errors) > 0:
			err = fmt.Errorf("%s: %s", strings.ReplaceAll(strings.ToLower(v.Errors[0].Code), "_", " "), v.Errors[0].Message)
		case v.Details != "":
			err = fmt.Errorf("unauthorized: %s", v.Details)
		}
	}
	if status == http.StatusUnauthorized {
		return route.Unauthorized(err)
	}
	return err
}
