package sealed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"
)

// providerPrefix begins every value that Kubernetes' providers have sealed:
// k8s:enc:<provider>:v1:<name of the key>:<bytes>.
const providerPrefix = "k8s:enc:"

// Provider is one of Kubernetes' providers with one key. Provider "" is identity:
// values as they are (apiserver/pkg/storage/value/encrypt).
type Provider struct {
	name   string // aescbc, aesgcm, secretbox or ""
	prefix string
	seal   func(key string, plain []byte) ([]byte, error)
	open   func(key string, body []byte) ([]byte, error)
}

// Identity stores values as they are.
func Identity() Provider { return Provider{} }

// NewProvider makes the provider of a kind (aescbc, aesgcm, secretbox) with a named
// key.
func NewProvider(kind, name string, secret []byte) (Provider, error) {
	p := Provider{name: kind, prefix: providerPrefix + kind + ":v1:" + name + ":"}
	switch kind {
	case "aescbc", "aesgcm":
		block, err := aes.NewCipher(secret)
		if err != nil {
			return p, err
		}
		if kind == "aescbc" {
			p.seal, p.open = cbc(block)
			return p, nil
		}
		a, err := cipher.NewGCM(block)
		if err != nil {
			return p, err
		}
		p.seal, p.open = gcm(a)
	case "secretbox":
		if len(secret) != 32 {
			return p, fmt.Errorf("a secretbox key has 32 bytes, not %d", len(secret))
		}
		p.seal, p.open = box([32]byte(secret))
	default:
		return p, fmt.Errorf("there is no provider %q", kind)
	}
	return p, nil
}

var errChanged = errors.New("the value was changed, or its key is another than it was sealed with")

func gcm(a cipher.AEAD) (seal, open func(string, []byte) ([]byte, error)) {
	n := a.NonceSize()
	return func(key string, plain []byte) ([]byte, error) {
			nonce := make([]byte, n, n+len(plain)+a.Overhead())
			if _, err := rand.Read(nonce); err != nil {
				return nil, err
			}
			return a.Seal(nonce, nonce, plain, []byte(key)), nil
		}, func(key string, body []byte) ([]byte, error) {
			if len(body) < n {
				return nil, errChanged
			}
			plain, err := a.Open(nil, body[:n], body[n:], []byte(key))
			if err != nil {
				return nil, errChanged
			}
			return plain, nil
		}
}

func cbc(block cipher.Block) (seal, open func(string, []byte) ([]byte, error)) {
	n := block.BlockSize()
	return func(_ string, plain []byte) ([]byte, error) {
			pad := n - len(plain)%n
			out := make([]byte, n+len(plain)+pad)
			if _, err := rand.Read(out[:n]); err != nil {
				return nil, err
			}
			copy(out[n:], plain)
			copy(out[n+len(plain):], bytes.Repeat([]byte{byte(pad)}, pad))
			cipher.NewCBCEncrypter(block, out[:n]).CryptBlocks(out[n:], out[n:])
			return out, nil
		}, func(_ string, body []byte) ([]byte, error) {
			if len(body) < 2*n || len(body)%n != 0 {
				return nil, errChanged
			}
			plain := make([]byte, len(body)-n)
			cipher.NewCBCDecrypter(block, body[:n]).CryptBlocks(plain, body[n:])
			pad := int(plain[len(plain)-1])
			if pad == 0 || pad > n || !bytes.Equal(plain[len(plain)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
				return nil, errChanged
			}
			return plain[:len(plain)-pad], nil
		}
}

func box(secret [32]byte) (seal, open func(string, []byte) ([]byte, error)) {
	const n = 24
	return func(_ string, plain []byte) ([]byte, error) {
			var nonce [n]byte
			if _, err := rand.Read(nonce[:]); err != nil {
				return nil, err
			}
			return secretbox.Seal(append([]byte(nil), nonce[:]...), plain, &nonce, &secret), nil
		}, func(_ string, body []byte) ([]byte, error) {
			if len(body) < n {
				return nil, errChanged
			}
			plain, ok := secretbox.Open(nil, body[n:], (*[n]byte)(body[:n]), &secret)
			if !ok {
				return nil, errChanged
			}
			return plain, nil
		}
}

// Chain seals by the first of its providers and opens by all. Values that nothing
// has sealed are read only if identity is among them, as in Kubernetes. Ring, where
// not nil, opens what the cluster's own keys have sealed before.
type Chain struct {
	Providers []Provider
	Ring      *Ring
}

// Seal implements Cipher.
func (c *Chain) Seal(key string, plain []byte) ([]byte, error) {
	p := &c.Providers[0]
	if p.seal == nil {
		return plain, nil
	}
	body, err := p.seal(key, plain)
	if err != nil {
		return nil, fmt.Errorf("sealed: %s: %w", key, err)
	}
	return append([]byte(p.prefix), body...), nil
}

// Open implements Cipher.
func (c *Chain) Open(key string, stored []byte) ([]byte, bool, error) {
	if c.Ring != nil && c.Ring.Sealed(stored) {
		plain, _, err := c.Ring.Open(key, stored)
		return plain, true, err
	}
	plainly := !isSealed(stored)
	for i := range c.Providers {
		p := &c.Providers[i]
		switch {
		case p.open == nil && plainly:
			return stored, i > 0, nil
		case p.open != nil && bytes.HasPrefix(stored, []byte(p.prefix)):
			plain, err := p.open(key, stored[len(p.prefix):])
			if err != nil {
				return nil, false, fmt.Errorf("sealed by %s: %w", strings.TrimSuffix(p.prefix, ":"), err)
			}
			return plain, i > 0, nil
		}
	}
	if plainly {
		return nil, false, errors.New("not sealed, and the encryption configuration has no identity provider for it: add identity as the last one")
	}
	name := stored[:min(len(stored), 80)]
	if parts := bytes.SplitN(stored, []byte(":"), 6); len(parts) == 6 {
		name = bytes.Join(parts[:5], []byte(":"))
	}
	return nil, false, fmt.Errorf("sealed by %q, and the encryption configuration has no such key: add it as a further provider", name)
}
