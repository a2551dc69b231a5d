//lint:file-ignore SA1019 what is deprecated is served still

package core

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"skiff.dev/skiff/kinds/rules"
)

func validateNode(n *v1.Node) field.ErrorList {
	var l rules.List
	meta := field.NewPath("metadata")
	nodeAnnotations(&l, n.Annotations, meta.Child("annotations"))
	taints(&l, n.Spec.Taints, meta.Child("taints"))
	nodeResources(&l, n)
	if swap := n.Status.NodeInfo.Swap; swap != nil && swap.Capacity != nil {
		l.Add(rules.Positive(*swap.Capacity, meta.Child("nodeSwapStatus", "capacity"))...)
	}
	declaredFeatures(&l, n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))
	path := field.NewPath("spec", "podCIDRs")
	for i, cidr := range n.Spec.PodCIDRs {
		l.Add(rules.CIDR(cidr, path.Index(i))...)
	}
	if len(n.Spec.PodCIDRs) > 1 {
		dual, err := netutils.IsDualStackCIDRStrings(n.Spec.PodCIDRs)
		if err != nil {
			l.Add(field.InternalError(path, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%v", err)))
		}
		if !dual || len(n.Spec.PodCIDRs) > 2 {
			l.Invalid(path, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family")
		}
	}
	return l.Errors()
}

func validateNodeUpdate(n, old *v1.Node) field.ErrorList {
	return append(validateNode(n), validateNodeStatus(n, old)...)
}

// validateNodeStatus judges every update, of the node and of its status.
func validateNodeStatus(n, old *v1.Node) field.ErrorList {
	var l rules.List
	meta, spec := field.NewPath("metadata"), field.NewPath("spec")
	nodeAnnotations(&l, n.Annotations, meta.Child("annotations"))
	nodeResources(&l, n)
	declaredFeatures(&l, n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))
	seen := map[v1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		if seen[a] {
			l.Duplicate(field.NewPath("status", "addresses").Index(i), rules.Internal(a))
		}
		seen[a] = true
	}
	if was := old.Spec.PodCIDRs; len(was) > 0 {
		const once = "node updates may not change podCIDR except from \"\" to valid"
		if len(was) != len(n.Spec.PodCIDRs) {
			l.Forbidden(spec.Child("podCIDRs"), once)
		} else {
			for i := range was {
				if was[i] != n.Spec.PodCIDRs[i] {
					l.Forbidden(spec.Child("podCIDRs"), once)
				}
			}
		}
	}
	if old.Spec.ProviderID != "" && old.Spec.ProviderID != n.Spec.ProviderID {
		l.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid")
	}
	if s := n.Spec.ConfigSource; s != nil {
		configSource(&l, s, false, spec.Child("configSource"))
	}
	if c := n.Status.Config; c != nil {
		path := field.NewPath("status", "config")
		for _, s := range []struct {
			source *v1.NodeConfigSource
			name   string
		}{{c.Assigned, "assigned"}, {c.Active, "active"}, {c.LastKnownGood, "lastKnownGood"}} {
			if s.source != nil {
				configSource(&l, s.source, true, path.Child(s.name))
			}
		}
	}
	taints(&l, n.Spec.Taints, meta.Child("taints"))
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		l.Forbidden(spec.Child("externalID"), "may not be updated")
	}
	return l.Errors()
}

func taints(l *rules.List, list []v1.Taint, path *field.Path) {
	type key struct {
		effect v1.TaintEffect
		name   string
	}
	seen := map[key]bool{}
	for i, t := range list {
		at := path.Index(i)
		l.Add(metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
			l.Invalid(at.Child("value"), t.Value, strings.Join(msgs, ";"))
		}
		if t.Effect == "" {
			l.Required(at.Child("effect"), "")
		} else {
			taintEffect(l, t.Effect, at.Child("effect"))
		}
		if k := (key{t.Effect, t.Key}); seen[k] {
			err := field.Duplicate(at, rules.Internal(t))
			err.Detail = "taints must be unique by key and effect pair"
			l.Add(err)
		} else {
			seen[k] = true
		}
	}
}

