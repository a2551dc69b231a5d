package images

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"skiff.dev/skiff/engine"
)

// maxAuth bounds the header with credentials.
const maxAuth = 64 << 10

// credentials reads X-Registry-Auth; what is not valid is none, as with Docker.
func credentials(h http.Header) func(host string) (user, secret string, err error) {
	c, ok := decodeAuth(h.Get(registry.AuthHeader))
	if !ok {
		return nil
	}
	if c.Auth != "" && c.Username == "" {
		if b, err := base64.StdEncoding.DecodeString(c.Auth); err == nil {
			c.Username, c.Password, _ = strings.Cut(string(b), ":")
		}
	}
	user, secret := c.Username, c.Password
	if c.IdentityToken != "" {
		user, secret = "", c.IdentityToken
	}
	if user == "" && secret == "" {
		return nil
	}
	return func(string) (string, string, error) { return user, secret, nil }
}

func decodeAuth(text string) (c registry.AuthConfig, ok bool) {
	if text == "" || len(text) > maxAuth {
		return c, false
	}
	text = strings.TrimRight(text, "=")
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		if b, err = base64.RawStdEncoding.DecodeString(text); err != nil {
			return c, false
		}
	}
	return c, json.Unmarshal(b, &c) == nil
}

func pullOptions(h http.Header) engine.PullOptions {
	return engine.PullOptions{Credentials: credentials(h), Again: true, Keep: true}
}
