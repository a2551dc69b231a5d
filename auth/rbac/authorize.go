package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"skiff.dev/skiff/auth"
)

var _ auth.Authorizer = (*Index)(nil)

// Authorize allows what a rule of a role bound to the user allows. It never
// denies; the reason then names bindings whose role does not exist.
func (x *Index) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	if a.User == nil {
		return auth.NoOpinion, "", nil
	}
	combined := a.Resource
	if a.Subresource != "" {
		combined += "/" + a.Subresource
	}
	var missing []error
	reason := ""
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.visit(a.User, a.Namespace, func(g *grant, ns string) bool {
		rules, err := x.rules(g.ref, ns)
		if err != nil {
			missing = append(missing, err)
			return true
		}
		for i := range rules {
			if allows(&rules[i], a, combined) {
				reason = g.reason
				return false
			}
		}
		return true
	})
	if reason != "" {
		return auth.Allow, reason, nil
	}
	if missing != nil {
		return auth.NoOpinion, fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(missing)), nil
	}
	return auth.NoOpinion, "", nil
}

// visit calls f with every grant of u, those of the cluster first, until f
// returns false. The caller holds the lock.
func (x *Index) visit(u *auth.User, namespace string, f func(g *grant, ns string) bool) {
	if !x.visitScope(u, "", f) || namespace == "" {
		return
	}
	x.visitScope(u, namespace, f)
}

func (x *Index) visitScope(u *auth.User, ns string, f func(g *grant, ns string) bool) bool {
	one := func(s subject) bool {
		list := x.grants[s]
		for i := range list {
			if !f(&list[i], ns) {
				return false
			}
		}
		return true
	}
	if !one(subject{namespace: ns, name: u.Name}) {
		return false
	}
	for _, g := range u.Groups {
		if !one(subject{group: true, namespace: ns, name: g}) {
			return false
		}
	}
	return true
}

func (x *Index) rules(ref rbacv1.RoleRef, ns string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		if r := x.roles[key{ns, ref.Name}]; r != nil {
			return r.Rules, nil
		}
		return nil, apierrors.NewNotFound(rbacv1.Resource("role"), ref.Name)
	case "ClusterRole":
		if r := x.clusterRoles[ref.Name]; r != nil {
			return r.Rules, nil
		}
		return nil, apierrors.NewNotFound(rbacv1.Resource("clusterrole"), ref.Name)
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// Allows tells whether one of rules allows a.
func Allows(a *auth.Attributes, rules []rbacv1.PolicyRule) bool {
	combined := a.Resource
	if a.Subresource != "" {
		combined += "/" + a.Subresource
	}
	for i := range rules {
		if allows(&rules[i], a, combined) {
			return true
		}
	}
	return false
}

func allows(r *rbacv1.PolicyRule, a *auth.Attributes, combined string) bool {
	if !a.IsResource {
		return hasOr(r.Verbs, a.Verb, rbacv1.VerbAll) && pathMatches(r, a.Path)
	}
	return hasOr(r.APIGroups, a.Group, rbacv1.APIGroupAll) &&
		resourceMatches(r, combined, a.Subresource) &&
		hasOr(r.Verbs, a.Verb, rbacv1.VerbAll) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name))
}

func hasOr(list []string, s, all string) bool {
	for _, x := range list {
		if x == all || x == s {
			return true
		}
	}
	return false
}

// resourceMatches also knows "*/scale": a subresource of every resource.
func resourceMatches(r *rbacv1.PolicyRule, combined, sub string) bool {
	for _, x := range r.Resources {
		if x == rbacv1.ResourceAll || x == combined {
			return true
		}
		if sub != "" && len(x) == len(sub)+2 && x[:2] == "*/" && x[2:] == sub {
			return true
		}
	}
	return false
}

func pathMatches(r *rbacv1.PolicyRule, path string) bool {
	for _, x := range r.NonResourceURLs {
		if x == rbacv1.NonResourceAll || x == path {
			return true
		}
		if strings.HasSuffix(x, "*") && strings.HasPrefix(path, strings.TrimRight(x, "*")) {
			return true
		}
	}
	return false
}

// RulesFor returns every rule that u has in namespace and cluster-wide, and what
// was missing on the way.
func (x *Index) RulesFor(u *auth.User, namespace string) ([]rbacv1.PolicyRule, error) {
	var out []rbacv1.PolicyRule
	var missing []error
	x.mu.RLock()
	defer x.mu.RUnlock()
	x.visit(u, namespace, func(g *grant, ns string) bool {
		rules, err := x.rules(g.ref, ns)
		if err != nil {
			missing = append(missing, err)
		}
		out = append(out, rules...)
		return true
	})
	return out, utilerrors.NewAggregate(missing)
}

// RoleRules returns the rules of the role that a binding in namespace refers to.
func (x *Index) RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.rules(ref, namespace)
}
