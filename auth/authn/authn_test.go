package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/pki"
)

func material(t testing.TB) *pki.Material {
	t.Helper()
	m, err := pki.Ensure(t.TempDir(), pki.Options{NodeName: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func request(c *x509.Certificate, headers ...string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), "GET", "https://x/", nil)
	r.TLS = &tls.ConnectionState{}
	if c != nil {
		r.TLS.PeerCertificates = []*x509.Certificate{c}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestCertificates(t *testing.T) {
	m, other := material(t), material(t)
	now := time.Now()
	pool := m.CA.Pool()
	a := NewCertificates(func() *x509.CertPool { return pool }, func() time.Time { return now })
	for range 2 {
		u, ok, err := a.Authenticate(request(m.Node.Cert))
		if err != nil || !ok || u.Name != "system:node:n1" || strings.Join(u.Groups, " ") != "system:nodes system:authenticated" ||
			!strings.HasPrefix(u.Extra["authentication.kubernetes.io/credential-id"][0], "X509SHA256=") {
			t.Errorf("%+v %v %v", u, ok, err)
		}
	}
	if _, ok, err := a.Authenticate(request(other.Node.Cert)); ok || err == nil || !strings.HasPrefix(err.Error(), "verifying certificate SN=") {
		t.Errorf("a stranger's certificate: %v %v", ok, err)
	}
	if _, ok, err := a.Authenticate(request(m.Serving.Cert)); ok || err == nil {
		t.Errorf("a serving certificate: %v %v", ok, err)
	}
	if _, ok, err := a.Authenticate(request(nil)); ok || err != nil {
		t.Errorf("none: %v %v", ok, err)
	}
	now = now.Add(2 * 365 * 24 * time.Hour)
	if _, ok, err := a.Authenticate(request(m.Node.Cert)); ok || err == nil {
		t.Error("a remembered certificate does not end")
	}
	now = time.Now()
	pool = other.CA.Pool()
	if _, ok, err := a.Authenticate(request(m.Node.Cert)); ok || err == nil {
		t.Error("a remembered certificate outlives its authority")
	}
}

type tokens map[string]*auth.User

func (f tokens) AuthenticateToken(t string, audiences []string) (*auth.User, []string, bool, error) {
	if t == "bad" {
		return nil, nil, false, errors.New("service account token has expired")
	}
	u, ok := f[t]
	return u, audiences, ok, nil
}

func TestUnion(t *testing.T) {
	m := material(t)
	pool := m.CA.Pool()
	a := WithAnonymous{Authenticator: Union{NewCertificates(func() *x509.CertPool { return pool }, nil), Bearer{tokens{"good": {Name: "sa", Groups: []string{"g"}}}}}}
	protocol := func(s string) string { return bearerProtocol + base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		name string
		r    *http.Request
		want string // user and groups, or the error
	}{
		{"nothing", request(nil), "system:anonymous [system:unauthenticated]"},
		{"certificate", request(m.Admin.Cert), "kubernetes-admin [system:masters system:authenticated]"},
		{"token", request(nil, "Authorization", "Bearer good"), "sa [g system:authenticated]"},
		{"token in small letters", request(nil, "Authorization", "bearer good"), "sa [g system:authenticated]"},
		{"unknown token", request(nil, "Authorization", "Bearer x"), "invalid bearer token"},
		{"expired token", request(nil, "Authorization", "Bearer bad"), "service account token has expired"},
		{"certificate and bad token", request(m.Admin.Cert, "Authorization", "Bearer bad"), "kubernetes-admin [system:masters system:authenticated]"},
		{"basic", request(nil, "Authorization", "Basic eA=="), "system:anonymous [system:unauthenticated]"},
		{"empty token", request(nil, "Authorization", "Bearer "), "system:anonymous [system:unauthenticated]"},
		{"websocket", request(nil, "Upgrade", "websocket", protocolHeader, protocol("good")+", v5.channel.k8s.io"), "sa [g system:authenticated]"},
		{"websocket, alone", request(nil, "Upgrade", "websocket", protocolHeader, protocol("good")), "missing additional subprotocol"},
		{"websocket, twice", request(nil, "Upgrade", "websocket", protocolHeader, protocol("good")+","+protocol("good")), "multiple base64.bearer.authorization tokens specified"},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, ok, err := a.Authenticate(c.r)
			got := ""
			if err != nil {
				got = err.Error()
			} else if ok {
				got = u.Name + " [" + strings.Join(u.Groups, " ") + "]"
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if ok && u.Name == "sa" && (c.r.Header.Get("Authorization") != "" || strings.Contains(c.r.Header.Get(protocolHeader), "bearer")) {
				t.Error("the token is still in the request")
			}
		})
	}
}

func TestReview(t *testing.T) {
	f := tokens{"good": {Name: "sa", UID: "u", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}}}
	review := func(token string) *authenticationv1.TokenReview {
		return &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	}
	out, err := Review(f, []string{"api"}, review("good"))
	if err != nil || !out.Status.Authenticated || out.Status.User.Username != "sa" || !slices.Equal(out.Status.Audiences, []string{"api"}) ||
		!slices.Equal(out.Status.User.Groups, []string{"g", "system:authenticated"}) {
		t.Errorf("%+v %v", out, err)
	}
	for token, want := range map[string]string{"bad": "service account token has expired", "x": "invalid bearer token"} {
		if out, err := Review(f, []string{"api"}, review(token)); err != nil || out.Status.Authenticated || out.Status.Error != want {
			t.Errorf("%s: %+v %v", token, out, err)
		}
	}
	if _, err := Review(f, nil, review("")); err == nil || err.Error() != "token is required for TokenReview in authentication" {
		t.Error(err)
	}
}

func FuzzBearer(f *testing.F) {
	f.Add("Bearer good", bearerProtocol+"Z29vZA, v5.channel.k8s.io")
	f.Add("bearer  x", ",,")
	f.Fuzz(func(t *testing.T, header, protocols string) {
		if tok, ok := headerToken(header); ok && (tok == "" || strings.Contains(tok, " ")) {
			t.Errorf("token %q", tok)
		}
		if tok, rest, err := protocolToken([]string{protocols}); err == nil && tok != "" && len(rest) == 0 {
			t.Error("a token without another protocol")
		}
	})
}

func BenchmarkCertificate(b *testing.B) {
	m, err := pki.Ensure(b.TempDir(), pki.Options{NodeName: "n1"})
	if err != nil {
		b.Fatal(err)
	}
	a := NewCertificates(m.CA.Pool, nil)
	r := request(m.Admin.Cert)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := a.Authenticate(r); !ok || err != nil {
			b.Fatal(err)
		}
	}
}
