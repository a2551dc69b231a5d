package authn

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/auth"
)

// mode is one way to impersonate. The constrained ones have a name.
type mode struct {
	name    string
	applies func(wanted, asker *auth.User) bool
}

// modes in the order in which they are tried (filters/impersonation,
// allImpersonationModes).
var modes = []mode{
	{associatedNode, func(w, asker *auth.User) bool { return nameAlone(w) && onNode(asker, w.Name) }},
	{"arbitrary-node", func(w, _ *auth.User) bool { _, ok := splitNode(w.Name); return ok && nameAlone(w) }},
	{"serviceaccount", func(w, _ *auth.User) bool { _, _, ok := SplitServiceAccount(w.Name); return ok && nameAlone(w) }},
	{"user-info", func(w, _ *auth.User) bool {
		_, node := splitNode(w.Name)
		_, _, sa := SplitServiceAccount(w.Name)
		return !node && !sa
	}},
	{"", func(_, _ *auth.User) bool { return true }},
}

const (
	associatedNode = "associated-node"
	extraNodeName  = "authentication.kubernetes.io/node-name"
	// manyChecks is from how many groups or extras on the right to all of them is
	// asked for first.
	manyChecks = 4
)

// verb is what a constrained mode authorizes the parts of an identity with.
func (m *mode) verb() string {
	if m.name == "" {
		return ""
	}
	return "impersonate:" + m.name
}

func nameAlone(u *auth.User) bool { return u.UID == "" && len(u.Groups) == 0 && len(u.Extra) == 0 }

// onNode tells whether a service account's token is of a pod on the node whose
// user name is given.
func onNode(asker *auth.User, user string) bool {
	node, ok := splitNode(user)
	if !ok {
		return false
	}
	if _, _, ok := SplitServiceAccount(asker.Name); !ok {
		return false
	}
	has := asker.Extra[extraNodeName]
	return len(has) == 1 && has[0] == node
}

// check judges one mode, and completes the identity.
func (m *mode) check(ctx context.Context, az auth.Authorizer, wanted *auth.User, a *auth.Attributes) (*auth.User, error) {
	asker := a.User
	if m.name == associatedNode {
		// The right is one for the account's own node, whichever that is: neither the
		// node's name nor what differs from pod to pod is part of the question.
		asker = &auth.User{Name: asker.Name, UID: asker.UID, Groups: asker.Groups, Extra: map[string][]string{
			"authentication.kubernetes.io/associated-node-keys": slices.Sorted(maps.Keys(asker.Extra))}}
	}
	if m.name != "" {
		on := *a
		on.User, on.Verb = asker, "impersonate-on:"+m.name+":"+a.Verb
		if err := permitted(ctx, az, &on); err != nil {
			return nil, err
		}
	}
	q := &parts{ctx: ctx, az: az, asker: asker, mode: m}
	got := *wanted
	for _, step := range []func(wanted, got *auth.User) error{q.name, q.uid, q.groups, q.extra} {
		if err := step(wanted, &got); err != nil {
			return nil, err
		}
	}
	switch {
	case got.Name == auth.UserAnonymous:
		got.Groups = withGroup(got.Groups, auth.GroupUnauthenticated)
	case !slices.Contains(got.Groups, auth.GroupUnauthenticated):
		got.Groups = withGroup(got.Groups, auth.GroupAuthenticated)
	}
	return &got, nil
}

func withGroup(groups []string, g string) []string {
	if slices.Contains(groups, g) {
		return groups
	}
	return append(slices.Clone(groups), g)
}

