package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
)

// Paths of the documents by which others verify tokens (OpenID Connect discovery).
const (
	ConfigPath = "/.well-known/openid-configuration"
	KeysPath   = "/openid/v1/jwks"
)

type jwk struct {
	Use string `json:"use,omitempty"`
	KTY string `json:"kty,omitempty"`
	KID string `json:"kid,omitempty"`
	CRV string `json:"crv,omitempty"`
	Alg string `json:"alg,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
}

func (k publicKey) jwk() jwk {
	out := jwk{Use: "sig", KID: k.id, Alg: k.alg}
	switch p := k.key.(type) {
	case *ecdsa.PublicKey:
		alg, _ := algorithmOf(crypto.PublicKey(p))
		out.KTY, out.CRV = "EC", p.Params().Name
		if point, err := p.Bytes(); err == nil && len(point) == 1+2*alg.size {
			out.X, out.Y = b64.EncodeToString(point[1:1+alg.size]), b64.EncodeToString(point[1+alg.size:])
		}
	case *rsa.PublicKey:
		out.KTY = "RSA"
		out.N, out.E = b64.EncodeToString(p.N.Bytes()), b64.EncodeToString(big.NewInt(int64(p.E)).Bytes())
	}
	return out
}

// Discovery returns the handlers of ConfigPath and KeysPath. jwksURI is the URL of
// KeysPath as others reach it.
func (i *Issuer) Discovery(jwksURI string) (config, keys http.Handler, err error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	var algs []string
	for _, k := range i.keys {
		set.Keys = append(set.Keys, k.jwk())
		if !slices.Contains(algs, k.alg) {
			algs = append(algs, k.alg)
		}
	}
	slices.Sort(algs)
	keysJSON, err := json.Marshal(set)
	if err != nil {
		return nil, nil, err
	}
	configJSON, err := json.Marshal(struct {
		Issuer    string   `json:"issuer"`
		JWKSURI   string   `json:"jwks_uri"`
		Responses []string `json:"response_types_supported"`
		Subjects  []string `json:"subject_types_supported"`
		Algs      []string `json:"id_token_signing_alg_values_supported"`
	}{i.name, jwksURI, []string{"id_token"}, []string{"public"}, algs})
	if err != nil {
		return nil, nil, err
	}
	return document("application/json", configJSON), document("application/jwk-set+json", keysJSON), nil
}

func document(mediaType string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Write(body)
	})
}
