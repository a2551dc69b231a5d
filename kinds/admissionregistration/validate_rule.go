package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func judgeOperations(l *rules.List, r *admissionv1.RuleWithOperations, path *field.Path) {
	at := path.Child("operations")
	if len(r.Operations) == 0 {
		l.Required(at, "")
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		l.Invalid(at, r.Operations, "if '*' is present, must not specify other operations")
	}
	for i, o := range r.Operations {
		rules.Supported(l, at.Index(i), o, admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update)
	}
	judgeRule(l, &r.Rule, path)
}

func judgeRule(l *rules.List, r *admissionv1.Rule, path *field.Path) {
	star := func(list []string) bool { return len(list) > 1 && slices.Contains(list, "*") }
	if len(r.APIGroups) == 0 {
		l.Required(path.Child("apiGroups"), "")
	}
	if star(r.APIGroups) {
		l.Invalid(path.Child("apiGroups"), r.APIGroups, "if '*' is present, must not specify other API groups")
	}
	if len(r.APIVersions) == 0 {
		l.Required(path.Child("apiVersions"), "")
	}
	if star(r.APIVersions) {
		l.Invalid(path.Child("apiVersions"), r.APIVersions, "if '*' is present, must not specify other API versions")
	}
	for i, v := range r.APIVersions {
		if v == "" {
			l.Required(path.Child("apiVersions").Index(i), "")
		}
	}
	judgeResources(l, r.Resources, path.Child("resources"))
	if r.Scope != nil {
		rules.Supported(l, path.Child("scope"), *r.Scope, admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)
	}
}

func judgeResources(l *rules.List, resources []string, path *field.Path) {
	if len(resources) == 0 {
		l.Required(path, "")
	}
	allSubs, allResources := map[string]bool{}, map[string]bool{}
	everything, star, plain := false, false, false
	for i, r := range resources {
		if r == "" {
			l.Required(path.Index(i), "")
			continue
		}
		everything = everything || r == "*/*"
		star = star || r == "*"
		name, sub, found := strings.Cut(r, "/")
		if !found {
			plain = r != "*" // of the last one, as Kubernetes has it
			continue
		}
		if allSubs[name] {
			l.Invalid(path.Index(i), r, fmt.Sprintf("if '%s/*' is present, must not specify %s", name, r))
		}
		if allResources[sub] {
			l.Invalid(path.Index(i), r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r))
		}
		if sub == "*" {
			allSubs[name] = true
		}
		if name == "*" {
			allResources[sub] = true
		}
	}
	if len(resources) > 1 && everything {
		l.Invalid(path, resources, "if '*/*' is present, must not specify other resources")
	}
	if star && plain {
		l.Invalid(path, resources, "if '*' is present, must not specify other resources without subresources")
	}
}