// nodeAnnotations judges the annotations in which taints and pods to avoid were
// written before there were fields.
func nodeAnnotations(l *rules.List, a map[string]string, path *field.Path) {
	if text := a[v1.TaintsAnnotationKey]; text != "" {
		var list []v1.Taint
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			l.Invalid(path, v1.TaintsAnnotationKey, err.Error())
		} else {
			taints(l, list, path.Child(v1.TaintsAnnotationKey))
		}
	}
	text := a[v1.PreferAvoidPodsAnnotationKey]
	if text == "" {
		return
	}
	var avoid v1.AvoidPods
	if err := json.Unmarshal([]byte(text), &avoid); err != nil {
		l.Invalid(path.Child("AvoidPods"), v1.PreferAvoidPodsAnnotationKey, err.Error())
		return
	}
	for i, entry := range avoid.PreferAvoidPods {
		at := path.Child(v1.PreferAvoidPodsAnnotationKey).Index(i).Child("PodSignature")
		if c := entry.PodSignature.PodController; c == nil {
			l.Required(at, "")
		} else if c.Controller == nil || !*c.Controller {
			l.Invalid(at.Child("PodController", "Controller"), false, "must point to a controller")
		}
	}
}

func nodeResources(l *rules.List, n *v1.Node) {
	for _, name := range names(n.Status.Capacity) {
		l.Add(resourceQuantity(name, n.Status.Capacity[name], field.NewPath("status", "capacity", string(name)))...)
	}
	for _, name := range names(n.Status.Allocatable) {
		l.Add(resourceQuantity(name, n.Status.Allocatable[name], field.NewPath("status", "allocatable", string(name)))...)
	}
}

var featureName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(\/[a-zA-Z][a-zA-Z0-9]*)*$`)
})

// declaredFeatures judges a sorted list of feature names.
func declaredFeatures(l *rules.List, list []string, path *field.Path) {
	const most = validation.DNS1123SubdomainMaxLength
	for i, f := range list {
		if len(f) > most {
			l.Invalid(path.Index(i), f, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", f, most))
		} else if !featureName().MatchString(f) {
			l.Invalid(path.Index(i), f, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", f))
		}
		if i+1 == len(list) {
			break
		}
		if next := list[i+1]; f == next {
			l.Duplicate(path.Index(i+1), next)
		} else if f > next {
			l.Invalid(path.Index(i+1), next, "list must be sorted alphabetically")
		}
	}
}

// configSource judges where a node's configuration comes from, a feature that is
// gone; in status a source is bound to one version of an object.
func configSource(l *rules.List, s *v1.NodeConfigSource, status bool, path *field.Path) {
	c, at := s.ConfigMap, path.Child("configMap")
	if c == nil {
		l.Invalid(path, rules.Internal(s), "exactly one reference subfield must be non-nil")
		return
	}
	for _, f := range []struct{ name, value string }{{"uid", string(c.UID)}, {"resourceVersion", c.ResourceVersion}} {
		if status {
			l.Need(at, f.name, f.value)
		} else if f.value != "" {
			l.Forbidden(at.Child(f.name), f.name+" must not be set in spec")
		}
	}
	named := func(name, value string, rule func(string) []string) {
		if value == "" {
			l.Required(at.Child(name), "")
			return
		}
		l.Messages(at.Child(name), value, rule(value))
	}
	named("namespace", c.Namespace, func(s string) []string { return rules.DNSLabel(s, false) })
	named("name", c.Name, func(s string) []string { return rules.DNSSubdomain(s, false) })
	named("kubeletConfigKey", c.KubeletConfigKey, validation.IsConfigMapKey)
}

func nodeWarnings(n *v1.Node) []string {
	var out []string
	if n.Spec.ConfigSource != nil {
		out = append(out, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		out = append(out, validation.GetWarningsForCIDR(field.NewPath("spec", "podCIDRs").Index(i), cidr)...)
	}
	return out
}
