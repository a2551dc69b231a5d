// Package pki keeps a cluster's own certificates and keys as files: the
// certificate authority, the key that signs service account tokens, serving
// certificates and the client certificates of the platform's parts; and it writes
// kubeconfigs. Everything is ECDSA P-256, PEM, readable for the owner alone and
// replaced atomically. Package auth and its authenticators use what it loads; the
// platform calls Ensure at start and when a node joins.
package pki

import (
	"crypto"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options say what the certificates are made for.
type Options struct {
	// NodeName makes the node's client and serving certificates; "" makes none.
	NodeName string
	// NodeIPs and NodeNames are further addresses at which the node and its API
	// server are reached.
	NodeIPs   []net.IP
	NodeNames []string
	// ServiceIP is the first address of the service range, where the service
	// kubernetes answers.
	ServiceIP net.IP
	// ClusterDomain is "cluster.local" when empty.
	ClusterDomain string
	// Server is the API's URL in kubeconfigs.
	Server string
	// AdminKubeconfig is where to write the administrator's; "" writes none.
	AdminKubeconfig string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Material is everything that Ensure found or made.
type Material struct {
	Dir string
	CA  *Authority
	// TokenKey signs service account tokens.
	TokenKey crypto.Signer

	Serving     *Pair // the API server's
	Admin       *Pair // group system:masters
	Controllers *Pair // user system:kube-controller-manager
	Scheduler   *Pair // user system:kube-scheduler
	NodeClient  *Pair // the API server's towards nodes, group system:masters
	Node        *Pair // the node's towards the API server; nil without a NodeName
	NodeServing *Pair // the node's own API; nil without a NodeName

	// FrontProxyCA is the authority of proxies that may speak for others, and
	// FrontProxy the API server's own identity as such a one, towards extension
	// servers. It is an authority apart: who can get a client certificate of the
	// cluster must not become a proxy by it.
	FrontProxyCA *Authority
	FrontProxy   *Pair

	options Options
	mu      sync.Mutex // guards the pairs that are renewed while the server runs
}

// Ensure loads the PKI of dir, makes what is missing, renews what nears its end
// or no longer fits the options, and keeps the rest. A file that cannot be read
// as what it should be is an error that names it (*FileError), never overwritten:
// a key may be the only copy.
func Ensure(dir string, o Options) (*Material, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ClusterDomain == "" {
		o.ClusterDomain = "cluster.local"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &FileError{dir, err}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, &FileError{dir, err}
	}
	m := &Material{Dir: dir, options: o}
	var err error
	if m.CA, err = ensureAuthority(dir, "ca", "kubernetes", o.Now()); err != nil {
		return nil, err
	}
	if m.FrontProxyCA, err = ensureAuthority(dir, "front-proxy-ca", "front-proxy-ca", o.Now()); err != nil {
		return nil, err
	}
	if m.TokenKey, err = ensureKey(filepath.Join(dir, "sa.key"), filepath.Join(dir, "sa.pub")); err != nil {
		return nil, err
	}
	for _, p := range m.profiles() {
		if *p.to, err = m.ensurePair(p.by, p.file, p.Profile); err != nil {
			return nil, err
		}
	}
	if o.AdminKubeconfig != "" {
		if err := m.WriteKubeconfig(o.AdminKubeconfig, "kubernetes-admin", m.Admin); err != nil {
			return nil, err
		}
	}
	return m, nil
}

type wanted struct {
	by   *Authority
	file string
	to   **Pair
	Profile
}

var frontProxyProfile = Profile{Name: "front-proxy-client", Client: true}

func (m *Material) profiles() []wanted {
	client := func(name string, groups ...string) Profile {
		return Profile{Name: name, Groups: groups, Client: true}
	}
	w := []wanted{
		{m.CA, "apiserver", &m.Serving, m.servingProfile()},
		{m.CA, "admin", &m.Admin, client("kubernetes-admin", "system:masters")},
		{m.CA, "controllers", &m.Controllers, client("system:kube-controller-manager")},
		{m.CA, "scheduler", &m.Scheduler, client("system:kube-scheduler")},
		{m.CA, "apiserver-node-client", &m.NodeClient, client("kube-apiserver-kubelet-client", "system:masters")},
		{m.FrontProxyCA, "front-proxy-client", &m.FrontProxy, frontProxyProfile},
	}
	if m.options.NodeName != "" {
		w = append(w,
			wanted{m.CA, "node", &m.Node, NodeProfile(m.options.NodeName)},
			wanted{m.CA, "node-serving", &m.NodeServing, NodeServingProfile(m.options.NodeName, m.options.NodeNames, m.options.NodeIPs)})
	}
	return w
}

// NodeProfile is the client certificate of a node (the kubelet's in Kubernetes).
func NodeProfile(name string) Profile {
	return Profile{Name: "system:node:" + name, Groups: []string{"system:nodes"}, Client: true}
}

// NodeServingProfile is the serving certificate of a node's own API.
func NodeServingProfile(name string, names []string, ips []net.IP) Profile {
	return Profile{
		Name: "system:node:" + name, Groups: []string{"system:nodes"}, Server: true,
		DNS: append([]string{name, "localhost"}, names...),
		IPs: append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, ips...),
	}
}

func (m *Material) servingProfile() Profile {
	o := m.options
	p := Profile{Name: "kube-apiserver", Server: true,
		DNS: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + o.ClusterDomain, "localhost"},
		IPs: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if o.NodeName != "" {
		p.DNS = append(p.DNS, o.NodeName)
	}
	p.DNS = append(p.DNS, o.NodeNames...)
	p.IPs = append(p.IPs, o.NodeIPs...)
	if o.ServiceIP != nil {
		p.IPs = append(p.IPs, o.ServiceIP)
	}
	return p
}

// ensureAuthority loads or makes name.crt and name.key. A certificate without
// its key is an error: a new authority would disown every certificate issued.
func ensureAuthority(dir, file, name string, now time.Time) (*Authority, error) {
	crt, key := filepath.Join(dir, file+".crt"), filepath.Join(dir, file+".key")
	certPEM, err := read(crt)
	if err != nil {
		return nil, err
	}
	keyPEM, err := read(key)
	if err != nil {
		return nil, err
	}
	if keyPEM == nil && certPEM != nil {
		return nil, &FileError{key, errors.New("missing, while " + crt + " exists: restore the key, or remove the certificate to begin a new authority")}
	}
	signer, err := ensureKey(key, "")
	if err != nil {
		return nil, err
	}
	if certPEM == nil {
		return writeAuthority(crt, name, signer, now)
	}
	certs, err := ParseCertificates(certPEM)
	if err != nil {
		return nil, &FileError{crt, err}
	}
	c := certs[0]
	if !samePublic(c.PublicKey, signer.Public()) {
		return nil, &FileError{crt, errors.New("does not belong to the key " + key)}
	}
	if !c.IsCA {
		return nil, &FileError{crt, errors.New("is not the certificate of an authority")}
	}
	if now.After(c.NotAfter.Add(-leafLife)) {
		// The same key and name: what it signed stays good.
		return writeAuthority(crt, c.Subject.CommonName, signer, now)
	}
	return &Authority{Cert: c, Key: signer, PEM: encodeCert(c.Raw)}, nil
}

func writeAuthority(path, name string, key crypto.Signer, now time.Time) (*Authority, error) {
	a, err := newAuthority(name, key, now)
	if err != nil {
		return nil, err
	}
	return a, WriteFile(path, a.PEM)
}

// ensureKey loads or makes a private key, and writes its public half to pub.
func ensureKey(path, pub string) (crypto.Signer, error) {
	text, err := read(path)
	if err != nil {
		return nil, err
	}
	var key crypto.Signer
	if text != nil {
		if key, err = ParseKey(text); err != nil {
			return nil, &FileError{path, err}
		}
	} else {
		if key, err = newKey(); err != nil {
			return nil, err
		}
		if text, err = encodeKey(key); err != nil {
			return nil, err
		}
		if err := WriteFile(path, text); err != nil {
			return nil, err
		}
	}
	if pub == "" {
		return key, nil
	}
	want, err := encodePublic(key.Public())
	if err != nil {
		return nil, err
	}
	have, err := read(pub)
	if err != nil {
		return nil, err
	}
	if string(have) != string(want) {
		return key, WriteFile(pub, want)
	}
	return key, nil
}

// ensurePair loads file.crt and file.key, or issues them anew where one is
// missing or the certificate no longer serves p.
func (m *Material) ensurePair(by *Authority, file string, p Profile) (*Pair, error) {
	crt, key := filepath.Join(m.Dir, file+".crt"), filepath.Join(m.Dir, file+".key")
	pair, err := loadPair(crt, key)
	if err != nil {
		return nil, err
	}
	if pair != nil && by.good(pair.Cert, p, m.options.Now()) == "" {
		return pair, nil
	}
	return m.renew(by, file, p)
}

func (m *Material) renew(by *Authority, file string, p Profile) (*Pair, error) {
	pair, err := by.Issue(p, m.options.Now())
	if err != nil {
		return nil, err
	}
	// A crash in between leaves a certificate with another key, which the next
	// loadPair reads as "issue again".
	if err := WriteFile(filepath.Join(m.Dir, file+".key"), pair.KeyPEM); err != nil {
		return nil, err
	}
	return pair, WriteFile(filepath.Join(m.Dir, file+".crt"), pair.CertPEM)
}

// loadPair returns nil when a file is missing or the two do not belong together.
func loadPair(crt, key string) (*Pair, error) {
	certPEM, err := read(crt)
	if err != nil {
		return nil, err
	}
	keyPEM, err := read(key)
	if err != nil {
		return nil, err
	}
	if certPEM == nil || keyPEM == nil {
		return nil, nil
	}
	certs, err := ParseCertificates(certPEM)
	if err != nil {
		return nil, &FileError{crt, err}
	}
	signer, err := ParseKey(keyPEM)
	if err != nil {
		return nil, &FileError{key, err}
	}
	if !samePublic(certs[0].PublicKey, signer.Public()) {
		return nil, nil
	}
	return &Pair{Cert: certs[0], Key: signer, CertPEM: certPEM, KeyPEM: keyPEM}, nil
}

// GetCertificate is crypto/tls's callback for the API server. A server that runs
// for years renews its own certificate here.
func (m *Material) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.serve(m.CA, "apiserver", &m.Serving, m.servingProfile)
}

// GetNodeCertificate is the same for the node's own API.
func (m *Material) GetNodeCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.serve(m.CA, "node-serving", &m.NodeServing, func() Profile {
		return NodeServingProfile(m.options.NodeName, m.options.NodeNames, m.options.NodeIPs)
	})
}

// GetFrontProxyCertificate is the API server's identity towards extension servers,
// as callout.New takes it.
func (m *Material) GetFrontProxyCertificate() (*tls.Certificate, error) {
	return m.serve(m.FrontProxyCA, "front-proxy-client", &m.FrontProxy, func() Profile { return frontProxyProfile })
}

func (m *Material) serve(by *Authority, file string, pair **Pair, profile func() Profile) (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if *pair == nil {
		return nil, errors.New("pki: no certificate " + file)
	}
	c := (*pair).Cert
	if m.options.Now().After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)) {
		if next, err := m.renew(by, file, profile()); err == nil {
			*pair = next
		} else if m.options.Now().After(c.NotAfter) {
			return nil, err
		}
	}
	t := (*pair).TLS()
	return &t, nil
}
