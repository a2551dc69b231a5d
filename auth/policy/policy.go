// Package policy has the roles and bindings that a cluster begins with (the
// bootstrap policy of Kubernetes 1.36) as objects, and decides what is to be
// written at start where a cluster has them already, changed by its users.
package policy

import (
	_ "embed"
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"skiff.dev/skiff/auth/rbac"
	"skiff.dev/skiff/kinds"
)

//go:embed policy.txt
var text string

// Set is the bootstrap policy.
type Set struct {
	ClusterRoles        []*rbacv1.ClusterRole
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	Roles               []*rbacv1.Role
	RoleBindings        []*rbacv1.RoleBinding
}

// Objects lists the whole set, roles before the bindings that refer to them.
func (s *Set) Objects() []kinds.Object {
	var out []kinds.Object
	for _, o := range s.ClusterRoles {
		out = append(out, o)
	}
	for _, o := range s.ClusterRoleBindings {
		out = append(out, o)
	}
	for _, o := range s.Roles {
		out = append(out, o)
	}
	for _, o := range s.RoleBindings {
		out = append(out, o)
	}
	return out
}

// Default returns the bootstrap policy. Every call makes new objects.
func Default() *Set {
	s := read()
	// Kubernetes leaves this to a controller; so a new cluster has them at once.
	// Each round carries rules one step further: view, edit, admin.
	for range 3 {
		for _, r := range s.ClusterRoles {
			if rules, ok := rbac.Aggregate(r, s.ClusterRoles); ok {
				r.Rules = rules
			}
		}
	}
	return s
}

func read() *Set {
	s, err := parse(text)
	if err != nil {
		panic(err) // the embedded text is part of the program; a test reads it
	}
	return s
}

// NodeRules are the rules of the role system:node, by which the node authorizer
// judges what it does not know better.
func NodeRules() []rbacv1.PolicyRule {
	for _, r := range read().ClusterRoles {
		if r.Name == "system:node" {
			return r.Rules
		}
	}
	return nil
}

const autoupdate = "rbac.authorization.kubernetes.io/autoupdate"

func meta(namespace, name string, labels []string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Name: name, Namespace: namespace,
		Annotations: map[string]string{autoupdate: "true"},
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}}
	for _, l := range labels {
		m.Labels["rbac.authorization.k8s.io/"+l] = "true"
	}
	return m
}

// parse reads the format that policy.txt's head describes.
func parse(text string) (*Set, error) {
	s := &Set{}
	var rules *[]rbacv1.PolicyRule // of the role being read
	for i, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || f[0][0] == '#' {
			continue
		}
		var err error
		if line[0] == '\t' {
			err = parseRule(f, rules)
		} else {
			rules, err = s.parseObject(f)
		}
		if err != nil {
			return nil, fmt.Errorf("policy: line %d: %w", i+1, err)
		}
	}
	return s, nil
}

func parseRule(f []string, rules *[]rbacv1.PolicyRule) error {
	if rules == nil || len(f) < 3 || len(f) > 4 {
		return fmt.Errorf("not a rule of a role: %q", f)
	}
	r := rbacv1.PolicyRule{Verbs: strings.Split(f[0], ",")}
	if f[1] == "url" {
		r.NonResourceURLs = strings.Split(f[2], ",")
	} else {
		r.APIGroups = strings.Split(f[1], ",")
		for i, g := range r.APIGroups {
			if g == "core" {
				r.APIGroups[i] = ""
			}
		}
		r.Resources = strings.Split(f[2], ",")
		if len(f) == 4 {
			r.ResourceNames = strings.Split(f[3], ",")
		}
	}
	*rules = append(*rules, r)
	return nil
}

