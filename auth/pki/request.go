package pki

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// How a requested certificate begins and ends (controller/certificates/signer).
const (
	backdate = 5 * time.Minute
	// briefLife is under what its end is not moved with its beginning: five minutes
	// would be much of it.
	briefLife = 8 * time.Hour
)

// RequestLife is the longest life of a requested certificate, and what one gets that
// asks for none (Kubernetes' --cluster-signing-duration).
const RequestLife = leafLife

// ParseRequest reads a certificate request from PEM.
func ParseRequest(text []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// SignRequest certifies what a request asks for, for some uses and a life from now,
// and returns PEM. Subject, names and addresses are the request's, its extensions
// are not: it can never be an authority's (certificates/authority,
// PermissiveSigningPolicy).
func (a *Authority) SignRequest(text []byte, usage x509.KeyUsage, ext []x509.ExtKeyUsage, life time.Duration, now time.Time) ([]byte, error) {
	req, err := ParseRequest(text)
	if err != nil {
		return nil, fmt.Errorf("unable to parse certificate request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("unable to verify certificate request signature: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	begin, end := now.Add(-backdate), now.Add(life)
	if life >= briefLife {
		end = end.Add(-backdate)
	}
	if !end.Before(a.Cert.NotAfter) {
		end = a.Cert.NotAfter
	}
	if !begin.Before(end) || !now.Before(a.Cert.NotAfter) {
		return nil, fmt.Errorf("the signer has expired: NotAfter=%v", a.Cert.NotAfter)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber:          serial,
		Subject:               req.Subject,
		DNSNames:              req.DNSNames,
		IPAddresses:           req.IPAddresses,
		EmailAddresses:        req.EmailAddresses,
		URIs:                  req.URIs,
		NotBefore:             begin,
		NotAfter:              end,
		KeyUsage:              usage,
		ExtKeyUsage:           ext,
		BasicConstraintsValid: true,
	}, a.Cert, req.PublicKey, a.Key)
	if err != nil {
		return nil, fmt.Errorf("failed to sign certificate: %w", err)
	}
	return encodeCert(der), nil
}