// permitted asks az, and words a refusal as Kubernetes does.
func permitted(ctx context.Context, az auth.Authorizer, a *auth.Attributes) error {
	d, reason, err := az.Authorize(ctx, a)
	switch {
	case d == auth.Allow:
		return nil
	case apierrors.IsForbidden(err):
		return err
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return auth.Forbidden(a, reason)
}

// parts asks for the parts of an identity in one mode.
type parts struct {
	ctx   context.Context
	az    auth.Authorizer
	asker *auth.User
	mode  *mode
}

const authenticationGroup = "authentication.k8s.io"

// attributes are the question for one part; names and groups of the old mode are in
// the core group.
func (q *parts) attributes(resource, name string) *auth.Attributes {
	a := &auth.Attributes{User: q.asker, Verb: "impersonate", Group: authenticationGroup, Version: "v1", Resource: resource, Name: name, IsResource: true}
	if q.mode.name != "" {
		a.Verb = q.mode.verb()
	} else if resource == "users" || resource == "groups" {
		a.Group = ""
	}
	return a
}

func (q *parts) ask(a *auth.Attributes) error { return permitted(q.ctx, q.az, a) }

func (q *parts) name(wanted, got *auth.User) error {
	a := q.attributes("users", wanted.Name)
	if node, ok := splitNode(wanted.Name); ok && q.mode.name != "" {
		a.Resource, a.Name = "nodes", node
		if q.mode.name == associatedNode {
			a.Name = "*"
		}
		got.Groups = []string{auth.GroupNodes}
	}
	if ns, name, ok := SplitServiceAccount(wanted.Name); ok {
		a.Resource, a.Namespace, a.Name = "serviceaccounts", ns, name
		if len(wanted.Groups) == 0 {
			got.Groups = []string{auth.GroupServiceAccounts, auth.GroupServiceAccounts + ":" + ns}
		}
	}
	return q.ask(a)
}

func (q *parts) uid(wanted, _ *auth.User) error {
	if wanted.UID == "" {
		return nil
	}
	return q.ask(q.attributes("uids", wanted.UID))
}

func (q *parts) groups(wanted, _ *auth.User) error {
	if len(wanted.Groups) == 0 {
		return nil
	}
	a := q.attributes("groups", "")
	if q.mode.name != "" {
		if slices.Contains(wanted.Groups, "") {
			return auth.Forbidden(a, "impersonating the empty string group is not allowed")
		}
		if slices.Contains(wanted.Groups, auth.GroupMasters) {
			a.Name = auth.GroupMasters
			return auth.Forbidden(a, "impersonating the system:masters group is not allowed")
		}
		if len(wanted.Groups) >= manyChecks {
			a.Name = "*"
			if q.ask(a) == nil {
				return nil
			}
		}
	}
	for _, g := range wanted.Groups {
		a.Name = g
		if err := q.ask(a); err != nil {
			return err
		}
	}
	return nil
}

func (q *parts) extra(wanted, _ *auth.User) error {
	if len(wanted.Extra) == 0 {
		return nil
	}
	a := q.attributes("userextras", "")
	if q.mode.name != "" {
		if err := extraError(wanted.Extra); err != nil {
			return auth.Forbidden(a, err.Error())
		}
		n := 0
		for _, values := range wanted.Extra {
			n += len(values)
		}
		if n >= manyChecks {
			a.Subresource, a.Name = "*", "*"
			if q.ask(a) == nil {
				return nil
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(wanted.Extra)) {
		a.Subresource = k
		for _, v := range wanted.Extra[k] {
			a.Name = v
			if err := q.ask(a); err != nil {
				return err
			}
		}
	}
	return nil
}

// extraError refuses what the constrained modes do not carry.
func extraError(extra map[string][]string) error {
	for _, k := range slices.Sorted(maps.Keys(extra)) {
		if k == "" {
			return fmt.Errorf("impersonating the empty string key in extra is not allowed")
		}
		if err := utilvalidation.IsDomainPrefixedPath(field.NewPath("extra", "key"), k).ToAggregate(); err != nil {
			return fmt.Errorf("impersonating an invalid key in extra is not allowed: %w", err)
		}
		if k != strings.ToLower(k) {
			return fmt.Errorf("impersonating a non-lowercase key in extra is not allowed: %q", k)
		}
		if slices.Contains(extra[k], "") {
			return fmt.Errorf("impersonating the empty string value in extra is not allowed")
		}
	}
	return nil
}
