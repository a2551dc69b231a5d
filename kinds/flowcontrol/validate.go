package flowcontrol

import (
	"fmt"
	"math"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of pkg/apis/flowcontrol/validation in Kubernetes.

const (
	maxPrecedence = 10000
	maxQueues     = 10000000
	maxHashBits   = 60
	exempt        = "exempt"
)

var verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

func validateFlowSchema(f *flowcontrolv1.FlowSchema) field.ErrorList {
	var l rules.List
	path, s := field.NewPath("spec"), &f.Spec
	at := path.Child("matchingPrecedence")
	if s.MatchingPrecedence <= 0 {
		l.Invalid(at, s.MatchingPrecedence, "must be a positive value")
	}
	if s.MatchingPrecedence > maxPrecedence {
		l.Invalid(at, s.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", maxPrecedence))
	}
	if s.MatchingPrecedence == 1 && f.Name != exempt {
		l.Invalid(at, s.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if d := s.DistinguisherMethod; d != nil && d.Type != flowcontrolv1.FlowDistinguisherMethodByNamespaceType && d.Type != flowcontrolv1.FlowDistinguisherMethodByUserType {
		l.Add(field.NotSupported(path.Child("distinguisherMethod", "type"), rules.Internal(*d), []string{"ByNamespace", "ByUser"}))
	}
	at = path.Child("priorityLevelConfiguration", "name")
	if name := s.PriorityLevelConfiguration.Name; name != "" {
		l.Name(at, name, rules.DNSSubdomain)
	} else {
		l.Required(at, "must reference a priority level")
	}
	for i := range s.Rules {
		judgeRules(&l, &s.Rules[i], path.Child("rules").Index(i))
	}
	if want, mandatory := mandatorySchema(f.Name); mandatory && !row.Same(f.Spec, want) {
		l.Invalid(path, rules.Internal(f.Spec), fmt.Sprintf("spec of '%s' must equal the fixed value", f.Name))
	}
	judgeConditions(&l, f.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) string { return string(c.Type) })
	return l.Errors()
}

func validateFlowSchemaUpdate(f, _ *flowcontrolv1.FlowSchema) field.ErrorList {
	return validateFlowSchema(f)
}

func validateFlowSchemaStatus(f, _ *flowcontrolv1.FlowSchema) field.ErrorList {
	var l rules.List
	judgeConditions(&l, f.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) string { return string(c.Type) })
	return l.Errors()
}

func judgeConditions[C any](l *rules.List, conditions []C, typeOf func(C) string) {
	seen := map[string]bool{}
	for i, c := range conditions {
		at, t := field.NewPath("status", "conditions").Index(i).Child("type"), typeOf(c)
		if seen[t] {
			l.Duplicate(at, t)
		}
		seen[t] = true
		if t == "" {
			l.Required(at, "")
		}
	}
}

func judgeRules(l *rules.List, r *flowcontrolv1.PolicyRulesWithSubjects, path *field.Path) {
	if len(r.Subjects) == 0 {
		l.Required(path.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range r.Subjects {
		judgeSubject(l, &r.Subjects[i], path.Child("subjects").Index(i))
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		l.Required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range r.ResourceRules {
		judgeResources(l, &r.ResourceRules[i], path.Child("resourceRules").Index(i))
	}
	for i := range r.NonResourceRules {
		judgeURLs(l, &r.NonResourceRules[i], path.Child("nonResourceRules").Index(i))
	}
}

func judgeSubject(l *rules.List, s *flowcontrolv1.Subject, path *field.Path) {
	only := func(kind flowcontrolv1.SubjectKind, name string, set bool) {
		if set && s.Kind != kind {
			l.Forbidden(path.Child(name), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", name, kind))
		}
	}
	missing := func(kind, name string) {
		l.Required(path.Child(name), fmt.Sprintf("%s is required when subject kind is '%s'", name, kind))
	}
	switch s.Kind {
	case flowcontrolv1.SubjectKindServiceAccount:
		if s.ServiceAccount == nil {
			missing("ServiceAccount", "serviceAccount")
		} else {
			judgeAccount(l, s.ServiceAccount, path.Child("serviceAccount"))
		}
	case flowcontrolv1.SubjectKindUser:
		if s.User == nil {
			missing("User", "user")
		} else {
			l.Need(path.Child("user"), "name", s.User.Name)
		}
	case flowcontrolv1.SubjectKindGroup:
		if s.Group == nil {
			missing("Group", "group")
		} else {
			l.Need(path.Child("group"), "name", s.Group.Name)
		}
	default:
		rules.Supported(l, path.Child("kind"), s.Kind, flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)
		return
	}
	only(flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil)
	only(flowcontrolv1.SubjectKindUser, "user", s.User != nil)
	only(flowcontrolv1.SubjectKindGroup, "group", s.Group != nil)
}

func judgeAccount(l *rules.List, a *flowcontrolv1.ServiceAccountSubject, path *field.Path) {
	if a.Name == "" {
		l.Required(path.Child("name"), "")
	} else if a.Name != "*" {
		l.Messages(path.Child("name"), a.Name, apivalidation.ValidateServiceAccountName(a.Name, false))
	}
	if a.Namespace == "" {
		l.Required(path.Child("namespace"), "must specify namespace for service account")
	} else {
		l.Name(path.Child("namespace"), a.Namespace, rules.DNSLabel)
	}
}

// judgeList judges a list that must not be empty and may be one star.
func judgeList(l *rules.List, list []string, path *field.Path, missing, others string) {
	if len(list) == 0 {
		l.Required(path, missing)
	} else if len(list) > 1 && slices.Contains(list, "*") {
		l.Invalid(path, list, "if '*' is present, must not specify other "+others)
	}
}

func judgeVerbs(l *rules.List, list []string, path *field.Path) {
	judgeList(l, list, path, "verbs must contain at least one value", "verbs")
	if slices.Contains(list, "*") {
		return
	}
	for _, v := range list {
		if !slices.Contains(verbs, v) {
			l.Add(field.NotSupported(path, list, verbs))
			return
		}
	}
}

func judgeResources(l *rules.List, r *flowcontrolv1.ResourcePolicyRule, path *field.Path) {
	judgeVerbs(l, r.Verbs, path.Child("verbs"))
	judgeList(l, r.APIGroups, path.Child("apiGroups"), "resource rules must supply at least one api group", "api groups")
	judgeList(l, r.Resources, path.Child("resources"), "resource rules must supply at least one resource", "resources")
	at := path.Child("namespaces")
	switch {
	case len(r.Namespaces) == 0 && !r.ClusterScope:
		l.Required(at, "resource rules that are not cluster scoped must supply at least one namespace")
	case slices.Contains(r.Namespaces, "*"):
		if len(r.Namespaces) > 1 {
			l.Invalid(at, r.Namespaces, "if '*' is present, must not specify other namespaces")
		}
	default:
		for i, ns := range r.Namespaces {
			for _, msg := range rules.DNSLabel(ns, false) {
				l.Invalid(at.Index(i), ns, "each member of this list must be '*' or a DNS-1123 label; "+msg)
			}
		}
	}
}

func judgeURLs(l *rules.List, r *flowcontrolv1.NonResourcePolicyRule, path *field.Path) {
	judgeVerbs(l, r.Verbs, path.Child("verbs"))
	at := path.Child("nonResourceURLs")
	judgeList(l, r.NonResourceURLs, at, "nonResourceURLs must contain at least one value", "non-resource URLs")
	if slices.Contains(r.NonResourceURLs, "*") {
		return
	}
	for i, url := range r.NonResourceURLs {
		if why := urlError(url); why != "" {
			l.Invalid(at.Index(i), url, why)
		}
	}
}

func urlError(url string) string {
	stars := strings.Count(url, "*")
	switch {
	case url == "":
		return "must not be empty"
	case url == "/":
		return ""
	case !strings.HasPrefix(url, "/"):
		return "must start with slash"
	case strings.Contains(url, " "):
		return "must not contain white-space"
	case strings.Contains(url, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(url, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}

// entropy is how many bits of a hash it takes to deal hand cards of a deck.
func entropy(deck, hand int) int {
	return int(math.Ceil(math.Log2(float64(deck)) * float64(hand)))
}
