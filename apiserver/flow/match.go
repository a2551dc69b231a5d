package flow

import (
	"cmp"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

// Request is what a FlowSchema looks at.
type Request struct {
	User   string
	Groups []string

	Verb       string
	IsResource bool
	Path       string // where it is no resource
	Group      string
	Resource   string
	Sub        string
	Namespace  string
}

// Sort puts schemas in the order in which they are asked: by precedence, then by
// name.
func Sort(schemas []*flowcontrolv1.FlowSchema) {
	slices.SortFunc(schemas, func(a, b *flowcontrolv1.FlowSchema) int {
		return cmp.Or(cmp.Compare(a.Spec.MatchingPrecedence, b.Spec.MatchingPrecedence), cmp.Compare(a.Name, b.Name))
	})
}

// Matches tells whether a schema takes a request (util/flowcontrol, rule.go).
func Matches(s *flowcontrolv1.FlowSchema, r *Request) bool {
	for i := range s.Spec.Rules {
		rule := &s.Spec.Rules[i]
		if !subject(rule.Subjects, r) {
			continue
		}
		if r.IsResource && resource(rule.ResourceRules, r) || !r.IsResource && path(rule.NonResourceRules, r) {
			return true
		}
	}
	return false
}

// Distinguisher is what tells the flows of a schema apart.
func Distinguisher(s *flowcontrolv1.FlowSchema, r *Request) string {
	if m := s.Spec.DistinguisherMethod; m != nil {
		switch m.Type {
		case flowcontrolv1.FlowDistinguisherMethodByUserType:
			return r.User
		case flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
			return r.Namespace
		}
	}
	return ""
}

func subject(subjects []flowcontrolv1.Subject, r *Request) bool {
	for i := range subjects {
		s := &subjects[i]
		switch {
		case s.Kind == flowcontrolv1.SubjectKindUser && s.User != nil:
			if s.User.Name == flowcontrolv1.NameAll || s.User.Name == r.User {
				return true
			}
		case s.Kind == flowcontrolv1.SubjectKindGroup && s.Group != nil:
			if s.Group.Name == flowcontrolv1.NameAll || slices.Contains(r.Groups, s.Group.Name) {
				return true
			}
		case s.Kind == flowcontrolv1.SubjectKindServiceAccount && s.ServiceAccount != nil:
			if account(s.ServiceAccount, r.User) {
				return true
			}
		}
	}
	return false
}

func account(a *flowcontrolv1.ServiceAccountSubject, user string) bool {
	rest, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if !ok {
		return false
	}
	namespace, name, ok := strings.Cut(rest, ":")
	return ok && namespace == a.Namespace && (a.Name == flowcontrolv1.NameAll || a.Name == name)
}

// has tells whether list names x; a star alone names everything.
func has(list []string, x string) bool {
	return len(list) == 1 && list[0] == "*" || slices.Contains(list, x)
}

func resource(rules []flowcontrolv1.ResourcePolicyRule, r *Request) bool {
	for i := range rules {
		rule := &rules[i]
		if !has(rule.Verbs, r.Verb) || !named(rule.Resources, r) || !has(rule.APIGroups, r.Group) {
			continue
		}
		if r.Namespace == "" && rule.ClusterScope || r.Namespace != "" && has(rule.Namespaces, r.Namespace) {
			return true
		}
	}
	return false
}

// named tells whether list names "resource" or "resource/subresource".
func named(list []string, r *Request) bool {
	if r.Sub == "" {
		return has(list, r.Resource)
	}
	if len(list) == 1 && list[0] == "*" {
		return true
	}
	n := len(r.Resource)
	for _, x := range list {
		if len(x) == n+1+len(r.Sub) && x[:n] == r.Resource && x[n] == '/' && x[n+1:] == r.Sub {
			return true
		}
	}
	return false
}

func path(rules []flowcontrolv1.NonResourcePolicyRule, r *Request) bool {
	for i := range rules {
		if !has(rules[i].Verbs, r.Verb) {
			continue
		}
		for _, u := range rules[i].NonResourceURLs {
			if u == "*" || u == r.Path {
				return true
			}
			below := strings.TrimSuffix(u, "*")
			if strings.HasPrefix(r.Path, below) && (strings.HasSuffix(below, "/") || strings.HasPrefix(r.Path[len(below):], "/")) {
				return true
			}
		}
	}
	return false
}
