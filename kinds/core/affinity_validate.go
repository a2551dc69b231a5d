package core

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func (c *podCheck) affinity(a *v1.Affinity, path *field.Path) {
	if a == nil {
		return
	}
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if n := a.NodeAffinity; n != nil {
		at := path.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			c.nodeSelector(n.RequiredDuringSchedulingIgnoredDuringExecution, at.Child(required))
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			term := &n.PreferredDuringSchedulingIgnoredDuringExecution[i]
			c.weight(term.Weight, at.Child(preferred).Index(i))
			c.nodeTerm(&term.Preference, true, at.Child(preferred).Index(i).Child("preference"))
		}
	}
	terms := func(must []v1.PodAffinityTerm, like []v1.WeightedPodAffinityTerm, at *field.Path) {
		for i := range must {
			c.podTerm(&must[i], at.Child(required).Index(i))
		}
		for i := range like {
			c.weight(like[i].Weight, at.Child(preferred).Index(i))
			c.podTerm(&like[i].PodAffinityTerm, at.Child(preferred).Index(i).Child("podAffinityTerm"))
		}
	}
	if p := a.PodAffinity; p != nil {
		terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAffinity"))
	}
	if p := a.PodAntiAffinity; p != nil {
		terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAntiAffinity"))
	}
}

func (c *podCheck) weight(w int32, path *field.Path) {
	rules.Range(&c.List, path.Child("weight"), w, 1, 100, "must be in the range 1-100")
}

func (c *podCheck) nodeSelector(s *v1.NodeSelector, path *field.Path) {
	at := path.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		c.Required(at, "must have at least one node selector term")
		return
	}
	for i := range s.NodeSelectorTerms {
		c.nodeTerm(&s.NodeSelectorTerms[i], c.allow.nodeAffinityValues, at.Index(i))
	}
}

func (c *podCheck) nodeTerm(t *v1.NodeSelectorTerm, anyValue bool, path *field.Path) {
	for i := range t.MatchExpressions {
		c.nodeRequirement(&t.MatchExpressions[i], anyValue, path.Child("matchExpressions").Index(i))
	}
	for i := range t.MatchFields {
		c.nodeField(&t.MatchFields[i], path.Child("matchFields").Index(i))
	}
}

func (c *podCheck) nodeRequirement(r *v1.NodeSelectorRequirement, anyValue bool, path *field.Path) {
	values := path.Child("values")
	switch r.Operator {
	case v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			c.Required(values, "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case v1.NodeSelectorOpExists, v1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			c.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case v1.NodeSelectorOpGt, v1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			c.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		c.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator")
	}
	c.Add(metavalidation.ValidateLabelName(r.Key, path.Child("key"))...)
	if anyValue {
		return
	}
	for i, value := range r.Values {
		c.Messages(values.Index(i), value, validation.IsValidLabelValue(value))
	}
}

// nodeSelectorValues judges the values in a selector alone.
func (c *podCheck) nodeSelectorValues(s *v1.NodeSelector, path *field.Path) {
	for _, term := range s.NodeSelectorTerms {
		for _, r := range term.MatchExpressions {
			for _, value := range r.Values {
				c.Messages(path, value, validation.IsValidLabelValue(value))
			}
		}
	}
}

func (c *podCheck) nodeField(r *v1.NodeSelectorRequirement, path *field.Path) {
	switch r.Operator {
	case v1.NodeSelectorOpIn, v1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			c.Required(path.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
	default:
		c.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator")
	}
	if r.Key != metav1.ObjectNameField {
		c.Invalid(path.Child("key"), r.Key, "not a valid field selector key")
		return
	}
	for i, value := range r.Values {
		c.Name(path.Child("values").Index(i), value, rules.DNSSubdomain)
	}
}

func (c *podCheck) selector(s *metav1.LabelSelector, anyValue bool, path *field.Path) {
	c.Add(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: anyValue}, path)...)
}

func (c *podCheck) podTerm(t *v1.PodAffinityTerm, path *field.Path) {
	c.selector(t.LabelSelector, c.allow.selectorValues, path.Child("labelSelector"))
	c.selector(t.NamespaceSelector, c.allow.selectorValues, path.Child("namespaceSelector"))
	for _, name := range t.Namespaces {
		c.Name(path.Child("namespace"), name, rules.DNSLabel)
	}
	c.labelKeys(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, path)
	if t.TopologyKey == "" {
		c.Required(path.Child("topologyKey"), "can not be empty")
	}
	c.Add(metavalidation.ValidateLabelName(t.TopologyKey, path.Child("topologyKey"))...)
}

