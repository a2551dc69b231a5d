package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// Authority signs certificates.
type Authority struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	PEM  []byte // the certificate

	once sync.Once
	pool *x509.CertPool
}

// Pool holds the authority's certificate alone. It is the same pool each time and
// nobody may change it: what was verified against it can be remembered.
func (a *Authority) Pool() *x509.CertPool {
	a.once.Do(func() {
		a.pool = x509.NewCertPool()
		a.pool.AddCert(a.Cert)
	})
	return a.pool
}

// Profile says what a certificate is for.
type Profile struct {
	Name   string   // common name: the user
	Groups []string // organizations: the user's groups
	DNS    []string
	IPs    []net.IP
	Server bool // may serve TLS
	Client bool // may authenticate a client
	// Life is how long it is good for; 0 means one year.
	Life time.Duration
}

// Pair is a certificate with its private key, parsed and as PEM.
type Pair struct {
	Cert    *x509.Certificate
	Key     crypto.Signer
	CertPEM []byte
	KeyPEM  []byte
}

// TLS returns the pair as crypto/tls takes it.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
}

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	// clockSkew is how far before now a certificate begins to be good, for machines
	// whose clocks differ.
	clockSkew = 5 * time.Minute
)

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// newAuthority signs key's own certificate.
func newAuthority(name string, key crypto.Signer, now time.Time) (*Authority, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: name},
		DNSNames:              []string{name},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign CA %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{Cert: cert, Key: key, PEM: encodeCert(der)}, nil
}

// Issue makes a new key and a certificate of profile p for it.
func (a *Authority) Issue(p Profile, now time.Time) (*Pair, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	cert, err := a.Sign(p, key.Public(), now)
	if err != nil {
		return nil, err
	}
	return &Pair{Cert: cert, Key: key, CertPEM: encodeCert(cert.Raw), KeyPEM: keyPEM}, nil
}

// Sign certifies somebody else's public key with profile p: a joining node's.
func (a *Authority) Sign(p Profile, pub crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	life := p.Life
	if life == 0 {
		life = leafLife
	}
	end := now.Add(life)
	if end.After(a.Cert.NotAfter) {
		end = a.Cert.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: p.Name, Organization: p.Groups},
		DNSNames:              p.DNS,
		IPAddresses:           p.IPs,
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if p.Server {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	if p.Client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.Cert, pub, a.Key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign %s: %w", p.Name, err)
	}
	return x509.ParseCertificate(der)
}

// good tells why c no longer serves p at now, "" when it does. A certificate
// counts as ending when less than a third of its life is left.
func (a *Authority) good(c *x509.Certificate, p Profile, now time.Time) string {
	switch {
	case c.CheckSignatureFrom(a.Cert) != nil:
		return "signed by another authority"
	case now.Before(c.NotBefore):
		return "not valid yet"
	case now.After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)):
		return "near its end"
	case c.Subject.CommonName != p.Name || !sameSet(c.Subject.Organization, p.Groups):
		return "for another subject"
	}
	for _, d := range p.DNS {
		if !contains(c.DNSNames, d) {
			return "without the name " + d
		}
	}
	for _, ip := range p.IPs {
		found := false
		for _, have := range c.IPAddresses {
			found = found || have.Equal(ip)
		}
		if !found {
			return "without the address " + ip.String()
		}
	}
	return ""
}

// Hash returns the authority's public key hash as kubeadm prints it for
// --discovery-token-ca-cert-hash.
func (a *Authority) Hash() string {
	return fmt.Sprintf("sha256:%x", sha256.Sum256(a.Cert.RawSubjectPublicKeyInfo))
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !contains(b, x) {
			return false
		}
	}
	return true
}
