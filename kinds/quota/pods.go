package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	resourcehelper "k8s.io/component-helpers/resource"

	"skiff.dev/skiff/kinds"
)

const requests = corev1.DefaultResourceRequestsPrefix

var podNames = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage,
	corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsEphemeralStorage,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory, corev1.ResourceLimitsEphemeralStorage,
	corev1.ResourcePods,
}

// podNamed: huge pages, and requests of extended resources.
func podNamed(name corev1.ResourceName) bool {
	s := string(name)
	return strings.HasPrefix(s, corev1.ResourceHugePagesPrefix) || strings.HasPrefix(s, corev1.ResourceRequestsHugePagesPrefix) ||
		strings.HasPrefix(s, requests) && (!native(s) || strings.HasPrefix(s, requests+resourcev1.ResourceDeviceClassPrefix))
}

// native tells whether a resource's name is in Kubernetes' own domain.
func native(name string) bool {
	return !strings.Contains(name, "/") || strings.Contains(name, corev1.ResourceDefaultNamespacePrefix)
}

func podHandles(sub string, obj, old kinds.Object) bool {
	switch sub {
	case "":
		return old == nil || terminating(old.(*corev1.Pod)) != terminating(obj.(*corev1.Pod))
	case "resize":
		return old != nil
	}
	return false
}

// mustSay are the resources that a container has to name where a quota limits
// them.
var mustSay = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

func podRequires(limited []corev1.ResourceName, obj kinds.Object) error {
	pod := obj.(*corev1.Pod)
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil
	}
	missing := map[string][]string{}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			c := &list[i]
			said := corev1.ResourceList{}
			compute(c.Resources.Requests, c.Resources.Limits, said)
			for _, name := range limited {
				if _, ok := said[name]; !ok && slices.Contains(mustSay, name) {
					missing[string(name)] = append(missing[string(name)], c.Name)
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for name, containers := range missing {
		slices.Sort(containers)
		parts = append(parts, name+" for: "+strings.Join(slices.Compact(containers), ","))
	}
	slices.Sort(parts)
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

// podUsage: a pod that has ended, or should be gone by now, takes no more than its
// place in the store.
func podUsage(obj kinds.Object, now time.Time, into corev1.ResourceList) {
	pod := obj.(*corev1.Pod)
	if ended(pod, now) {
		return
	}
	opts := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	into[corev1.ResourcePods] = one()
	compute(resourcehelper.PodRequests(pod, opts), resourcehelper.PodLimits(pod, opts), into)
}

func ended(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if pod.DeletionTimestamp == nil || pod.DeletionGracePeriodSeconds == nil {
		return false
	}
	return now.After(pod.DeletionTimestamp.Add(time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second))
}

// compute adds what requests and limits are called in quotas.
func compute(req, limits, into corev1.ResourceList) {
	for name, q := range req {
		switch {
		case name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage,
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			into[name], into[requests+name] = q, q
		case extended(string(name)):
			into[requests+name] = q
		}
	}
	for name, q := range limits {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			into["limits."+name] = q
		}
	}
}

// extended tells whether a resource is one of a device plugin or of a device class.
func extended(name string) bool {
	return !native(name) && !strings.HasPrefix(name, requests) || strings.HasPrefix(name, resourcev1.ResourceDeviceClassPrefix)
}

func podScope(s corev1.ScopedResourceSelectorRequirement, obj kinds.Object) (bool, error) {
	pod := obj.(*corev1.Pod)
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return terminating(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !terminating(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopePriorityClass:
		if s.Operator == corev1.ScopeSelectorOpExists {
			return pod.Spec.PriorityClassName != "", nil
		}
		var have []string
		if pod.Spec.PriorityClassName != "" {
			have = []string{pod.Spec.PriorityClassName}
		}
		return selects(s, have)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return affinityAcross(pod), nil
	}
	return false, nil
}

func terminating(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

// bestEffort: no container asks for or is limited in processor time or memory, nor
// is the pod as a whole.
func bestEffort(pod *corev1.Pod) bool {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass == corev1.PodQOSBestEffort
	}
	none := func(r corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if q := list[name]; q.Sign() > 0 {
					return false
				}
			}
		}
		return true
	}
	if pod.Spec.Resources != nil && !none(*pod.Spec.Resources) {
		return false
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if !none(list[i].Resources) {
				return false
			}
		}
	}
	return true
}

// selects judges a scope's expression over the values that an object has.
func selects(s corev1.ScopedResourceSelectorRequirement, have []string) (bool, error) {
	sel, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: string(s.ScopeName), Operator: metav1.LabelSelectorOperator(s.Operator), Values: s.Values,
	}}})
	if err != nil {
		return false, fmt.Errorf("failed to parse and convert selector: %w", err)
	}
	if len(have) == 0 {
		return sel.Matches(labels.Set{}), nil
	}
	for _, v := range have {
		if sel.Matches(labels.Set{string(s.ScopeName): v}) {
			return true, nil
		}
	}
	return false, nil
}

// affinityAcross tells whether a pod's (anti-)affinity looks into other namespaces.
func affinityAcross(pod *corev1.Pod) bool {
	a := pod.Spec.Affinity
	if a == nil {
		return false
	}
	across := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) bool {
		term := func(t *corev1.PodAffinityTerm) bool { return len(t.Namespaces) != 0 || t.NamespaceSelector != nil }
		for i := range required {
			if term(&required[i]) {
				return true
			}
		}
		for i := range preferred {
			if term(&preferred[i].PodAffinityTerm) {
				return true
			}
		}
		return false
	}
	return a.PodAffinity != nil && across(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution) ||
		a.PodAntiAffinity != nil && across(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
}

// sameScopes tells whether two states of a pod or claim fall under the same scopes.
func sameScopes(gr schema.GroupResource, a, b kinds.Object) bool {
	if gr.Resource == "pods" {
		x, y := a.(*corev1.Pod), b.(*corev1.Pod)
		return terminating(x) == terminating(y) && bestEffort(x) == bestEffort(y)
	}
	return slices.Equal(attributeClasses(a), attributeClasses(b))
}
