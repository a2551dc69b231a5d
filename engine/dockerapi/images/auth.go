package images

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"skiff.dev/skiff/engine"
)

// maxAuth bounds the header with credentials.
const maxAuth = 64 << 10

// hubNames are the names by which clients call Docker's own registry.
var hubNames = []string{"docker.io", "index.docker.io", "registry-1.docker.io"}

// sameRegistry tells whether credentials for one address, as clients keep it, are
// for the registry at host.
func sameRegistry(address, host string) bool {
	name := address
	if _, rest, ok := strings.Cut(name, "://"); ok {
		name = rest
	}
	name, _, _ = strings.Cut(name, "/")
	return name == "" || name == host || slices.Contains(hubNames, name) && slices.Contains(hubNames, host)
}

// identify takes X-Registry-Auth into o; what is not valid is none, as with Docker.
func identify(o *engine.PullOptions, h http.Header) {
	c, ok := decodeAuth(h.Get(registry.AuthHeader))
	if !ok {
		return
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
	if c.RegistryToken != "" {
		o.Token = func(host string) string {
			if !sameRegistry(c.ServerAddress, host) {
				return ""
			}
			return c.RegistryToken
		}
	}
	if user == "" && secret == "" {
		return
	}
	o.Credentials = func(host string) (string, string, error) {
		if !sameRegistry(c.ServerAddress, host) {
			return "", "", nil
		}
		return user, secret, nil
	}
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
	o := engine.PullOptions{Again: true, Keep: true}
	identify(&o, h)
	return o
}
