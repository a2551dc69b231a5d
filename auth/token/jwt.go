package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"math"
	"math/big"
	"strings"
	"time"
)

var b64 = base64.RawURLEncoding

// Claims are what a service account token says, with the names and the order that
// Kubernetes gives them.
type Claims struct {
	Audiences Audiences `json:"aud,omitempty"`
	Expiry    Date      `json:"exp,omitempty"`
	IssuedAt  Date      `json:"iat,omitempty"`
	Issuer    string    `json:"iss,omitempty"`
	ID        string    `json:"jti,omitempty"`
	Private   Private   `json:"kubernetes.io"`
	NotBefore Date      `json:"nbf,omitempty"`
	Subject   string    `json:"sub,omitempty"`

	legacy *legacyClaims // of a token of old, which has no others
}

// Private is the claim kubernetes.io: whose token it is and what it is bound to.
type Private struct {
	Namespace      string `json:"namespace,omitempty"`
	Node           *Ref   `json:"node,omitempty"`
	Pod            *Ref   `json:"pod,omitempty"`
	Secret         *Ref   `json:"secret,omitempty"`
	ServiceAccount Ref    `json:"serviceaccount"`
	WarnAfter      Date   `json:"warnafter,omitempty"`
}

// Ref names one incarnation of an object.
type Ref struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// Date is a time in whole seconds, 0 for none.
type Date int64

// UnmarshalJSON accepts whole and broken numbers (RFC 7519, NumericDate).
func (d *Date) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return errors.New("expected number value to unmarshal NumericDate")
	}
	if math.Abs(f) > 1<<53 {
		return errors.New("NumericDate out of range")
	}
	*d = Date(f)
	return nil
}

// Time converts.
func (d Date) Time() time.Time { return time.Unix(int64(d), 0) }

// Audiences is a string or a list of strings.
type Audiences []string

// UnmarshalJSON accepts both forms.
func (a *Audiences) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = Audiences{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return errors.New("expected string or array value to unmarshal to Audience")
	}
	*a = many
	return nil
}

type header struct {
	Alg  string          `json:"alg"`
	KID  string          `json:"kid"`
	Crit json.RawMessage `json:"crit,omitempty"`
}

// algorithm is one way to sign, fixed by the key.
type algorithm struct {
	name string
	hash crypto.Hash
	new  func() hash.Hash
	size int // of each half of an ECDSA signature
}

func algorithmOf(k crypto.PublicKey) (algorithm, error) {
	switch k := k.(type) {
	case *rsa.PublicKey:
		return algorithm{"RS256", crypto.SHA256, sha256.New, 0}, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return algorithm{"ES256", crypto.SHA256, sha256.New, 32}, nil
		case elliptic.P384():
			return algorithm{"ES384", crypto.SHA384, sha512.New384, 48}, nil
		case elliptic.P521():
			return algorithm{"ES512", crypto.SHA512, sha512.New, 66}, nil
		}
	}
	return algorithm{}, fmt.Errorf("token: unsupported key type %T", k)
}

// keyID derives a key's id from its public half, as Kubernetes does.
func keyID(k crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return "", fmt.Errorf("token: key id: %w", err)
	}
	sum := sha256.Sum256(der)
	return b64.EncodeToString(sum[:]), nil
}

// sign returns claims as a compact JWS.
func sign(key crypto.Signer, alg algorithm, kid string, claims any) (string, error) {
	h, err := json.Marshal(struct {
		Alg string `json:"alg"`
		KID string `json:"kid"`
	}{alg.name, kid})
	if err != nil {
		return "", err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := b64.EncodeToString(h) + "." + b64.EncodeToString(c)
	digest := alg.new()
	digest.Write([]byte(text))
	sig, err := signDigest(key, alg, digest.Sum(nil))
	if err != nil {
		return "", err
	}
	return text + "." + b64.EncodeToString(sig), nil
}

func signDigest(key crypto.Signer, alg algorithm, digest []byte) ([]byte, error) {
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			return nil, err
		}
		out := make([]byte, 2*alg.size)
		r.FillBytes(out[:alg.size])
		s.FillBytes(out[alg.size:])
		return out, nil
	}
	return key.Sign(rand.Reader, digest, alg.hash)
}

// maxToken bounds what is decoded at all; Go's server bounds headers at 1 MB.
const maxToken = 64 << 10

// parsed is a token whose signature has not been looked at.
type parsed struct {
	header header
	claims Claims
	text   string // what is signed
	raw    []byte // the claims
	sig    []byte
}

// parse splits a compact JWS. Nothing in it can be trusted yet.
func parse(token string) (*parsed, error) {
	if len(token) > maxToken {
		return nil, errors.New("token: too long")
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("token: not a compact JWS: three parts expected")
	}
	var raw [3][]byte
	for i, p := range parts {
		b, err := b64.DecodeString(p)
		if err != nil {
			return nil, fmt.Errorf("token: part %d: %w", i+1, err)
		}
		raw[i] = b
	}
	p := &parsed{text: token[:len(parts[0])+1+len(parts[1])], raw: raw[1], sig: raw[2]}
	if err := json.Unmarshal(raw[0], &p.header); err != nil {
		return nil, fmt.Errorf("token: header: %w", err)
	}
	if p.header.Crit != nil {
		return nil, errors.New("token: header: critical extensions are not known")
	}
	if err := json.Unmarshal(raw[1], &p.claims); err != nil {
		return nil, fmt.Errorf("token: claims: %w", err)
	}
	return p, nil
}

var errSignature = errors.New("invalid signature")

// verify checks the signature against one key. The algorithm is the key's: what
// the header says must agree (RFC 8725, 3.1).
func (p *parsed) verify(key crypto.PublicKey) error {
	alg, err := algorithmOf(key)
	if err != nil {
		return err
	}
	if p.header.Alg != alg.name {
		return errSignature
	}
	d := alg.new()
	d.Write([]byte(p.text))
	digest := d.Sum(nil)
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if len(p.sig) != 2*alg.size {
			return errSignature
		}
		r := new(big.Int).SetBytes(p.sig[:alg.size])
		s := new(big.Int).SetBytes(p.sig[alg.size:])
		if !ecdsa.Verify(k, digest, r, s) {
			return errSignature
		}
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(k, alg.hash, digest, p.sig) != nil {
			return errSignature
		}
	}
	return nil
}
