// Package quota holds the rules of resource quotas as pure functions: what an
// object uses, which quotas it falls under, and whether they admit it. The API
// server's admission charges by Check, the resource quota controller counts anew
// by Used; so both mean the same by "used".
//
// The rules are those of Kubernetes' pkg/quota/v1/evaluator/core and of the
// admission plugin ResourceQuota.
package quota

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	math "k8s.io/apiserver/pkg/quota/v1"

	"skiff.dev/skiff/kinds"
)

// rule is how quotas measure the objects of one resource. A nil func means that
// there is no such rule.
type rule struct {
	count corev1.ResourceName // "count/RESOURCE.GROUP"
	// names are further names that quotas may limit, and named those that follow a
	// pattern.
	names []corev1.ResourceName
	named func(name corev1.ResourceName) bool

	// handles tells whether a write through sub can change what obj uses; old is nil
	// on creation. nil: creation alone counts.
	handles func(sub string, obj, old kinds.Object) bool
	// scope tells whether obj falls under one scope of a quota; nil: under none.
	scope func(s corev1.ScopedResourceSelectorRequirement, obj kinds.Object) (bool, error)
	// requires refuses an object that does not say how much it wants of limited.
	requires func(limited []corev1.ResourceName, obj kinds.Object) error
	// usage is what obj uses beside being one object.
	usage func(obj kinds.Object, now time.Time, into corev1.ResourceList)
}

var rules = named(map[schema.GroupResource]*rule{
	{Resource: "pods"}: {
		names: podNames, named: podNamed, handles: podHandles, scope: podScope, requires: podRequires, usage: podUsage,
	},
	{Resource: "services"}: {
		names:   []corev1.ResourceName{corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers},
		handles: func(string, kinds.Object, kinds.Object) bool { return true },
		usage:   serviceUsage,
	},
	{Resource: "persistentvolumeclaims"}: {
		names: claimNames, named: claimNamed, handles: claimHandles, scope: claimScope, usage: claimUsage,
	},
	{Group: "resource.k8s.io", Resource: "resourceclaims"}: {
		named:   deviceNamed,
		handles: func(sub string, _, _ kinds.Object) bool { return sub == "" },
		usage:   deviceUsage,
	},
	{Resource: "configmaps"}:             alias(corev1.ResourceConfigMaps),
	{Resource: "resourcequotas"}:         alias(corev1.ResourceQuotas),
	{Resource: "replicationcontrollers"}: alias(corev1.ResourceReplicationControllers),
	{Resource: "secrets"}:                alias(corev1.ResourceSecrets),
})

// named gives each rule the name that counts its objects.
func named(m map[schema.GroupResource]*rule) map[schema.GroupResource]*rule {
	for gr, r := range m {
		r.count = CountName(gr)
	}
	return m
}

// alias counts objects under an older name too.
func alias(name corev1.ResourceName) *rule {
	return &rule{
		names: []corev1.ResourceName{name},
		usage: func(_ kinds.Object, _ time.Time, into corev1.ResourceList) { into[name] = one() },
	}
}

// ignored are stored and never counted (quota/v1/install, DefaultIgnoredResources).
var ignored = map[schema.GroupResource]bool{
	{Resource: "events"}:                         true,
	{Group: "events.k8s.io", Resource: "events"}: true,
}

// of returns the rule of a resource; nil where quotas do not apply.
func of(gr schema.GroupResource) *rule {
	if r := rules[gr]; r != nil {
		return r
	}
	if ignored[gr] {
		return nil
	}
	return &rule{count: CountName(gr)}
}

const countPrefix = "count/"

// CountName is what limits the number of a resource's objects.
func CountName(gr schema.GroupResource) corev1.ResourceName {
	if gr.Group == "" {
		return corev1.ResourceName(countPrefix + gr.Resource)
	}
	return corev1.ResourceName(countPrefix + gr.Resource + "." + gr.Group)
}

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

// matching are those of limited that the rule measures.
func (r *rule) matching(limited corev1.ResourceList) []corev1.ResourceName {
	var out []corev1.ResourceName
	for name := range limited {
		if name == r.count || math.Contains(r.names, name) || r.named != nil && r.named(name) {
			out = append(out, name)
		}
	}
	return out
}

// matches tells whether obj falls under a quota that limits hard.
func (r *rule) matches(q *corev1.ResourceQuota, hard corev1.ResourceList, obj kinds.Object) (bool, error) {
	if len(r.matching(hard)) == 0 {
		return false, nil
	}
	return r.inScopes(q, obj)
}

func (r *rule) inScopes(q *corev1.ResourceQuota, obj kinds.Object) (bool, error) {
	for _, s := range scopes(q) {
		if r.scope == nil {
			return false, nil
		}
		if ok, err := r.scope(s, obj); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// scopes lists a quota's scopes in one form.
func scopes(q *corev1.ResourceQuota) []corev1.ScopedResourceSelectorRequirement {
	var out []corev1.ScopedResourceSelectorRequirement
	for _, s := range q.Spec.Scopes {
		out = append(out, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		out = append(out, q.Spec.ScopeSelector.MatchExpressions...)
	}
	return out
}

func (r *rule) uses(obj kinds.Object, now time.Time) corev1.ResourceList {
	out := corev1.ResourceList{r.count: one()}
	if r.usage != nil {
		r.usage(obj, now, out)
	}
	return out
}

// Limits tells whether a quota limits anything that objects of a resource use.
func Limits(q *corev1.ResourceQuota, gr schema.GroupResource) bool {
	r := of(gr)
	return r != nil && len(r.matching(q.Spec.Hard)) > 0
}

// Same tells whether two states of an object count alike under every quota.
func Same(gr schema.GroupResource, a, b kinds.Object, now time.Time) bool {
	r := of(gr)
	if r == nil {
		return true
	}
	if !math.Equals(r.uses(a, now), r.uses(b, now)) {
		return false
	}
	return r.scope == nil || sameScopes(gr, a, b)
}

// Resources lists the resources that a quota limits, as far as their names say so:
// those with rules of their own, and those counted by "count/".
func Resources(q *corev1.ResourceQuota) []schema.GroupResource {
	var out []schema.GroupResource
	for gr, r := range rules {
		if len(r.matching(q.Spec.Hard)) > 0 {
			out = append(out, gr)
		}
	}
	for name := range q.Spec.Hard {
		rest, ok := strings.CutPrefix(string(name), countPrefix)
		if !ok {
			continue
		}
		gr := schema.ParseGroupResource(rest)
		if rules[gr] == nil && !ignored[gr] {
			out = append(out, gr)
		}
	}
	return out
}

// Used counts what the objects of one resource use of a quota. Every name that the
// quota limits and the resource has is in the answer, be it zero.
func Used(q *corev1.ResourceQuota, gr schema.GroupResource, objects []kinds.Object, now time.Time) (corev1.ResourceList, error) {
	r := of(gr)
	if r == nil {
		return nil, nil
	}
	names := r.matching(q.Spec.Hard)
	total := corev1.ResourceList{}
	for _, n := range names {
		total[n] = resource.Quantity{Format: resource.DecimalSI}
	}
	for _, obj := range objects {
		in, err := r.inScopes(q, obj)
		if err != nil {
			return nil, err
		}
		if in {
			total = math.Add(total, math.Mask(r.uses(obj, now), names))
		}
	}
	return total, nil
}
