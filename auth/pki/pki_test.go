package pki

import (
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

func ensure(t *testing.T, dir string, now time.Time) *Material {
	t.Helper()
	m, err := Ensure(filepath.Join(dir, "pki"), options(dir, now))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func options(dir string, now time.Time) Options {
	return Options{
		NodeName: "n1", NodeIPs: []net.IP{net.IPv4(10, 0, 0, 5)}, ServiceIP: net.IPv4(10, 96, 0, 1),
		Server: "https://127.0.0.1:6443", AdminKubeconfig: filepath.Join(dir, "admin.kubeconfig"),
		Now: func() time.Time { return now },
	}
}

func TestEnsureMakesWhatServesTheCluster(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	m := ensure(t, dir, now)
	for _, host := range []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", "n1", "127.0.0.1", "10.0.0.5", "10.96.0.1", "::1"} {
		if _, err := m.Serving.Cert.Verify(x509.VerifyOptions{DNSName: host, Roots: m.CA.Pool(), CurrentTime: now}); err != nil {
			t.Errorf("serving certificate for %s: %v", host, err)
		}
	}
	client := x509.VerifyOptions{Roots: m.CA.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for p, subject := range map[*Pair]string{
		m.Admin: "CN=kubernetes-admin,O=system:masters", m.Node: "CN=system:node:n1,O=system:nodes",
		m.Controllers: "CN=system:kube-controller-manager", m.Scheduler: "CN=system:kube-scheduler",
	} {
		if _, err := p.Cert.Verify(client); err != nil {
			t.Errorf("%s: %v", subject, err)
		}
		if got := p.Cert.Subject.String(); got != subject {
			t.Errorf("subject %s, want %s", got, subject)
		}
	}
	if _, err := m.Serving.Cert.Verify(client); err == nil {
		t.Error("the serving certificate authenticates a client")
	}
	err := filepath.Walk(dir, func(path string, i os.FileInfo, err error) error {
		if path == dir || err != nil {
			return err
		}
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[i.IsDir()]; i.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, i.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := clientcmd.LoadFromFile(filepath.Join(dir, "admin.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.ConfirmUsable(*c, ""); err != nil {
		t.Error(err)
	}
}

func TestEnsureKeepsWhatIsGood(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	a := ensure(t, dir, now)
	b := ensure(t, dir, now.Add(24*time.Hour))
	for name, pair := range map[string][2][]byte{
		"ca": {a.CA.PEM, b.CA.PEM}, "serving": {a.Serving.CertPEM, b.Serving.CertPEM}, "admin": {a.Admin.KeyPEM, b.Admin.KeyPEM},
	} {
		if string(pair[0]) != string(pair[1]) {
			t.Errorf("%s changed", name)
		}
	}
	if !samePublic(a.TokenKey.Public(), b.TokenKey.Public()) {
		t.Error("the token key changed: all tokens would be void")
	}
}

func TestEnsureRenews(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	a := ensure(t, dir, now)
	t.Run("near the end", func(t *testing.T) {
		b := ensure(t, dir, now.Add(300*24*time.Hour))
		if string(a.Serving.CertPEM) == string(b.Serving.CertPEM) || string(a.CA.PEM) != string(b.CA.PEM) {
			t.Error("want new leaves of the same authority")
		}
	})
	t.Run("another address", func(t *testing.T) {
		o := options(dir, now)
		o.NodeIPs = []net.IP{net.IPv4(10, 0, 0, 6)}
		b, err := Ensure(filepath.Join(dir, "pki"), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Serving.Cert.VerifyHostname("10.0.0.6"); err != nil {
			t.Error(err)
		}
	})
	t.Run("the authority, with its key", func(t *testing.T) {
		later := now.Add(caLife - leafLife/2)
		b := ensure(t, dir, later)
		if string(a.CA.PEM) == string(b.CA.PEM) || !samePublic(a.CA.Cert.PublicKey, b.CA.Cert.PublicKey) {
			t.Error("want a new certificate of the same key")
		}
	})
	t.Run("in a running server", func(t *testing.T) {
		at := now
		o := options(dir, now)
		o.Now = func() time.Time { return at }
		m, err := Ensure(filepath.Join(dir, "pki"), o)
		if err != nil {
			t.Fatal(err)
		}
		first, _ := m.GetCertificate(nil)
		at = at.Add(300 * 24 * time.Hour)
		second, err := m.GetCertificate(nil)
		if err != nil || first.Leaf.Equal(second.Leaf) || at.After(second.Leaf.NotAfter) {
			t.Errorf("not renewed: %v", err)
		}
	})
}

func TestEnsureAfterLosses(t *testing.T) {
	for _, c := range []struct {
		name, remove, corrupt, want string
	}{
		{name: "leaf certificate gone", remove: "admin.crt"},
		{name: "leaf key gone", remove: "admin.key"},
		{name: "ca certificate gone", remove: "ca.crt"},
		{name: "ca key gone", remove: "ca.key", want: "ca.key: missing, while"},
		{name: "ca certificate corrupt", corrupt: "ca.crt", want: "ca.crt: no PEM certificate found"},
		{name: "ca key corrupt", corrupt: "ca.key", want: "ca.key: no PEM private key found"},
		{name: "token key corrupt", corrupt: "sa.key", want: "sa.key: no PEM private key found"},
		{name: "leaf corrupt", corrupt: "apiserver.crt", want: "apiserver.crt: no PEM certificate found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			ensure(t, dir, time.Now())
			if c.remove != "" {
				os.Remove(filepath.Join(dir, "pki", c.remove))
			}
			if c.corrupt != "" {
				if err := os.WriteFile(filepath.Join(dir, "pki", c.corrupt), []byte("garbage"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Ensure(filepath.Join(dir, "pki"), options(dir, time.Now()))
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzPEM(f *testing.F) {
	key, err := newKey()
	if err != nil {
		f.Fatal(err)
	}
	text, err := encodeKey(key)
	if err != nil {
		f.Fatal(err)
	}
	a, err := newAuthority("x", key, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(a.PEM)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseKey(b); err == nil && k.Public() == nil {
			t.Error("a key without a public half")
		}
		if c, err := ParseCertificates(b); err == nil && len(c) == 0 {
			t.Error("no certificate and no error")
		}
	})
}
