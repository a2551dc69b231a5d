package authn

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/auth"
)

var remote = ProxyHeaders{Names: []string{"X-Remote-User"}, UIDs: []string{"X-Remote-Uid"}, Groups: []string{"X-Remote-Group"}, ExtraPrefixes: []string{"X-Remote-Extra-"}}

func TestFrontProxy(t *testing.T) {
	m := material(t)
	now := time.Now()
	p := NewFrontProxy(remote, []string{"front-proxy-client"}, m.FrontProxyCA.Pool, func() time.Time { return now })
	as := []string{"X-Remote-User", "jane", "X-Remote-Group", "a", "X-Remote-Group", "b", "X-Remote-Uid", "7", "X-Remote-Extra-Acme.com%2fscope", "s"}
	for range 2 {
		r := request(m.FrontProxy.Cert, as...)
		u, ok, err := p.Authenticate(r)
		if err != nil || !ok || u.Name != "jane" || u.UID != "7" || strings.Join(u.Groups, " ") != "a b system:authenticated" || fmt.Sprint(u.Extra) != "map[acme.com/scope:[s]]" {
			t.Errorf("%+v %v %v", u, ok, err)
		}
		for k := range r.Header {
			if strings.HasPrefix(k, "X-Remote") {
				t.Errorf("%s is still in the request", k)
			}
		}
	}
	for name, r := range map[string]*http.Request{
		"no certificate": request(nil, as...),
		"no headers":     request(m.FrontProxy.Cert),
	} {
		if u, ok, err := p.Authenticate(r); ok || err != nil {
			t.Errorf("%s: %+v %v %v", name, u, ok, err)
		}
	}
	if _, ok, err := p.Authenticate(request(m.Admin.Cert, as...)); ok || err == nil {
		t.Error("a client of the cluster's own authority speaks for others")
	}
	strict := NewFrontProxy(remote, []string{"other"}, m.FrontProxyCA.Pool, nil)
	if _, ok, err := strict.Authenticate(request(m.FrontProxy.Cert, as...)); ok || err == nil || err.Error() != "x509: subject with cn=front-proxy-client is not in the allowed list" {
		t.Errorf("%v %v", ok, err)
	}
	now = now.Add(2 * 365 * 24 * time.Hour)
	if _, ok, err := p.Authenticate(request(m.FrontProxy.Cert, as...)); ok || err == nil {
		t.Error("a remembered certificate does not end")
	}
}

// A request whose headers are ignored is its certificate's.
func TestHeadersOfOthersMeanNothing(t *testing.T) {
	m := material(t)
	a := Union{NewFrontProxy(remote, nil, m.FrontProxyCA.Pool, nil), NewCertificates(func() *x509.CertPool { return m.CA.Pool() }, nil)}
	u, ok, err := a.Authenticate(request(m.Node.Cert, "X-Remote-User", "root", "X-Remote-Group", auth.GroupMasters))
	if err != nil || !ok || u.Name != "system:node:n1" {
		t.Errorf("%+v %v %v", u, ok, err)
	}
}

func FuzzFrontProxyHeaders(f *testing.F) {
	m := material(f)
	p := NewFrontProxy(remote, nil, m.FrontProxyCA.Pool, nil)
	f.Add("X-Remote-User", "jane", "x-remote-extra-%2f", "v")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		r := request(m.FrontProxy.Cert)
		r.Header[k1], r.Header[k2] = []string{v1}, []string{v2}
		u, ok, err := p.Authenticate(r)
		if err != nil || ok && u.Name == "" {
			t.Errorf("%+v %v", u, err)
		}
	})
}
