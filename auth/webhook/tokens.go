package webhook

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/auth"
)

// Tokens knows users by asking a server with TokenReviews. Answers hold for TTL, errors
// for nothing (authenticator/token/webhook).
type Tokens struct {
	caller    *Caller
	version   string
	audiences []string
	ttl       time.Duration
	known     *answers[authenticationv1.TokenReviewStatus]
}

// NewTokens asks caller in the version v1 or v1beta1. audiences are the API server's own.
// now may be nil.
func NewTokens(caller *Caller, version string, audiences []string, ttl time.Duration, now func() time.Time) (*Tokens, error) {
	if version != "v1" && version != "v1beta1" {
		return nil, fmt.Errorf("unsupported authentication webhook version %q, supported versions are %q, %q", version, "v1", "v1beta1")
	}
	return &Tokens{caller, version, audiences, ttl, newAnswers[authenticationv1.TokenReviewStatus](now)}, nil
}

// AuthenticateToken implements authn.Tokens.
func (t *Tokens) AuthenticateToken(token string, audiences []string) (*auth.User, []string, bool, error) {
	wanted := audiences
	if wanted == nil {
		wanted = t.audiences
	}
	status, err := t.known.get([]byte(token+"\x00"+strings.Join(wanted, "\x00")), func() (authenticationv1.TokenReviewStatus, time.Duration, error) {
		in := &authenticationv1.TokenReview{
			TypeMeta: metav1.TypeMeta{APIVersion: authenticationv1.GroupName + "/" + t.version, Kind: "TokenReview"},
			Spec:     authenticationv1.TokenReviewSpec{Token: token, Audiences: wanted},
		}
		var out authenticationv1.TokenReview
		err := t.caller.Review(context.Background(), in, &out)
		ttl := t.ttl
		if !out.Status.Authenticated && out.Status.Error != "" {
			ttl = 0
		}
		return out.Status, ttl, err
	})
	if err != nil {
		return nil, nil, false, err
	}
	has := t.audiences
	if len(status.Audiences) > 0 {
		has = status.Audiences
	}
	var matched []string
	for _, a := range wanted {
		if slices.Contains(has, a) {
			matched = append(matched, a)
		}
	}
	switch {
	case len(matched) == 0 && len(wanted) > 0:
		return nil, nil, false, nil
	case !status.Authenticated && status.Error != "":
		return nil, nil, false, errors.New(status.Error)
	case !status.Authenticated:
		return nil, nil, false, nil
	}
	u := &auth.User{Name: status.User.Username, UID: status.User.UID, Groups: status.User.Groups}
	if len(status.User.Extra) > 0 {
		u.Extra = make(map[string][]string, len(status.User.Extra))
		for k, v := range status.User.Extra {
			u.Extra[k] = v
		}
	}
	return u, matched, true, nil
}
