package core

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func limitRange() *kinds.Kind {
	k := newKind[v1.LimitRange, v1.LimitRangeList]("limitranges", true, "limits")
	k.Name = rules.DNSSubdomain
	k.AllowCreateOnUpdate = true
	k.Default = rules.Do(defaultLimitRange)
	k.PrepareCreate = rules.Do(func(l *v1.LimitRange) {
		if l.Name == "" {
			l.Name = string(uuid.NewUUID())
		}
	})
	k.Validate = rules.Check(validateLimitRange)
	k.ValidateUpdate = rules.Check2(func(obj, _ *v1.LimitRange) field.ErrorList { return validateLimitRange(obj) })
	return k
}

// defaultLimitRange completes the limits of containers: default limits from the
// maximum, default requests from the default limits, then from the minimum.
func defaultLimitRange(l *v1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type == v1.LimitTypeContainer {
			if item.Default == nil {
				item.Default = v1.ResourceList{}
			}
			if item.DefaultRequest == nil {
				item.DefaultRequest = v1.ResourceList{}
			}
			fillMissing(item.Default, item.Max)
			fillMissing(item.DefaultRequest, item.Default)
			fillMissing(item.DefaultRequest, item.Min)
		}
		for _, list := range []v1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			roundResources(list)
		}
	}
}
