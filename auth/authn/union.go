package authn

import (
	"net/http"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"skiff.dev/skiff/auth"
)

// Union asks one authenticator after the other and takes the first answer. What is
// invalid for one may be good for another; only if none knows the request, the
// errors count.
type Union []auth.Authenticator

// Authenticate implements auth.Authenticator.
func (a Union) Authenticate(r *http.Request) (*auth.User, bool, error) {
	var errs []error
	for _, x := range a {
		u, ok, err := x.Authenticate(r)
		if ok && err == nil {
			return u, true, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return nil, false, utilerrors.NewAggregate(errs)
}

// WithAnonymous lets requests that carry no identity at all pass as the anonymous
// user; those that carry an invalid one still fail.
type WithAnonymous struct {
	auth.Authenticator
	// Allow tells which requests may pass so; nil: all.
	Allow func(*http.Request) bool
}

var anonymous = &auth.User{Name: auth.UserAnonymous, Groups: []string{auth.GroupUnauthenticated}}

// Authenticate implements auth.Authenticator.
func (a WithAnonymous) Authenticate(r *http.Request) (*auth.User, bool, error) {
	u, ok, err := a.Authenticator.Authenticate(r)
	if ok || err != nil || a.Allow != nil && !a.Allow(r) {
		return u, ok, err
	}
	return anonymous, true, nil
}
