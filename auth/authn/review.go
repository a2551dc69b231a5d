package authn

import (
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff.dev/skiff/auth"
)

// Review answers a TokenReview in a copy. audiences are the API server's own.
func Review(t Tokens, audiences []string, in *authenticationv1.TokenReview) (*authenticationv1.TokenReview, error) {
	if in.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	out := in.DeepCopy()
	out.Status = authenticationv1.TokenReviewStatus{}
	wanted := in.Spec.Audiences
	if len(wanted) == 0 {
		wanted = audiences
	}
	// The token goes through what a header goes through: what follows a space is
	// not part of it.
	token, ok := headerToken("Bearer " + in.Spec.Token)
	if !ok {
		return out, nil
	}
	u, matched, ok, err := t.AuthenticateToken(token, wanted)
	if err == nil && !ok {
		err = errInvalidToken
	}
	if err != nil {
		out.Status.Error = err.Error()
		return out, nil
	}
	out.Status.Authenticated = true
	out.Status.User = Info(authenticated(u))
	for _, a := range wanted {
		if slices.Contains(matched, a) {
			out.Status.Audiences = append(out.Status.Audiences, a)
		}
	}
	return out, nil
}

// SelfReview answers a SelfSubjectReview in a copy.
func SelfReview(u *auth.User, in *authenticationv1.SelfSubjectReview) *authenticationv1.SelfSubjectReview {
	out := in.DeepCopy()
	out.Status = authenticationv1.SelfSubjectReviewStatus{UserInfo: Info(u)}
	return out
}

// Info is a user as the API shows it.
func Info(u *auth.User) authenticationv1.UserInfo {
	i := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) > 0 {
		i.Extra = make(map[string]authenticationv1.ExtraValue, len(u.Extra))
		for k, v := range u.Extra {
			i.Extra[k] = v
		}
	}
	return i
}
