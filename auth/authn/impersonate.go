package authn

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"

	"skiff.dev/skiff/auth"
)

const (
	impersonateUser  = "Impersonate-User"
	impersonateGroup = "Impersonate-Group"
	impersonateUID   = "Impersonate-Uid"
	impersonateExtra = "Impersonate-Extra-"
)

// Impersonate returns the user that a request of u asks to be taken for, u itself
// where it asks for none. Each part is authorized with the verb impersonate. The
// headers are removed once it succeeded. Errors are StatusErrors.
func Impersonate(r *http.Request, u *auth.User, az auth.Authorizer) (*auth.User, error) {
	if !impersonates(r.Header) {
		return u, nil
	}
	wanted, err := wantedUser(r.Header)
	if err != nil || wanted == nil {
		return u, err
	}
	var asked []auth.Attributes
	ns, name, isSA := SplitServiceAccount(wanted.Name)
	if isSA {
		asked = append(asked, auth.Attributes{Resource: "serviceaccounts", Namespace: ns, Name: name})
	} else {
		asked = append(asked, auth.Attributes{Resource: "users", Name: wanted.Name})
	}
	for _, g := range wanted.Groups {
		asked = append(asked, auth.Attributes{Resource: "groups", Name: g})
	}
	keys := make([]string, 0, len(wanted.Extra))
	for k := range wanted.Extra {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		for _, v := range wanted.Extra[k] {
			asked = append(asked, auth.Attributes{Group: "authentication.k8s.io", Version: "v1", Resource: "userextras", Subresource: k, Name: v})
		}
	}
	if wanted.UID != "" {
		asked = append(asked, auth.Attributes{Group: "authentication.k8s.io", Version: "v1", Resource: "uids", Name: wanted.UID})
	}
	for i := range asked {
		a := &asked[i]
		a.User, a.Verb, a.IsResource = u, "impersonate", true
		if d, reason, err := az.Authorize(r.Context(), a); err != nil || d != auth.Allow {
			return nil, auth.Forbidden(a, reason)
		}
	}
	wanted.Groups = impersonatedGroups(wanted, ns, isSA)
	for h := range r.Header {
		if h == impersonateUser || h == impersonateGroup || h == impersonateUID || strings.HasPrefix(h, impersonateExtra) {
			r.Header.Del(h)
		}
	}
	return wanted, nil
}

func impersonates(h http.Header) bool {
	for k := range h {
		if strings.HasPrefix(k, "Impersonate-") {
			return true
		}
	}
	return false
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
		key := strings.ToLower(k[len(impersonateExtra):])
		if plain, err := url.PathUnescape(key); err == nil {
			key = plain
		}
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

// impersonatedGroups completes the groups asked for: a service account has its own
// unless some are given, and everybody is authenticated but the anonymous user.
func impersonatedGroups(w *auth.User, ns string, isSA bool) []string {
	groups := w.Groups
	if isSA && len(groups) == 0 {
		groups = []string{auth.GroupServiceAccounts, auth.GroupServiceAccounts + ":" + ns}
	}
	if w.Name != auth.UserAnonymous {
		return withAuthenticated(w.Name, groups)
	}
	if !slices.Contains(groups, auth.GroupUnauthenticated) {
		groups = append(groups, auth.GroupUnauthenticated)
	}
	return groups
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
