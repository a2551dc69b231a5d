// Package audit records who asked what of the API server and what came of it, as far
// as a policy wants it (audit.k8s.io/v1): to a file, to a webhook, or both. The
// server makes a Record of each request that the policy does not leave out and tells
// it what happens; nothing here is called where there is no policy.
package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/apis/audit/validation"

	"skiff.dev/skiff/auth"
)

// Policy says how much is recorded of which request. It is immutable.
type Policy struct {
	rules             []auditv1.PolicyRule
	omitStages        []auditv1.Stage
	omitManagedFields bool
}

// ParsePolicy reads a policy file. Fields that are unknown are errors: in Kubernetes
// they are only logged, and a rule with a misspelt field then matches more than was
// meant.
func ParsePolicy(text []byte) (*Policy, error) {
	var p auditv1.Policy
	if err := auth.DecodeConfig(text, &p); err != nil {
		return nil, err
	}
	if p.Kind != "Policy" || p.APIVersion != auditv1.SchemeGroupVersion.String() {
		return nil, fmt.Errorf("apiVersion %q, kind %q: it must be %q, %q", p.APIVersion, p.Kind, auditv1.SchemeGroupVersion.String(), "Policy")
	}
	var internal audit.Policy
	if err := auditv1.Convert_v1_Policy_To_audit_Policy(&p, &internal, nil); err != nil {
		return nil, err
	}
	if errs := validation.ValidatePolicy(&internal); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	if len(p.Rules) == 0 {
		return nil, errors.New("rules: a policy with no rules records nothing; add one, such as: level: Metadata")
	}
	return &Policy{p.Rules, p.OmitStages, p.OmitManagedFields}, nil
}

// Choice is what a policy wants of one request.
type Choice struct {
	Level             auditv1.Level
	OmitStages        []auditv1.Stage
	OmitManagedFields bool
}

// Choose finds the first rule that fits (audit/policy, EvaluatePolicyRule).
func (p *Policy) Choose(a *auth.Attributes) Choice {
	for i := range p.rules {
		r := &p.rules[i]
		if !fits(r, a) {
			continue
		}
		c := Choice{Level: r.Level, OmitStages: p.omitStages, OmitManagedFields: p.omitManagedFields}
		if len(r.OmitStages) > 0 {
			c.OmitStages = append(slices.Clone(p.omitStages), r.OmitStages...)
		}
		if r.OmitManagedFields != nil {
			c.OmitManagedFields = *r.OmitManagedFields
		}
		return c
	}
	return Choice{Level: auditv1.LevelNone}
}

func fits(r *auditv1.PolicyRule, a *auth.Attributes) bool {
	if len(r.Users) > 0 && (a.User == nil || !slices.Contains(r.Users, a.User.Name)) {
		return false
	}
	if len(r.UserGroups) > 0 && (a.User == nil || !slices.ContainsFunc(a.User.Groups, func(g string) bool { return slices.Contains(r.UserGroups, g) })) {
		return false
	}
	if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, a.Verb) {
		return false
	}
	switch {
	case len(r.Namespaces) > 0 || len(r.Resources) > 0:
		return fitsResource(r, a)
	case len(r.NonResourceURLs) > 0:
		return !a.IsResource && slices.ContainsFunc(r.NonResourceURLs, func(spec string) bool { return fitsPath(a.Path, spec) })
	}
	return true
}

func fitsPath(path, spec string) bool {
	return spec == "*" || spec == path || strings.HasSuffix(spec, "*") && strings.HasPrefix(path, strings.TrimRight(spec, "*"))
}

func fitsResource(r *auditv1.PolicyRule, a *auth.Attributes) bool {
	if !a.IsResource || len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, a.Namespace) {
		return false
	}
	if len(r.Resources) == 0 {
		return true
	}
	combined := a.Resource
	if a.Subresource != "" {
		combined += "/" + a.Subresource
	}
	for i := range r.Resources {
		g := &r.Resources[i]
		if g.Group != a.Group {
			continue
		}
		if len(g.Resources) == 0 {
			return true
		}
		if len(g.ResourceNames) > 0 && !slices.Contains(g.ResourceNames, a.Name) {
			continue
		}
		for _, spec := range g.Resources {
			sub, anyOf := strings.CutPrefix(spec, "*/")
			of, all := strings.CutSuffix(spec, "/*")
			if spec == "*" || spec == combined || anyOf && a.Subresource != "" && sub == a.Subresource || all && of == a.Resource {
				return true
			}
		}
	}
	return false
}