// affinitySelectors judges the label selectors of pod affinity alone.
func (c *podCheck) affinitySelectors(a *v1.Affinity, path *field.Path) {
	one := func(t *v1.PodAffinityTerm) {
		c.selector(t.LabelSelector, false, path)
		c.selector(t.NamespaceSelector, false, path)
	}
	all := func(must []v1.PodAffinityTerm, like []v1.WeightedPodAffinityTerm) {
		for i := range must {
			one(&must[i])
		}
		for i := range like {
			one(&like[i].PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		all(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		all(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

// labelKeys judges matchLabelKeys and mismatchLabelKeys beside a selector. By the
// time of validation preparePod has written keys that the pod has into the
// selector's expressions, so that one such expression is expected.
func (c *podCheck) labelKeys(match, mismatch []string, s *metav1.LabelSelector, path *field.Path) {
	one := func(keys []string, at *field.Path) {
		if len(keys) > 0 && s == nil {
			c.Forbidden(at, "must not be specified when labelSelector is not set")
			return
		}
		for i, key := range keys {
			c.Add(metavalidation.ValidateLabelName(key, at.Index(i))...)
		}
	}
	one(match, path.Child("matchLabelKeys"))
	one(mismatch, path.Child("mismatchLabelKeys"))
	if len(match) == 0 {
		return
	}
	if s != nil {
		index := make(map[string]int, len(match))
		for i, key := range match {
			index[key] = i
		}
		seen := map[string]bool{}
		for key := range s.MatchLabels {
			seen[key] = true
		}
		for _, e := range s.MatchExpressions {
			if i, ok := index[e.Key]; ok && seen[e.Key] {
				c.Invalid(path.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector")
			}
			seen[e.Key] = true
		}
	}
	not := set(mismatch...)
	for i, key := range match {
		if not[key] {
			c.Invalid(path.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
}

// spreadLabelKeys judges matchLabelKeys of a constraint made before they were
// written into the selector.
func (c *podCheck) spreadLabelKeys(keys []string, s *metav1.LabelSelector, path *field.Path) {
	if len(keys) == 0 {
		return
	}
	inSelector := map[string]bool{}
	if s == nil {
		c.Forbidden(path, "must not be specified when labelSelector is not set")
	} else {
		for key := range s.MatchLabels {
			inSelector[key] = true
		}
		for _, e := range s.MatchExpressions {
			inSelector[e.Key] = true
		}
	}
	for i, key := range keys {
		c.Add(metavalidation.ValidateLabelName(key, path.Index(i))...)
		if inSelector[key] {
			c.Invalid(path.Index(i), key, "exists in both matchLabelKeys and labelSelector")
		}
	}
}

func (c *podCheck) spreadConstraints(path *field.Path) {
	list := c.spec.TopologySpreadConstraints
	for i := range list {
		t, at := &list[i], path.Index(i)
		c.Add(rules.Positive(int64(t.MaxSkew), at.Child("maxSkew"))...)
		if t.TopologyKey == "" {
			c.Required(at.Child("topologyKey"), "can not be empty")
		}
		rules.Supported(&c.List, at.Child("whenUnsatisfiable"), t.WhenUnsatisfiable, v1.DoNotSchedule, v1.ScheduleAnyway)
		for j := i + 1; j < len(list); j++ {
			if list[j].TopologyKey == t.TopologyKey && list[j].WhenUnsatisfiable == t.WhenUnsatisfiable {
				c.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", t.TopologyKey, t.WhenUnsatisfiable))
				break
			}
		}
		if t.MinDomains != nil {
			c.Add(rules.Positive(int64(*t.MinDomains), at.Child("minDomains"))...)
			if t.WhenUnsatisfiable != v1.DoNotSchedule {
				c.Invalid(at.Child("minDomains"), t.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", v1.DoNotSchedule, t.WhenUnsatisfiable))
			}
		}
		if p := t.NodeAffinityPolicy; p != nil {
			rules.Supported(&c.List, at.Child("nodeAffinityPolicy"), *p, v1.NodeInclusionPolicyHonor, v1.NodeInclusionPolicyIgnore)
		}
		if p := t.NodeTaintsPolicy; p != nil {
			rules.Supported(&c.List, at.Child("nodeTaintsPolicy"), *p, v1.NodeInclusionPolicyHonor, v1.NodeInclusionPolicyIgnore)
		}
		if c.allow.spreadKeys {
			c.spreadLabelKeys(t.MatchLabelKeys, t.LabelSelector, at.Child("matchLabelKeys"))
		} else {
			c.labelKeys(t.MatchLabelKeys, nil, t.LabelSelector, at)
		}
		if !c.allow.spreadSelector {
			c.selector(t.LabelSelector, false, at.Child("labelSelector"))
		}
	}
}

func (c *podCheck) tolerations(list []v1.Toleration, path *field.Path) {
	for i := range list {
		t, at := &list[i], path.Index(i)
		operator := at.Child("operator")
		if t.Key != "" {
			c.Add(metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != v1.TolerationOpExists {
			c.Invalid(operator, t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != v1.TaintEffectNoExecute {
			c.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case v1.TolerationOpEqual, "":
			if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
				c.Invalid(operator, t.Value, strings.Join(msgs, ";"))
			}
		case v1.TolerationOpExists:
			if t.Value != "" {
				c.Invalid(operator, t.Value, "value must be empty when `operator` is 'Exists'")
			}
		case v1.TolerationOpLt, v1.TolerationOpGt:
			c.comparison(t, at)
		default:
			rules.Supported(&c.List, operator, t.Operator, v1.TolerationOpEqual, v1.TolerationOpExists)
		}
		if t.Effect != "" {
			taintEffect(&c.List, t.Effect, at.Child("effect"))
		}
	}
}

func taintEffect(l *rules.List, e v1.TaintEffect, path *field.Path) {
	rules.Supported(l, path, e, v1.TaintEffectNoSchedule, v1.TaintEffectPreferNoSchedule, v1.TaintEffectNoExecute)
}

// ValidateTolerations judges tolerations outside of a pod, as runtime classes have
// them.
func ValidateTolerations(list []v1.Toleration, path *field.Path) field.ErrorList {
	var c podCheck
	c.tolerations(list, path)
	return c.Errors()
}

// ValidateNodeSelector judges a node selector outside of a pod, as slices of devices
// have them.
func ValidateNodeSelector(s *v1.NodeSelector, path *field.Path) field.ErrorList {
	var c podCheck
	c.nodeSelector(s, path)
	return c.Errors()
}
