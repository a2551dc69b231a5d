package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"skiff.dev/skiff/auth/structured"
)

// provider is an OpenID Connect issuer over TLS.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched int
	down    bool
	flood   bool
}

func newProvider(t testing.TB) *provider {
	p := &provider{}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case p.flood:
			_, _ = w.Write(make([]byte, maxBody+2))
		case r.URL.Path == "/.well-known/openid-configuration", r.URL.Path == "/elsewhere":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["ES256"]}`, p.URL, p.URL+"/keys")
		case r.URL.Path == "/keys":
			p.fetched++
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: p.keys})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// rotate makes a new key, the only one that is published; it returns how to sign by it.
func (p *provider) rotate(t testing.TB, id string) func(claims string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.keys = []jose.JSONWebKey{{Key: key.Public(), KeyID: id, Algorithm: "ES256", Use: "sig"}}
	p.mu.Unlock()
	return signer(t, key, id)
}

func signer(t testing.TB, key crypto.Signer, id string) func(claims string) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return func(claims string) string {
		j, err := s.Sign([]byte(claims))
		if err != nil {
			t.Fatal(err)
		}
		text, err := j.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}

// issuer makes an Issuer of the jwt entry in a configuration; URL and CA are the
// provider's.
func (p *provider) issuer(t testing.TB, entry string, now func() time.Time) *Issuer {
	t.Helper()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}))
	entry = strings.NewReplacer("$URL", p.URL, "$CA", "|\n"+indent(ca)).Replace(entry)
	c, err := structured.Authentication([]byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n" + entry))
	if err != nil {
		t.Fatalf("%v\n%s", err, entry)
	}
	i, err := New(t.Context(), c.JWT[0], Options{Now: now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func indent(s string) string { return "        " + strings.ReplaceAll(s, "\n", "\n        ") }

const plain = `
- issuer:
    url: $URL
    audiences: [skiff]
    certificateAuthority: $CA
  claimMappings:
    username: {claim: email, prefix: "o:"}
    groups: {claim: roles, prefix: "r:"}
    uid: {claim: sub}
  claimValidationRules:
  - {claim: hd, requiredValue: example.com}
`

func TestTokens(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	p := newProvider(t)
	sign := p.rotate(t, "k1")
	i := p.issuer(t, plain, clock)
	if err := i.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	base := map[string]any{"iss": p.URL, "aud": "skiff", "exp": now.Unix() + 60, "sub": "7", "email": "jane@example.com", "roles": []string{"a", "b"}, "hd": "example.com", "jti": "id"}
	with := func(kv ...any) string {
		c := map[string]any{}
		for k, v := range base {
			c[k] = v
		}
		for j := 0; j < len(kv); j += 2 {
			if c[kv[j].(string)] = kv[j+1]; kv[j+1] == nil {
				delete(c, kv[j].(string))
			}
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	none := func(claims string) string {
		b := base64.RawURLEncoding
		return b.EncodeToString([]byte(`{"alg":"none"}`)) + "." + b.EncodeToString([]byte(claims)) + "."
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const good = `o:jane@example.com 7 [r:a r:b] map[authentication.kubernetes.io/credential-id:[JTI=id]]`
	for _, c := range []struct{ name, token, want string }{
		{"good", sign(with()), good},
		{"several audiences", sign(with("aud", []string{"x", "skiff"})), good},
		{"one group", sign(with("roles", "a")), `o:jane@example.com 7 [r:a] map[authentication.kubernetes.io/credential-id:[JTI=id]]`},
		{"another audience", sign(with("aud", "x")), `oidc: verify token: oidc: expected audience "skiff" got ["x"]`},
		{"expired", sign(with("exp", now.Unix()-1)), "oidc: verify token: oidc: token is expired (Token Expiry: " + time.Unix(now.Unix()-1, 0).String() + ")"},
		{"unsigned", none(with()), `oidc: verify token: oidc: malformed jwt: `},
		{"signed by a stranger", signer(t, stranger, "k1")(with()), "oidc: verify token: failed to verify signature: failed to verify id token signature"},
		{"unverified email", sign(with("email_verified", false)), "oidc: email not verified"},
		{"no name", sign(with("email", nil)), `oidc: parse username claims "email": claim not present`},
		{"no uid", sign(with("sub", nil)), `oidc: parse uid claim "sub": `},
		{"without what is required", sign(with("hd", nil)), "oidc: required claim hd not present in ID token"},
		{"with another value", sign(with("hd", "x")), "oidc: required claim hd value does not match. Got = x, want = example.com"},
		{"of another issuer", sign(with("iss", "https://x")), "none"},
		{"garbage", "a.b.c", "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 {
				u, ok, err := i.AuthenticatePlainToken(c.token)
				got := "none"
				if err != nil {
					got = err.Error()
				} else if ok {
					got = fmt.Sprint(u.Name, " ", u.UID, " ", u.Groups, " ", u.Extra)
				}
				if !strings.HasPrefix(got, c.want) || ok && got != c.want {
					t.Errorf("got %s\nwant %s", got, c.want)
				}
			}
		})
	}

	t.Run("the keys change", func(t *testing.T) {
		next := p.rotate(t, "k2")
		if _, ok, err := i.AuthenticatePlainToken(next(with("jti", "2"))); !ok || err != nil {
			t.Errorf("a token of the new key: %v %v", ok, err)
		}
		if _, ok, err := i.AuthenticatePlainToken(sign(with("jti", "3"))); ok || err == nil {
			t.Errorf("a token of a key that was withdrawn: %v %v", ok, err)
		}
		p.mu.Lock()
		p.down = true
		p.mu.Unlock()
		if _, ok, err := i.AuthenticatePlainToken(next(with("jti", "4"))); !ok || err != nil {
			t.Errorf("the issuer is down, its keys are known: %v %v", ok, err)
		}
		token := next(with("jti", "5", "exp", now.Unix()+5))
		if _, ok, _ := i.AuthenticatePlainToken(token); !ok {
			t.Error("not good at first")
		}
		now = now.Add(6 * time.Second)
		if _, ok, err := i.AuthenticatePlainToken(token); ok || err == nil {
			t.Error("a remembered token outlives its end")
		}
	})
}

const expressions = `
- issuer:
    url: $URL
    discoveryURL: $URL/elsewhere
    audiences: [a, b]
    audienceMatchPolicy: MatchAny
    certificateAuthority: $CA
  claimMappings:
    username: {expression: '"x:" + claims.sub'}
    groups: {expression: 'claims.?realm.roles.orValue([]).map(r, "g:" + r)'}
    uid: {expression: 'claims.sub'}
    extra:
    - {key: example.com/tenant, valueExpression: 'claims.dash__dash__ed'}
  claimValidationRules:
  - {expression: 'claims.level > 1', message: level too low}
  userValidationRules:
  - {expression: "!user.username.startsWith('x:system:')", message: reserved}
  - {expression: "user.groups.all(g, g != 'g:root')", message: no root}
