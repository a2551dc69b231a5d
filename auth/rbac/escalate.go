package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// CheckWrite keeps a user from granting more than they have: it judges a create
// (old nil) or update of any of the four kinds as the RBAC storage of Kubernetes
// does. az is the whole authorizer, asked for the verbs escalate and bind. Other
// kinds pass. The error is the StatusError to answer.
func (x *Index) CheckWrite(ctx context.Context, az auth.Authorizer, u *auth.User, obj, old kinds.Object) error {
	var resource, ns string
	var rules []rbacv1.PolicyRule
	var err error
	switch o := obj.(type) {
	case *rbacv1.Role:
		resource, ns, rules = "roles", o.Namespace, o.Rules
	case *rbacv1.ClusterRole:
		resource, rules = "clusterroles", o.Rules
	case *rbacv1.RoleBinding:
		resource, ns = "rolebindings", o.Namespace
	case *rbacv1.ClusterRoleBinding:
		resource = "clusterrolebindings"
	default:
		return nil
	}
	if u == nil || slices.Contains(u.Groups, auth.GroupMasters) || (old != nil && onlyCollectorFields(obj, old)) {
		return nil
	}
	switch resource {
	case "roles", "clusterroles":
		// On create the name is not part of the request's attributes.
		name := ""
		if old != nil {
			name = obj.GetName()
		}
		if allowed(ctx, az, &auth.Attributes{User: u, Verb: "escalate", Group: rbacv1.GroupName, Version: "*",
			Resource: resource, Name: name, Namespace: ns, IsResource: true}) {
			return nil
		}
	default:
		_, _, _, ref, _ := parts(obj)
		if x.mayBind(ctx, az, u, ref, ns) {
			return nil
		}
		if rules, err = x.RoleRules(ref, ns); apierrors.IsNotFound(err) {
			// The storage names the resource where the authorizer names the kind
			// (registry/rbac/rest).
			return apierrors.NewNotFound(rbacv1.Resource(strings.ToLower(ref.Kind)+"s"), ref.Name)
		} else if err != nil {
			return err
		}
	}
	if err := x.confirm(u, ns, rules); err != nil {
		return apierrors.NewForbidden(rbacv1.Resource(resource), obj.GetName(), err)
	}
	if aggregates(obj) || aggregates(old) {
		// What an aggregation rule will gather is not known: it takes all rights.
		if x.confirm(u, "", everything) != nil {
			return apierrors.NewForbidden(rbacv1.Resource(resource), obj.GetName(), errors.New("must have cluster-admin privileges to use the aggregationRule"))
		}
	}
	return nil
}

var everything = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

func aggregates(o kinds.Object) bool {
	r, ok := o.(*rbacv1.ClusterRole)
	return ok && r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

func allowed(ctx context.Context, az auth.Authorizer, a *auth.Attributes) bool {
	d, _, _ := az.Authorize(ctx, a)
	return d == auth.Allow
}

func (x *Index) mayBind(ctx context.Context, az auth.Authorizer, u *auth.User, ref rbacv1.RoleRef, ns string) bool {
	a := &auth.Attributes{User: u, Verb: "bind", Namespace: ns, Group: ref.APIGroup, Version: "*", Name: ref.Name, IsResource: true}
	switch ref.Kind {
	case "ClusterRole":
		a.Resource = "clusterroles"
	case "Role":
		a.Resource = "roles"
	default:
		return false
	}
	return allowed(ctx, az, a)
}

// confirm refuses rules that u does not have in namespace.
func (x *Index) confirm(u *auth.User, ns string, rules []rbacv1.PolicyRule) error {
	own, missing := x.RulesFor(u, ns)
	ok, uncovered := validation.Covers(own, rules)
	if ok {
		return nil
	}
	descriptions := map[string]bool{}
	for _, r := range compact(uncovered) {
		descriptions[describeRule(&r)] = true
	}
	list := make([]string, 0, len(descriptions))
	for d := range descriptions {
		list = append(list, d)
	}
	sort.Strings(list)
	msg := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.Name, u.Groups, strings.Join(list, "\n"))
	if missing != nil {
		msg += fmt.Sprintf("; resolution errors: %v", []error{missing})
	}
	return errors.New(msg)
}

// compact joins rules of one group and one resource that differ only in verbs.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type simple struct {
		group, resource, name string
		named                 bool
	}
	at := map[simple]int{}
	var out []rbacv1.PolicyRule
	for _, r := range rules {
		if len(r.ResourceNames) > 1 || len(r.NonResourceURLs) > 0 || len(r.APIGroups) != 1 || len(r.Resources) != 1 {
			out = append(out, r)
			continue
		}
		k := simple{group: r.APIGroups[0], resource: r.Resources[0]}
		if len(r.ResourceNames) == 1 {
			k.name, k.named = r.ResourceNames[0], true
		}
		if i, ok := at[k]; ok {
			out[i].Verbs = append(out[i].Verbs, r.Verbs...)
			continue
		}
		at[k] = len(out)
		out = append(out, *r.DeepCopy())
	}
	return out
}

func describeRule(r *rbacv1.PolicyRule) string {
	var parts []string
	add := func(name string, list []string) {
		if len(list) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", name, list))
		}
	}
	add("APIGroups", r.APIGroups)
	add("Resources", r.Resources)
	add("NonResourceURLs", r.NonResourceURLs)
	add("ResourceNames", r.ResourceNames)
	add("Verbs", r.Verbs)
	return "{" + strings.Join(parts, ", ") + "}"
}

// onlyCollectorFields tells whether an update touches nothing but what garbage
// collection needs: owners, finalizers and bookkeeping.
func onlyCollectorFields(obj, old kinds.Object) bool {
	copied := obj.DeepCopyObject().(metav1.Object)
	copied.SetOwnerReferences(old.GetOwnerReferences())
	copied.SetFinalizers(old.GetFinalizers())
	copied.SetManagedFields(old.GetManagedFields())
	copied.SetResourceVersion(old.GetResourceVersion())
	return equality.Semantic.DeepEqual(copied, old)
}
