// Package token makes and reads service account tokens: signed JWTs that live for
// a limited time and no longer than the service account and the pod, secret or
// node that they are bound to. It answers TokenRequest, and publishes the public
// keys as OpenID Connect discovery does. It reads objects through Objects, which
// the API server's cache fulfils.
package token

import (
	"crypto"
	"fmt"

	v1 "k8s.io/api/core/v1"
)

// Objects reads what tokens are bound to; ok is false for what does not exist.
// What it returns is shared and not changed.
type Objects interface {
	ServiceAccount(namespace, name string) (*v1.ServiceAccount, bool)
	Pod(namespace, name string) (*v1.Pod, bool)
	Secret(namespace, name string) (*v1.Secret, bool)
	Node(name string) (*v1.Node, bool)
}

// Issuer signs tokens and knows the keys that signed them. It is immutable.
type Issuer struct {
	name string
	key  crypto.Signer
	alg  algorithm
	kid  string
	keys []publicKey // the signing key's first
}

type publicKey struct {
	key crypto.PublicKey
	id  string
	alg string
}

// NewIssuer signs with key under the name of an https URL. Tokens that were signed
// by one of the older keys are still good.
func NewIssuer(name string, key crypto.Signer, older ...crypto.PublicKey) (*Issuer, error) {
	alg, err := algorithmOf(key.Public())
	if err != nil {
		return nil, err
	}
	i := &Issuer{name: name, key: key, alg: alg}
	for _, k := range append([]crypto.PublicKey{key.Public()}, older...) {
		a, err := algorithmOf(k)
		if err != nil {
			return nil, err
		}
		id, err := keyID(k)
		if err != nil {
			return nil, err
		}
		i.keys = append(i.keys, publicKey{k, id, a.name})
	}
	i.kid = i.keys[0].id
	return i, nil
}

// Name is the issuer that tokens carry.
func (i *Issuer) Name() string { return i.name }

// Sign makes a token of claims, whose issuer it sets.
func (i *Issuer) Sign(c *Claims) (string, error) {
	c.Issuer = i.name
	t, err := sign(i.key, i.alg, i.kid, c)
	if err != nil {
		return "", fmt.Errorf("token: sign: %w", err)
	}
	return t, nil
}

// check finds the key of p and verifies its signature.
func (i *Issuer) check(p *parsed) error {
	found := false
	for _, k := range i.keys {
		if p.header.KID != "" && p.header.KID != k.id {
			continue
		}
		found = true
		if p.verify(k.key) == nil {
			return nil
		}
	}
	if !found {
		return fmt.Errorf("invalid signature, no keys found")
	}
	return errSignature
}
