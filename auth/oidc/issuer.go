// Package oidc knows users by the signed tokens of OpenID Connect issuers: it finds an
// issuer's keys by discovery and keeps up with their changes, checks signature, times
// and audiences, and makes a user of the claims by rules that may be CEL expressions
// (plugin authenticator/token/oidc in Kubernetes). What package structured accepts as a
// jwt entry of an AuthenticationConfiguration is what it is made of.
package oidc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/recent"
)

// Algorithms are those that tokens may be signed with. None is not among them.
var Algorithms = []string{gooidc.ES256, gooidc.ES384, gooidc.ES512, gooidc.PS256, gooidc.PS384, gooidc.PS512, gooidc.RS256, gooidc.RS384, gooidc.RS512}

const (
	// remember is how long a token that was good is taken for good.
	remember = 10 * time.Second
	retry    = 10 * time.Second
	timeout  = 30 * time.Second
	maxToken = 64 << 10
	maxBody  = 1 << 20
)

// Options of an Issuer beside its configuration.
type Options struct {
	Algorithms []string // nil: all of Algorithms
	Own        []string // issuers that the configuration may not name
	Now        func() time.Time
	Log        *slog.Logger
}

// Issuer knows the tokens of one issuer. Until the issuer has been reached it refuses
// them.
type Issuer struct {
	config   apiserver.JWTAuthenticator
	rules    authenticationcel.CELMapper
	client   *http.Client
	o        Options
	verifier atomic.Pointer[gooidc.IDTokenVerifier]
	ready    chan struct{} // closed once verifier is there
	last     atomic.Pointer[error]
	known    *recent.Map[[sha256.Size]byte, knownToken]
}

type knownToken struct {
	user  *auth.User
	until time.Time
}

// New starts to look for the issuer, until ctx ends; then the Issuer may not be used any
// more.
func New(ctx context.Context, config apiserver.JWTAuthenticator, o Options) (*Issuer, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Algorithms) == 0 {
		o.Algorithms = Algorithms
	}
	for _, a := range o.Algorithms {
		if !slices.Contains(Algorithms, a) {
			return nil, fmt.Errorf("oidc: unsupported signing alg: %q", a)
		}
	}
	rules, errs := validation.CompileAndValidateJWTAuthenticator(authenticationcel.NewDefaultCompiler(), config, o.Own)
	if err := errs.ToAggregate(); err != nil {
		return nil, err
	}
	client, err := clientOf(&config.Issuer)
	if err != nil {
		return nil, err
	}
	i := &Issuer{config: config, rules: rules, client: client, o: o, ready: make(chan struct{}), known: recent.New[[sha256.Size]byte, knownToken](1024)}
	go i.discover(gooidc.ClientContext(ctx, client))
	return i, nil
}

// URL names the issuer.
func (i *Issuer) URL() string { return i.config.Issuer.URL }

// Wait returns when the issuer has been reached; an error says why it has not been when
// ctx ended.
func (i *Issuer) Wait(ctx context.Context) error {
	select {
	case <-i.ready:
		return nil
	case <-ctx.Done():
		if err := i.last.Load(); err != nil {
			return fmt.Errorf("oidc: authenticator for issuer %q is not healthy: %w", i.URL(), *err)
		}
		return fmt.Errorf("oidc: authenticator for issuer %q is not initialized", i.URL())
	}
}

// discover tries to reach the issuer until it succeeds. The keys are fetched later, and
// again whenever a token names one that is not known.
func (i *Issuer) discover(ctx context.Context) {
	for {
		p, err := gooidc.NewProvider(ctx, i.URL())
		if err == nil {
			i.verifier.Store(p.VerifierContext(ctx, &gooidc.Config{
				SkipClientIDCheck:    true, // there may be several: see audience
				SupportedSigningAlgs: i.o.Algorithms,
				Now:                  i.o.Now,
			}))
			close(i.ready)
			return
		}
		i.last.Store(&err)
		if ctx.Err() == nil {
			i.o.Log.Warn("an OpenID Connect issuer cannot be reached; its tokens are refused until it can", "issuer", i.URL(), "err", err)
		}
		timer := time.NewTimer(retry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// clientOf reaches the issuer as its configuration wants, and bounds what it answers.
func clientOf(issuer *apiserver.Issuer) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if issuer.CertificateAuthority != "" {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM([]byte(issuer.CertificateAuthority)) {
			return nil, errors.New("issuer.certificateAuthority: no certificate can be read")
		}
	}
	t := &transport{base: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second}}
	if issuer.DiscoveryURL != "" {
		u, err := url.Parse(issuer.DiscoveryURL)
		if err != nil {
			return nil, fmt.Errorf("oidc: invalid discovery URL: %w", err)
		}
		t.from, t.to = strings.TrimSuffix(issuer.URL, "/")+"/.well-known/openid-configuration", u
	}
	return &http.Client{Transport: t, Timeout: timeout}, nil
}

// transport bounds answers, and sends what is asked of one URL to another.
type transport struct {
	base *http.Transport
	from string
	to   *url.URL
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.to != nil && r.Method == http.MethodGet && r.URL.String() == t.from {
		r = r.Clone(r.Context())
		r.Host, r.URL = "", t.to
	}
	res, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxBody {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxBody)
	}
	res.Body = io.NopCloser(bytes.NewReader(b))
	return res, nil
}

// AuthenticatePlainToken implements authn.PlainTokens.
func (i *Issuer) AuthenticatePlainToken(token string) (*auth.User, bool, error) {
	if unverifiedIssuer(token) != i.URL() {
		return nil, false, nil
	}
	sum := sha256.Sum256([]byte(token))
	if k, ok := i.known.Get(sum); ok && i.o.Now().Before(k.until) {
		return k.user, true, nil
	}
	v := i.verifier.Load()
	if v == nil {
		return nil, false, errors.New("oidc: authenticator not initialized")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	t, err := v.Verify(ctx, token)
	if err == nil {
		err = i.audience(t.Audience)
	}
	if err != nil {
		return nil, false, fmt.Errorf("oidc: verify token: %w", err)
	}
	var c claims
	if err := t.Claims(&c); err != nil {
		return nil, false, fmt.Errorf("oidc: parse claims: %w", err)
	}
	u, err := i.user(ctx, c)
	if err != nil {
		return nil, false, err
	}
	until := i.o.Now().Add(remember)
	if t.Expiry.Before(until) {
		until = t.Expiry
	}
	i.known.Put(sum, knownToken{u, until})
	return u, true, nil
}

// audience accepts a token that is for any of the configured audiences.
func (i *Issuer) audience(has []string) error {
	want := i.config.Issuer.Audiences
	for _, a := range has {
		if slices.Contains(want, a) {
			return nil
		}
	}
	if len(want) == 1 {
		return fmt.Errorf("oidc: expected audience %q got %q", want[0], has)
	}
	sorted := slices.Clone(want)
	slices.Sort(sorted)
	return fmt.Errorf("oidc: expected audience in %q got %q", sorted, has)
}

// unverifiedIssuer is whose token it says to be; "" for what is no token.
func unverifiedIssuer(token string) string {
	if len(token) > maxToken {
		return ""
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(payload, &c) != nil {
		return ""
	}
	if c.Issuer == "accounts.google.com" {
		return "https://accounts.google.com" // as it once wrote itself
	}
	return c.Issuer
}
