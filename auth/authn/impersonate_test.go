package authn

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"skiff.dev/skiff/auth"
)

// only allows what it lists: "verb group/resource ns/name".
type only []string

func (o only) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	r := a.Resource
	if a.Subresource != "" {
		r += "/" + a.Subresource
	}
	if slices.Contains(o, fmt.Sprintf("%s %s:%s %s/%s", a.Verb, a.Group, r, a.Namespace, a.Name)) {
		return auth.Allow, "", nil
	}
	return auth.NoOpinion, "", nil
}

const authGroup = "authentication.k8s.io"

var (
	legacy = only{
		"impersonate :users /jane", "impersonate :users /system:anonymous", "impersonate :groups /ops", "impersonate :serviceaccounts ns/app",
		"impersonate " + authGroup + ":userextras/scopes /view", "impersonate " + authGroup + ":uids /7", "impersonate :users /system:node:n1",
		"impersonate " + authGroup + ":serviceaccounts ns/app",
	}
	constrained = only{
		"impersonate-on:user-info:list :pods ns/", "impersonate:user-info " + authGroup + ":users /jane", "impersonate:user-info " + authGroup + ":groups /*",
		"impersonate:user-info " + authGroup + ":groups /ops", "impersonate:user-info " + authGroup + ":userextras/* /*",
		"impersonate-on:serviceaccount:list :pods ns/", "impersonate:serviceaccount " + authGroup + ":serviceaccounts ns/app",
		"impersonate-on:arbitrary-node:list :pods ns/", "impersonate:arbitrary-node " + authGroup + ":nodes /n1",
		"impersonate-on:associated-node:list :pods ns/", "impersonate:associated-node " + authGroup + ":nodes /*",
	}
)

func TestImpersonate(t *testing.T) {
	const forbidden = ` is forbidden: User "boss" cannot `
	agent := &auth.User{Name: "system:serviceaccount:ns:agent", Extra: map[string][]string{extraNodeName: {"n2"}}}
	for _, c := range []struct {
		name    string
		az      only
		asker   *auth.User
		headers []string
		want    string // name [groups] verb
	}{
		{name: "nobody", az: legacy, want: "boss []"},
		{name: "a user", az: legacy, headers: []string{impersonateUser, "jane"}, want: "jane [system:authenticated]"},
		{name: "with groups", az: legacy, headers: []string{impersonateUser, "jane", impersonateGroup, "ops"}, want: "jane [ops system:authenticated]"},
		{name: "a service account", az: legacy, headers: []string{impersonateUser, "system:serviceaccount:ns:app"},
			want: "system:serviceaccount:ns:app [system:serviceaccounts system:serviceaccounts:ns system:authenticated]"},
		{name: "anonymous", az: legacy, headers: []string{impersonateUser, "system:anonymous"}, want: "system:anonymous [system:unauthenticated]"},
		{name: "a node the old way has no groups", az: legacy, headers: []string{impersonateUser, "system:node:n1"}, want: "system:node:n1 [system:authenticated]"},
		{name: "extra and uid", az: legacy, headers: []string{impersonateUser, "jane", "Impersonate-Extra-Scopes", "view", impersonateUID, "7"}, want: "jane [system:authenticated]"},
		{name: "no user", az: legacy, headers: []string{impersonateGroup, "ops"},
			want: `requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"ops"}, Extra:map[string][]string(nil)} without impersonating a user name`},
		{name: "not allowed", az: legacy, headers: []string{impersonateUser, "joe"},
			want: `pods` + forbidden + `impersonate-on:user-info:list resource "pods" in API group "" in the namespace "ns"`},
		{name: "not allowed to be another, in the mode", az: constrained, headers: []string{impersonateUser, "joe"},
			want: `users.authentication.k8s.io "joe"` + forbidden + `impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope`},

		{name: "a user in the mode", az: constrained, headers: []string{impersonateUser, "jane"}, want: "jane [system:authenticated] impersonate:user-info"},
		{name: "masters never in the mode", az: constrained, headers: []string{impersonateUser, "jane", impersonateGroup, "system:masters"},
			want: `groups.authentication.k8s.io "system:masters"` + forbidden + `impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope: impersonating the system:masters group is not allowed`},
		{name: "many groups by one right", az: constrained, headers: []string{impersonateUser, "jane", impersonateGroup, "a", impersonateGroup, "b", impersonateGroup, "c", impersonateGroup, "d"},
			want: "jane [a b c d system:authenticated] impersonate:user-info"},
		{name: "few groups one by one", az: constrained, headers: []string{impersonateUser, "jane", impersonateGroup, "a"},
			want: `groups.authentication.k8s.io "a"` + forbidden + `impersonate:user-info resource "groups" in API group "authentication.k8s.io" at the cluster scope`},
		{name: "an extra that is no key", az: constrained, headers: []string{impersonateUser, "jane", "Impersonate-Extra-X y", "v"},
			want: "userextras.authentication.k8s.io" + forbidden + `impersonate:user-info resource "userextras" in API group "authentication.k8s.io" at the cluster scope: ` +
				`impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "x y": must be a domain-prefixed path (such as "acme.io/foo")`},
		{name: "a service account in the mode", az: constrained, headers: []string{impersonateUser, "system:serviceaccount:ns:app"},
			want: "system:serviceaccount:ns:app [system:serviceaccounts system:serviceaccounts:ns system:authenticated] impersonate:serviceaccount"},
		{name: "any node", az: constrained, headers: []string{impersonateUser, "system:node:n1"}, want: "system:node:n1 [system:nodes system:authenticated] impersonate:arbitrary-node"},
		{name: "ones own node", az: constrained, asker: agent, headers: []string{impersonateUser, "system:node:n2"}, want: "system:node:n2 [system:nodes system:authenticated] impersonate:associated-node"},
	} {
		t.Run(c.name, func(t *testing.T) {
			asker := c.asker
			if asker == nil {
				asker = &auth.User{Name: "boss"}
			}
			im := NewImpersonator(c.az)
			for range 2 { // the second time by the mode that was remembered
				r := request(nil, c.headers...)
				a := &auth.Attributes{User: asker, Verb: "list", Resource: "pods", Version: "v1", Namespace: "ns", IsResource: true}
				u, verb, err := im.Impersonate(r, a)
				got := ""
				if err != nil {
					got = err.Error()
				} else {
					got = strings.TrimSpace(u.Name + " [" + strings.Join(u.Groups, " ") + "] " + verb)
					if Impersonates(r.Header) {
						t.Error("the headers are still there")
					}
				}
				if got != c.want {
					t.Errorf("got %s\nwant %s", got, c.want)
				}
			}
		})
	}
}

func FuzzImpersonationHeaders(f *testing.F) {
	f.Add("Impersonate-User", "jane", "Impersonate-Extra-%zz", "v")
	f.Add("Impersonate-Extra-", "", "Impersonate-Group", "")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header[k1], r.Header[k2] = []string{v1}, []string{v2}
		u, _, err := NewImpersonator(only{}).Impersonate(r, &auth.Attributes{User: &auth.User{Name: "boss"}, Verb: "get", Path: "/"})
		if err == nil && u.Name != "boss" {
			t.Errorf("became %+v without a right", u)
		}
	})
}