func (s *Set) parseObject(f []string) (*[]rbacv1.PolicyRule, error) {
	atLeast := map[string]int{"clusterrole": 2, "aggregate": 3, "clusterrolebinding": 3, "role": 3, "rolebinding": 4}[f[0]]
	if atLeast == 0 || len(f) < atLeast {
		return nil, fmt.Errorf("unknown or too short: %q", f)
	}
	ref := func(kind, name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	switch f[0] {
	case "clusterrole":
		r := &rbacv1.ClusterRole{ObjectMeta: meta("", f[1], f[2:])}
		s.ClusterRoles = append(s.ClusterRoles, r)
		return &r.Rules, nil
	case "aggregate":
		s.ClusterRoles = append(s.ClusterRoles, &rbacv1.ClusterRole{ObjectMeta: meta("", f[1], f[3:]),
			AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
				{MatchLabels: map[string]string{"rbac.authorization.k8s.io/" + f[2]: "true"}}}}})
	case "clusterrolebinding":
		subjects, err := parseSubjects(f[3:])
		s.ClusterRoleBindings = append(s.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta("", f[1], nil), RoleRef: ref("ClusterRole", f[2]), Subjects: subjects})
		return nil, err
	case "role":
		r := &rbacv1.Role{ObjectMeta: meta(f[1], f[2], nil)}
		s.Roles = append(s.Roles, r)
		return &r.Rules, nil
	case "rolebinding":
		subjects, err := parseSubjects(f[4:])
		s.RoleBindings = append(s.RoleBindings, &rbacv1.RoleBinding{
			ObjectMeta: meta(f[1], f[2], nil), RoleRef: ref("Role", f[3]), Subjects: subjects})
		return nil, err
	}
	return nil, nil
}

func parseSubjects(f []string) ([]rbacv1.Subject, error) {
	var out []rbacv1.Subject
	for _, s := range f {
		kind, name, _ := strings.Cut(s, ":")
		switch kind {
		case "user":
			out = append(out, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name})
		case "group":
			out = append(out, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name})
		case "sa":
			ns, name, _ := strings.Cut(name, "/")
			out = append(out, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: name})
		default:
			return nil, fmt.Errorf("unknown subject %q", s)
		}
	}
	return out, nil
}

// Reconcile decides what to write for one object of the set: want as it is when
// the cluster has none (have nil); a changed copy of have where rules, subjects,
// labels or annotations are missing; nil when nothing is to be done, which is
// also what the annotation autoupdate=false asks for. What users added stays. A
// binding to another role is to be replaced: recreate is true then, because a
// roleRef cannot be changed.
func Reconcile(want, have kinds.Object) (write kinds.Object, recreate bool) {
	if have == nil {
		return want, false
	}
	if have.GetAnnotations()[autoupdate] == "false" {
		return nil, false
	}
	next := have.DeepCopyObject().(kinds.Object)
	next.SetLabels(union(have.GetLabels(), want.GetLabels()))
	next.SetAnnotations(union(have.GetAnnotations(), want.GetAnnotations()))
	switch w := want.(type) {
	case *rbacv1.ClusterRole:
		n := next.(*rbacv1.ClusterRole)
		if w.AggregationRule == nil {
			n.Rules = unionRules(n.Rules, w.Rules)
		} else {
			n.AggregationRule = unionSelectors(n.AggregationRule, w.AggregationRule)
		}
	case *rbacv1.Role:
		n := next.(*rbacv1.Role)
		n.Rules = unionRules(n.Rules, w.Rules)
	case *rbacv1.ClusterRoleBinding:
		n := next.(*rbacv1.ClusterRoleBinding)
		if n.RoleRef != w.RoleRef {
			return want, true
		}
		n.Subjects = unionSubjects(n.Subjects, w.Subjects)
	case *rbacv1.RoleBinding:
		n := next.(*rbacv1.RoleBinding)
		if n.RoleRef != w.RoleRef {
			return want, true
		}
		n.Subjects = unionSubjects(n.Subjects, w.Subjects)
	}
	if equality.Semantic.DeepEqual(next, have) {
		return nil, false
	}
	return next, false
}

func union(have, want map[string]string) map[string]string {
	out := make(map[string]string, len(have)+len(want))
	for k, v := range want {
		out[k] = v
	}
	for k, v := range have {
		out[k] = v
	}
	return out
}

func unionRules(have, want []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	_, missing := validation.Covers(have, want)
	return append(have, missing...)
}

func unionSubjects(have, want []rbacv1.Subject) []rbacv1.Subject {
	for _, w := range want {
		found := false
		for _, h := range have {
			found = found || h == w
		}
		if !found {
			have = append(have, w)
		}
	}
	return have
}

func unionSelectors(have, want *rbacv1.AggregationRule) *rbacv1.AggregationRule {
	if have == nil {
		return want
	}
	for _, w := range want.ClusterRoleSelectors {
		found := false
		for _, h := range have.ClusterRoleSelectors {
			found = found || equality.Semantic.DeepEqual(h, w)
		}
		if !found {
			have.ClusterRoleSelectors = append(have.ClusterRoleSelectors, w)
		}
	}
	return have
}
