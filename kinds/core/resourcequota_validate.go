package core

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func validateResourceQuota(q *v1.ResourceQuota) field.ErrorList {
	var l rules.List
	quotaSpec(&l, &q.Spec)
	quotaStatus(&l, &q.Status)
	return l.Errors()
}

func quotaList(l *rules.List, list v1.ResourceList, path *field.Path) {
	for _, name := range names(list) {
		at := path.Key(string(name))
		l.Add(quotaResourceName(name, at)...)
		l.Add(resourceQuantity(name, list[name], at)...)
	}
}

func quotaResourceName(name v1.ResourceName, path *field.Path) field.ErrorList {
	errs := resourceName(name, path)
	if !strings.Contains(string(name), "/") && !isQuotaResource(name) {
		errs = append(errs, field.Invalid(path, name, "must be a standard resource for quota"))
	}
	return errs
}

func isQuotaResource(name v1.ResourceName) bool {
	return standardResources[name] && name != v1.ResourceStorage || isQuotaHugePages(name)
}

func quotaStatus(l *rules.List, s *v1.ResourceQuotaStatus) {
	quotaList(l, s.Hard, field.NewPath("status", "hard"))
	quotaList(l, s.Used, field.NewPath("status", "used"))
}

func quotaSpec(l *rules.List, s *v1.ResourceQuotaSpec) {
	path := field.NewPath("spec")
	quotaList(l, s.Hard, path.Child("hard"))
	scopes := path.Child("scopes")
	for _, scope := range s.Scopes {
		if !isScope(scope) {
			l.Invalid(scopes, s.Scopes, "unsupported scope")
		}
		for _, name := range names(s.Hard) {
			if isQuotaResource(name) && !scopeCounts(scope, name) {
				l.Invalid(scopes, s.Scopes, "unsupported scope applied to resource")
			}
		}
	}
	scopesAgree(l, s.Scopes, s.Scopes, scopes)
	if s.ScopeSelector != nil {
		quotaSelector(l, s, path.Child("scopeSelector", "matchExpressions"))
	}
}

func isScope(s v1.ResourceQuotaScope) bool {
	switch s {
	case v1.ResourceQuotaScopeTerminating, v1.ResourceQuotaScopeNotTerminating, v1.ResourceQuotaScopeBestEffort, v1.ResourceQuotaScopeNotBestEffort,
		v1.ResourceQuotaScopePriorityClass, v1.ResourceQuotaScopeVolumeAttributesClass, v1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return true
	}
	return false
}

// scopeCounts says whether a scope can be of what a resource counts.
func scopeCounts(s v1.ResourceQuotaScope, name v1.ResourceName) bool {
	switch s {
	case v1.ResourceQuotaScopeBestEffort:
		return name == v1.ResourcePods
	case v1.ResourceQuotaScopeTerminating, v1.ResourceQuotaScopeNotTerminating, v1.ResourceQuotaScopeNotBestEffort,
		v1.ResourceQuotaScopePriorityClass, v1.ResourceQuotaScopeCrossNamespacePodAffinity:
		switch name {
		case v1.ResourcePods, v1.ResourceCPU, v1.ResourceMemory, v1.ResourceLimitsCPU, v1.ResourceLimitsMemory, v1.ResourceRequestsCPU, v1.ResourceRequestsMemory:
			return true
		}
		return false
	case v1.ResourceQuotaScopeVolumeAttributesClass:
		return name == v1.ResourcePersistentVolumeClaims || name == v1.ResourceRequestsStorage
	}
	return true
}

func scopesAgree(l *rules.List, scopes, shown []v1.ResourceQuotaScope, path *field.Path) {
	for _, pair := range [][2]v1.ResourceQuotaScope{
		{v1.ResourceQuotaScopeBestEffort, v1.ResourceQuotaScopeNotBestEffort},
		{v1.ResourceQuotaScopeTerminating, v1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			l.Invalid(path, shown, "conflicting scopes")
		}
	}
}

func quotaSelector(l *rules.List, s *v1.ResourceQuotaSpec, path *field.Path) {
	var scopes []v1.ResourceQuotaScope
	for _, r := range s.ScopeSelector.MatchExpressions {
		if !isScope(r.ScopeName) {
			l.Invalid(path.Child("scopeName"), r.ScopeName, "unsupported scope")
		}
		for _, name := range names(s.Hard) {
			if isQuotaResource(name) && !scopeCounts(r.ScopeName, name) {
				l.Invalid(path, rules.Internal(s.ScopeSelector), "unsupported scope applied to resource")
			}
		}
		switch r.ScopeName {
		case v1.ResourceQuotaScopePriorityClass, v1.ResourceQuotaScopeVolumeAttributesClass:
		default:
			if isScope(r.ScopeName) && r.Operator != v1.ScopeSelectorOpExists {
				l.Invalid(path.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
			}
		}
		switch r.Operator {
		case v1.ScopeSelectorOpIn, v1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				l.Required(path.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
			}
		case v1.ScopeSelectorOpExists, v1.ScopeSelectorOpDoesNotExist:
			if len(r.Values) != 0 {
				l.Invalid(path.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
			}
		default:
			l.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator")
		}
		scopes = append(scopes, r.ScopeName)
	}
	scopesAgree(l, scopes, s.Scopes, path)
}

func validateResourceQuotaUpdate(q, old *v1.ResourceQuota) field.ErrorList {
	var l rules.List
	quotaSpec(&l, &q.Spec)
	same := func(a, b []v1.ResourceQuotaScope) bool {
		return !slices.ContainsFunc(a, func(s v1.ResourceQuotaScope) bool { return !slices.Contains(b, s) })
	}
	if !same(q.Spec.Scopes, old.Spec.Scopes) || !same(old.Spec.Scopes, q.Spec.Scopes) {
		l.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, apivalidation.FieldImmutableErrorMsg)
	}
	return l.Errors()
}

func validateResourceQuotaStatus(q, _ *v1.ResourceQuota) field.ErrorList {
	var l rules.List
	if q.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	quotaStatus(&l, &q.Status)
	return l.Errors()
}
