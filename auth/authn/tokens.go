package authn

import (
	"slices"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"skiff.dev/skiff/auth"
)

// TokenUnion asks one after the other and takes the first answer; the errors count
// only if none knows the token (token/union).
type TokenUnion []Tokens

// AuthenticateToken implements Tokens.
func (a TokenUnion) AuthenticateToken(token string, audiences []string) (*auth.User, []string, bool, error) {
	var errs []error
	for _, t := range a {
		u, matched, ok, err := t.AuthenticateToken(token, audiences)
		if ok && err == nil {
			return u, matched, true, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return nil, nil, false, utilerrors.NewAggregate(errs)
}

// PlainTokens knows users by tokens that say nothing of audiences.
type PlainTokens interface {
	AuthenticatePlainToken(token string) (u *auth.User, ok bool, err error)
}

// ForAudiences makes tokens good for the API server's audiences alone
// (authenticator, WrapAudienceAgnosticToken).
type ForAudiences struct {
	Own []string
	Of  PlainTokens
}

// AuthenticateToken implements Tokens.
func (f ForAudiences) AuthenticateToken(token string, audiences []string) (*auth.User, []string, bool, error) {
	matched := f.Own
	if audiences != nil {
		matched = nil
		for _, a := range f.Own {
			if slices.Contains(audiences, a) {
				matched = append(matched, a)
			}
		}
		if len(matched) == 0 {
			return nil, nil, false, nil
		}
	}
	u, ok, err := f.Of.AuthenticatePlainToken(token)
	if err != nil || !ok {
		return nil, nil, false, err
	}
	return u, matched, true, nil
}
