// Package authn finds the user of a request: from a client certificate, from a
// bearer token, or anonymous; and it answers TokenReview and impersonation. It
// joins what packages pki and token know into the one auth.Authenticator that the
// API server calls.
package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/recent"
)

// Certificates authenticates TLS client certificates: the common name is the user,
// the organizations are the groups. A certificate is verified once and remembered
// until it ends.
type Certificates struct {
	roots func() *x509.CertPool
	now   func() time.Time
	seen  *recent.Map[[32]byte, known]
	// leaves finds what seen has without hashing, by the certificates of connections.
	leaves *recent.Map[*x509.Certificate, known]
}

type known struct {
	user  *auth.User
	roots *x509.CertPool
	until time.Time
}

// NewCertificates trusts what roots holds at the time of a request; another pool
// forgets what the one before had verified. now may be nil.
func NewCertificates(roots func() *x509.CertPool, now func() time.Time) *Certificates {
	if now == nil {
		now = time.Now
	}
	return &Certificates{roots, now, recent.New[[32]byte, known](1024), recent.New[*x509.Certificate, known](1024)}
}

// Authenticate implements auth.Authenticator.
func (c *Certificates) Authenticate(r *http.Request) (*auth.User, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	leaf := r.TLS.PeerCertificates[0]
	roots, now := c.roots(), c.now()
	if k, ok := c.leaves.Get(leaf); ok && k.roots == roots && now.Before(k.until) {
		return k.user, k.user != nil, nil
	}
	sum := sha256.Sum256(leaf.Raw)
	if k, ok := c.seen.Get(sum); ok && k.roots == roots && now.Before(k.until) {
		c.leaves.Put(leaf, k)
		return k.user, k.user != nil, nil
	}
	until, err := verifyClient(r.TLS.PeerCertificates, roots, now)
	if err != nil {
		return nil, false, fmt.Errorf("verifying certificate SN=%d, SKID=%s, AKID=%s failed: %w",
			leaf.SerialNumber, colons(leaf.SubjectKeyId), colons(leaf.AuthorityKeyId), err)
	}
	u, err := userOfCertificate(leaf, sum)
	if err != nil {
		return nil, false, err
	}
	c.seen.Put(sum, known{u, roots, until})
	c.leaves.Put(leaf, known{u, roots, until})
	return u, u != nil, nil
}

// uidOID is the subject attribute that carries a user's uid in Kubernetes.
var uidOID = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

// userOfCertificate returns nil for a certificate without a common name.
func userOfCertificate(c *x509.Certificate, sum [32]byte) (*auth.User, error) {
	if c.Subject.CommonName == "" {
		return nil, nil
	}
	u := &auth.User{
		Name:   c.Subject.CommonName,
		Groups: withAuthenticated(c.Subject.CommonName, c.Subject.Organization),
		Extra:  map[string][]string{"authentication.kubernetes.io/credential-id": {"X509SHA256=" + hex.EncodeToString(sum[:])}},
	}
	found := false
	for _, n := range c.Subject.Names {
		if !n.Type.Equal(uidOID) {
			continue
		}
		uid, ok := n.Value.(string)
		switch {
		case !ok:
			return nil, errors.New("unable to parse UID into a string")
		case found:
			return nil, fmt.Errorf("expected 1 UID, but found multiple: %v", []string{u.UID, uid})
		case uid == "":
			return nil, errors.New("UID cannot be an empty string")
		}
		u.UID, found = uid, true
	}
	return u, nil
}

func colons(b []byte) string {
	parts := make([]string, len(b))
	for i, x := range b {
		parts[i] = fmt.Sprintf("%02X", x)
	}
	return strings.Join(parts, ":")
}

// withAuthenticated adds the group of all authenticated users, as Kubernetes does
// to every identity that is neither anonymous nor in one of the two groups.
func withAuthenticated(name string, groups []string) []string {
	if name == auth.UserAnonymous {
		return groups
	}
	for _, g := range groups {
		if g == auth.GroupAuthenticated || g == auth.GroupUnauthenticated {
			return groups
		}
	}
	return append(append(make([]string, 0, len(groups)+1), groups...), auth.GroupAuthenticated)
}
