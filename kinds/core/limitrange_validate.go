package core

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func validateLimitRange(r *v1.LimitRange) field.ErrorList {
	var l rules.List
	seen := map[v1.LimitType]bool{}
	for i := range r.Spec.Limits {
		item, path := &r.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		limitType(&l, item.Type, path.Child("type"))
		if seen[item.Type] {
			l.Duplicate(path.Child("type"), item.Type)
		}
		seen[item.Type] = true
		limitItem(&l, item, path)
	}
	return l.Errors()
}

func limitType(l *rules.List, t v1.LimitType, path *field.Path) {
	switch t {
	case v1.LimitTypePod, v1.LimitTypeContainer, v1.LimitTypePersistentVolumeClaim:
		return
	}
	if msgs := validation.IsQualifiedName(string(t)); len(msgs) > 0 {
		l.Messages(path, t, msgs)
	} else if !strings.Contains(string(t), "/") {
		l.Invalid(path, t, "must be a standard limit type or fully qualified")
	}
}

func limitItem(l *rules.List, item *v1.LimitRangeItem, path *field.Path) {
	nameRule := resourceName
	if item.Type == v1.LimitTypePod || item.Type == v1.LimitTypeContainer {
		nameRule = containerResourceName
	}
	all := v1.ResourceList{}
	judge := func(list v1.ResourceList, name string) {
		for _, r := range names(list) {
			l.Add(nameRule(r, path.Child(name).Key(string(r)))...)
			all[r] = resource.Quantity{}
		}
	}
	judge(item.Max, "max")
	judge(item.Min, "min")
	defaults, requests := item.Default, item.DefaultRequest
	if item.Type == v1.LimitTypePod {
		if len(defaults) > 0 {
			l.Forbidden(path.Child("default"), "may not be specified when `type` is 'Pod'")
		}
		if len(requests) > 0 {
			l.Forbidden(path.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
		}
		defaults, requests = nil, nil
	}
	judge(defaults, "default")
	judge(requests, "defaultRequest")
	if item.Type == v1.LimitTypePersistentVolumeClaim {
		_, low := item.Min[v1.ResourceStorage]
		_, high := item.Max[v1.ResourceStorage]
		if !low && !high {
			l.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	judge(item.MaxLimitRequestRatio, "maxLimitRequestRatio")
	for _, name := range names(all) {
		limitsAgree(l, name, item, defaults, requests, path)
	}
}

// limitsAgree wants min <= default request <= default <= max of one resource.
func limitsAgree(l *rules.List, name v1.ResourceName, item *v1.LimitRangeItem, defaults, requests v1.ResourceList, path *field.Path) {
	low, hasLow := item.Min[name]
	high, hasHigh := item.Max[name]
	limit, hasLimit := defaults[name]
	request, hasRequest := requests[name]
	ratio, hasRatio := item.MaxLimitRequestRatio[name]
	at := func(child string) *field.Path { return path.Child(child).Key(string(name)) }
	// above says that a is greater than b where both are there.
	above := func(child string, value resource.Quantity, both bool, a resource.Quantity, aName string, b resource.Quantity, bName string) {
		if both && a.Cmp(b) > 0 {
			l.Invalid(at(child), value, fmt.Sprintf("%s value %s is greater than %s value %s", aName, a.String(), bName, b.String()))
		}
	}
	above("min", low, hasLow && hasHigh, low, "min", high, "max")
	above("defaultRequest", request, hasRequest && hasLow, low, "min", request, "default request")
	above("defaultRequest", request, hasRequest && hasHigh, request, "default request", high, "max")
	above("defaultRequest", request, hasRequest && hasLimit, request, "default request", limit, "default limit")
	above("default", low, hasLimit && hasLow, low, "min", limit, "default")
	above("default", high, hasLimit && hasHigh, limit, "default", high, "max")
	if hasRatio {
		if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
			l.Invalid(at("maxLimitRequestRatio"), ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String()))
		}
		if hasLow && hasHigh {
			value := float64(ratio.Value())
			if ratio.Value() < resource.MaxMilliValue && low.Value() < resource.MaxMilliValue && high.Value() < resource.MaxMilliValue {
				value = float64(ratio.MilliValue()) / 1000
			}
			if most := float64(finest(high, low, ratio)) / float64(finest(low, high, ratio)); value > most {
				l.Invalid(at("maxLimitRequestRatio"), ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), most))
			}
		}
	}
	if !overcommits(name) && hasLimit && hasRequest && limit.Cmp(request) != 0 {
		l.Invalid(at("defaultRequest"), request, fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name))
	}
}

// finest is q in thousandths if it and the others can be counted so, else whole.
func finest(q resource.Quantity, others ...resource.Quantity) int64 {
	for _, o := range append(others, q) {
		if o.Value() >= resource.MaxMilliValue {
			return q.Value()
		}
	}
	return q.MilliValue()
}
