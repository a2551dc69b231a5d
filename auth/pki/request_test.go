package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"
	"time"
)

func makeRequest(t testing.TB, cn string, org ...string) []byte {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: cn, Organization: org}, DNSNames: []string{"a.example"},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0x03, 0x01, 0x01, 0xff}}}, // CA:TRUE
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func TestSignRequest(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	m := ensure(t, t.TempDir(), now)
	for _, c := range []struct {
		name       string
		life       time.Duration
		begin, end time.Duration // from now
	}{
		{"long", 24 * time.Hour, -5 * time.Minute, 24*time.Hour - 5*time.Minute},
		{"brief", 10 * time.Minute, -5 * time.Minute, 10 * time.Minute},
		{"longer than the authority", 2 * caLife, -5 * time.Minute, m.CA.Cert.NotAfter.Sub(now)},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, err := m.CA.SignRequest(makeRequest(t, "jane", "devs"), x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, c.life, now)
			if err != nil {
				t.Fatal(err)
			}
			certs, err := ParseCertificates(text)
			if err != nil {
				t.Fatal(err)
			}
			x := certs[0]
			if x.IsCA || !x.BasicConstraintsValid {
				t.Error("the request made an authority of itself")
			}
			if x.Subject.String() != "CN=jane,O=devs" || len(x.DNSNames) != 1 {
				t.Errorf("%s %v", x.Subject, x.DNSNames)
			}
			if b, e := x.NotBefore.Sub(now), x.NotAfter.Sub(now); b != c.begin || e != c.end {
				t.Errorf("from %v to %v, want %v to %v", b, e, c.begin, c.end)
			}
			if _, err := x.Verify(x509.VerifyOptions{Roots: m.CA.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := m.CA.SignRequest(makeRequest(t, "jane"), 0, nil, time.Hour, m.CA.Cert.NotAfter.Add(time.Hour)); err == nil {
		t.Error("an authority that has ended signs")
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(makeRequest(f, "jane"))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRequest(b); err == nil && r == nil {
			t.Error("neither a request nor an error")
		}
	})
}
