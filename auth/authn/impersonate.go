package authn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/recent"
)

const (
	impersonateUser  = "Impersonate-User"
	impersonateGroup = "Impersonate-Group"
	impersonateUID   = "Impersonate-Uid"
	impersonateExtra = "Impersonate-Extra-"
)

// Impersonator lets users act as others, in the modes of Kubernetes 1.36
// (endpoints/filters/impersonation): the constrained ones first, which also ask
// whether the request itself may be made in the mode, then the old one, which asks
// for the verb impersonate alone.
type Impersonator struct {
	az auth.Authorizer
	// last is the mode that let a user through the last time: it is tried first, so
	// that nobody pays for modes that they do not use.
	last *recent.Map[string, int]
}

// NewImpersonator asks az about every part of the wanted identity.
func NewImpersonator(az auth.Authorizer) *Impersonator {
	return &Impersonator{az, recent.New[string, int](4096)}
}

// Impersonates tells whether headers ask for another identity, or try to.
func Impersonates(h http.Header) bool {
	for k := range h {
		if strings.HasPrefix(k, "Impersonate-") {
			return true
		}
	}
	return false
}

// Impersonate returns the user that a request asks to be taken for, and the verb
// of the constrained mode that allowed it ("" for the old one); the asker itself,
// who is a.User, where nothing is asked for. a is the request as it is authorized.
// The headers are removed as soon as they have been read. Errors are StatusErrors.
func (im *Impersonator) Impersonate(r *http.Request, a *auth.Attributes) (u *auth.User, constraint string, err error) {
	if !Impersonates(r.Header) {
		return a.User, "", nil
	}
	wanted, err := wantedUser(r.Header)
	if err != nil || wanted == nil {
		return a.User, "", err
	}
	for h := range r.Header {
		if h == impersonateUser || h == impersonateGroup || h == impersonateUID || strings.HasPrefix(h, impersonateExtra) {
			r.Header.Del(h)
		}
	}
	return im.choose(r.Context(), wanted, a)
}

// choose tries the modes. The error told is that of the first that applies.
func (im *Impersonator) choose(ctx context.Context, wanted *auth.User, a *auth.Attributes) (*auth.User, string, error) {
	var first error
	try := func(i int) (*auth.User, string) {
		m := &modes[i]
		if !m.applies(wanted, a.User) {
			return nil, ""
		}
		u, err := m.check(ctx, im.az, wanted, a)
		if err != nil && first == nil {
			first = err
		}
		return u, m.verb()
	}
	last, known := im.last.Get(a.User.Name)
	if known {
		if u, verb := try(last); u != nil {
			return u, verb, nil
		}
	}
	for i := range modes {
		if known && i == last {
			continue
		}
		if u, verb := try(i); u != nil {
			im.last.Put(a.User.Name, i)
			return u, verb, nil
		}
	}
	if first == nil {
		first = apierrors.NewInternalError(errors.New("all impersonation modes failed"))
	}
	return nil, "", first
}

// wantedUser reads the headers; nil when they ask for nothing.
func wantedUser(h http.Header) (*auth.User, error) {
	w := &auth.User{Name: h.Get(impersonateUser), UID: h.Get(impersonateUID), Groups: slices.Clone(h[impersonateGroup])}
	extra := false
	for k, values := range h {
		if !strings.HasPrefix(k, impersonateExtra) {
			continue
		}
		extra = true
		if len(values) == 0 {
			continue
		}
		key := plainKey(k[len(impersonateExtra):])
		if w.Extra == nil {
			w.Extra = map[string][]string{}
		}
		w.Extra[key] = append(w.Extra[key], values...)
	}
	if w.Name != "" {
		return w, nil
	}
	if w.UID != "" || len(w.Groups) > 0 || extra {
		return nil, apierrors.NewBadRequest(fmt.Sprintf(
			"requested &user.DefaultInfo{Name:%q, UID:%q, Groups:%#v, Extra:%#v} without impersonating a user name",
			w.Name, w.UID, w.Groups, w.Extra))
	}
	return nil, nil
}

// plainKey is the key of an extra that a header's name ends with.
func plainKey(header string) string {
	key := strings.ToLower(header)
	if plain, err := url.PathUnescape(key); err == nil {
		return plain
	}
	return key
}

// SplitServiceAccount reads the user name of a service account.
func SplitServiceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, auth.PrefixServiceAccount)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	if !ok || len(validation.ValidateNamespaceName(namespace, false)) != 0 || len(validation.ValidateServiceAccountName(name, false)) != 0 {
		return "", "", false
	}
	return namespace, name, true
}

// splitNode reads the user name of a node.
func splitNode(user string) (name string, ok bool) {
	name, ok = strings.CutPrefix(user, auth.PrefixNode)
	if !ok || len(validation.NameIsDNSSubdomain(name, false)) != 0 {
		return "", false
	}
	return name, true
}
