package authn

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"skiff.dev/skiff/auth"
)

// Tokens knows users by bearer tokens. audiences are those that the caller asks
// for, nil for the API server's own; matched those of them that the token is for.
// ok is false without an error where the token is of another kind.
type Tokens interface {
	AuthenticateToken(token string, audiences []string) (u *auth.User, matched []string, ok bool, err error)
}

var errInvalidToken = errors.New("invalid bearer token")

// Bearer authenticates the Authorization header and, for browsers' WebSockets, the
// subprotocol that carries a token. Both are removed from a request that succeeds,
// so that no handler passes them on.
type Bearer struct {
	Tokens Tokens
}

const (
	bearerProtocol = "base64url.bearer.authorization.k8s.io."
	protocolHeader = "Sec-Websocket-Protocol"
)

// Authenticate implements auth.Authenticator.
func (b Bearer) Authenticate(r *http.Request) (*auth.User, bool, error) {
	if t, ok := headerToken(r.Header.Get("Authorization")); ok {
		u, err := b.user(t)
		if err != nil {
			return nil, false, err
		}
		r.Header.Del("Authorization")
		return u, true, nil
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return nil, false, nil
	}
	t, rest, err := protocolToken(r.Header.Values(protocolHeader))
	if err != nil || t == "" {
		return nil, false, err
	}
	u, err := b.user(t)
	if err != nil {
		return nil, false, err
	}
	r.Header.Set(protocolHeader, strings.Join(rest, ","))
	return u, true, nil
}

func (b Bearer) user(token string) (*auth.User, error) {
	u, _, ok, err := b.Tokens.AuthenticateToken(token, nil)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errInvalidToken
	}
	return authenticated(u), nil
}

func authenticated(u *auth.User) *auth.User {
	v := *u
	v.Groups = withAuthenticated(u.Name, u.Groups)
	return &v
}

// headerToken reads "Bearer TOKEN".
func headerToken(h string) (string, bool) {
	parts := strings.SplitN(strings.TrimSpace(h), " ", 3)
	if len(parts) < 2 || !strings.EqualFold(parts[0], "bearer") || parts[1] == "" {
		return "", false
	}
	return parts[1], true
}

// protocolToken finds a token among subprotocols, and the other subprotocols, of
// which there must be one for the server to agree to.
func protocolToken(headers []string) (token string, rest []string, err error) {
	seen := false
	for _, h := range headers {
		for _, p := range strings.Split(h, ",") {
			p = strings.TrimSpace(p)
			if !strings.HasPrefix(p, bearerProtocol) {
				rest = append(rest, p)
				continue
			}
			if seen {
				return "", nil, errors.New("multiple base64.bearer.authorization tokens specified")
			}
			seen = true
			b, err := base64.RawURLEncoding.DecodeString(p[len(bearerProtocol):])
			if err != nil {
				return "", nil, errors.New("invalid base64.bearer.authorization token encoding")
			}
			if !utf8.Valid(b) {
				return "", nil, errors.New("invalid base64.bearer.authorization token")
			}
			token = string(b)
		}
	}
	if token != "" && len(rest) == 0 {
		return "", nil, errors.New("missing additional subprotocol")
	}
	return token, rest, nil
}