`

func TestExpressions(t *testing.T) {
	p := newProvider(t)
	sign := p.rotate(t, "k1")
	i := p.issuer(t, expressions, nil)
	if err := i.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ claims, want string }{
		{`"sub":"j","level":2,"realm":{"roles":["r",""]},"dash-ed":"t"`, "x:j j [g:r g:] map[example.com/tenant:[t]]"},
		{`"sub":"j","level":2,"dash-ed":["t","","u"]`, "x:j j [] map[example.com/tenant:[t u]]"},
		{`"sub":"j","level":1,"dash-ed":"t"`, "oidc: error evaluating claim validation expression: validation expression 'claims.level > 1' failed: level too low"},
		{`"sub":"system:x","level":2,"dash-ed":"t"`, "oidc: error evaluating user info validation rule: validation expression '!user.username.startsWith('x:system:')' failed: reserved"},
		{`"sub":"j","level":2,"realm":{"roles":["root"]},"dash-ed":"t"`, "oidc: error evaluating user info validation rule: validation expression 'user.groups.all(g, g != 'g:root')' failed: no root"},
		{`"sub":7,"level":2,"dash-ed":"t"`, "oidc: verify token: oidc: failed to unmarshal claims: "},
		{`"sub":"j","level":2,"dash-ed":7`, "oidc: error evaluating extra claim expression: claims.dash__dash__ed: expression must return a string or a list of strings"},
	} {
		u, ok, err := i.AuthenticatePlainToken(sign(fmt.Sprintf(`{"iss":%q,"aud":["b"],"exp":%d,%s}`, p.URL, time.Now().Unix()+60, c.claims)))
		got := fmt.Sprint(err)
		if err == nil && ok {
			got = fmt.Sprint(u.Name, " ", u.UID, " ", u.Groups, " ", u.Extra)
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s:\ngot %s\nwant %s", c.claims, got, c.want)
		}
	}
}

func TestIssuerThatIsDown(t *testing.T) {
	p := newProvider(t)
	sign := p.rotate(t, "k1")
	p.down = true
	i := p.issuer(t, plain, nil)
	token := sign(fmt.Sprintf(`{"iss":%q}`, p.URL))
	if _, ok, err := i.AuthenticatePlainToken(token); ok || err == nil || err.Error() != "oidc: authenticator not initialized" {
		t.Errorf("%v %v", ok, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := i.Wait(ctx); err == nil || !strings.Contains(err.Error(), p.URL) {
		t.Errorf("%v", err)
	}
	p.mu.Lock()
	p.down, p.flood = false, true
	p.mu.Unlock()
	if _, err := i.client.Get(p.URL + "/keys"); err == nil || !strings.Contains(err.Error(), "the answer has more than") {
		t.Errorf("an answer without an end: %v", err)
	}
}

func FuzzToken(f *testing.F) {
	p := newProvider(f)
	sign := p.rotate(f, "k1")
	i := p.issuer(f, plain, nil)
	if err := i.Wait(f.Context()); err != nil {
		f.Fatal(err)
	}
	f.Add(sign(fmt.Sprintf(`{"iss":%q,"aud":"x"}`, p.URL)))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if u, ok, _ := i.AuthenticatePlainToken(s); ok {
			t.Errorf("%q is %+v", s, u)
		}
	})
}

func FuzzClaims(f *testing.F) {
	p := newProvider(f)
	p.rotate(f, "k1")
	i := p.issuer(f, expressions, nil)
	f.Add([]byte(`{"sub":"j","level":2,"realm":{"roles":["r"]},"dash-ed":"t"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c claims
		if json.Unmarshal(b, &c) != nil {
			return
		}
		if u, err := i.user(t.Context(), c); err == nil && !strings.HasPrefix(u.Name, "x:") {
			t.Errorf("%+v", u)
		}
	})
}
