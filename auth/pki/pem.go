package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	blockCertificate = "CERTIFICATE"
	blockPKCS8       = "PRIVATE KEY"
	blockEC          = "EC PRIVATE KEY"
	blockRSA         = "RSA PRIVATE KEY"
	blockPublic      = "PUBLIC KEY"
)

// ParseKey reads the first private key of PEM text: PKCS#8, SEC 1 or PKCS#1, of
// ECDSA or RSA. Other blocks before it (EC PARAMETERS) are passed over.
func ParseKey(text []byte) (crypto.Signer, error) {
	for {
		b, rest := pem.Decode(text)
		if b == nil {
			return nil, errors.New("no PEM private key found")
		}
		text = rest
		var key any
		var err error
		switch b.Type {
		case blockPKCS8:
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case blockEC:
			key, err = x509.ParseECPrivateKey(b.Bytes)
		case blockRSA:
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("corrupt private key: %w", err)
		}
		switch k := key.(type) {
		case *ecdsa.PrivateKey:
			return k, nil
		case *rsa.PrivateKey:
			return k, nil
		default:
			return nil, fmt.Errorf("unsupported private key type %T", key)
		}
	}
}

// ParseCertificates reads every certificate of PEM text, at least one.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		b, rest := pem.Decode(text)
		if b == nil {
			break
		}
		text = rest
		if b.Type != blockCertificate {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("corrupt certificate: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no PEM certificate found")
	}
	return out, nil
}

func encodeKey(k crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockPKCS8, Bytes: der}), nil
}

func encodePublic(k crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockPublic, Bytes: der}), nil
}

// EncodeCertificate returns c as PEM.
func EncodeCertificate(c *x509.Certificate) []byte { return encodeCert(c.Raw) }

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der})
}

type equaler interface{ Equal(crypto.PublicKey) bool }

func samePublic(a, b crypto.PublicKey) bool {
	c, ok := a.(equaler)
	return ok && c.Equal(b)
}
