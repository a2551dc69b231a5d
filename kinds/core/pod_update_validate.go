package core

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// updateCheck begins to judge a pod that replaces old.
func updateCheck(p, old *v1.Pod) *podCheck {
	return &podCheck{isPod: true, spec: &p.Spec, meta: &p.ObjectMeta, allow: allowancesFor(&old.Spec, &old.ObjectMeta)}
}

func validatePodUpdate(p, old *v1.Pod) field.ErrorList {
	c := updateCheck(p, old)
	c.metadataAndSpec(p)
	c.annotationUpdates(p, old)
	spec := field.NewPath("spec")
	if !c.sameContainers(p.Spec.Containers, old.Spec.Containers, spec.Child("containers")) ||
		!c.sameContainers(p.Spec.InitContainers, old.Spec.InitContainers, spec.Child("initContainers")) ||
		!c.deadline(p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, spec.Child("activeDeadlineSeconds")) {
		return c.Errors()
	}
	c.onlyAddedTolerations(old.Spec.Tolerations, spec.Child("tolerations"))
	c.onlyDeletedGates(old.Spec.SchedulingGates, spec.Child("schedulingGates"))
	if equality.Semantic.DeepEqual(p.Spec, old.Spec) {
		return c.Errors()
	}
	rest := c.withoutMutable(old, spec)
	if !equality.Semantic.DeepEqual(*rest, old.Spec) {
		c.Forbidden(spec, fmt.Sprintf("pod updates may not change fields other than %s\n%v", mutablePodFields, diff.Diff(old.Spec, *rest)))
	}
	return c.Errors()
}

const mutablePodFields = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// annotationUpdates keeps the annotations that may not change, and judges all.
func (c *podCheck) annotationUpdates(p, old *v1.Pod) {
	path := field.NewPath("metadata", "annotations")
	changed := func(key, what string) {
		if strings.HasPrefix(key, v1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			c.Forbidden(path.Key(key), "may not "+what+" AppArmor annotations")
		}
		if key == v1.MirrorPodAnnotationKey {
			c.Forbidden(path.Key(key), "may not "+what+" mirror pod annotation")
		}
	}
	for key, was := range old.Annotations {
		if value, ok := p.Annotations[key]; !ok || value != was {
			changed(key, "remove or update")
		}
	}
	for key := range p.Annotations {
		if _, ok := old.Annotations[key]; !ok {
			changed(key, "add")
		}
	}
	c.annotations(p.Annotations, path)
}

func (c *podCheck) sameContainers(list, old []v1.Container, path *field.Path) bool {
	if len(list) != len(old) {
		c.Forbidden(path, "pod updates may not add or remove containers")
		return false
	}
	for i := range list {
		if list[i].Image == "" {
			c.Required(path.Index(i).Child("image"), "")
		}
		c.trimmedImage(&list[i], path.Index(i))
	}
	return true
}

// deadline may be set and lowered; false ends the judgement.
func (c *podCheck) deadline(d, old *int64, path *field.Path) bool {
	switch {
	case d == nil:
		if old != nil {
			c.Invalid(path, d, "must not update from a positive integer to nil value")
		}
	case *d < 0 || *d > math.MaxInt32:
		c.Invalid(path, *d, validation.InclusiveRangeError(0, math.MaxInt32))
		return false
	case old != nil && *old < *d:
		c.Invalid(path, *d, "must be less than or equal to previous value")
		return false
	}
	return true
}

func (c *podCheck) onlyAddedTolerations(old []v1.Toleration, path *field.Path) {
	for _, was := range old {
		kept := slices.ContainsFunc(c.spec.Tolerations, func(t v1.Toleration) bool {
			was.TolerationSeconds, t.TolerationSeconds = nil, nil
			return was == t
		})
		if !kept {
			c.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
	c.tolerations(c.spec.Tolerations, path)
}

func (c *podCheck) onlyDeletedGates(old []v1.PodSchedulingGate, path *field.Path) {
	for i, gate := range c.spec.SchedulingGates {
		// Of a name that stands there twice, the last is meant.
		if !slices.Contains(old, gate) && !slices.Contains(c.spec.SchedulingGates[i+1:], gate) {
			c.Forbidden(path.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", gate.Name))
		}
	}
}

// withoutMutable copies the spec and puts back old's values of all that may change.
func (c *podCheck) withoutMutable(old *v1.Pod, path *field.Path) *v1.PodSpec {
	s := c.spec.DeepCopy()
	for i := range s.Containers {
		s.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range s.InitContainers {
		s.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	s.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	s.SchedulingGates = old.Spec.SchedulingGates
	s.Tolerations = old.Spec.Tolerations
	if grace := old.Spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 &&
		s.TerminationGracePeriodSeconds != nil && *s.TerminationGracePeriodSeconds == 1 {
		s.TerminationGracePeriodSeconds = grace
	}
	if len(old.Spec.SchedulingGates) > 0 {
		c.gatedPlacement(s, &old.Spec, path)
	}
	return s
}

// gatedPlacement lets a pod that waits at a gate narrow where it may go.
func (c *podCheck) gatedPlacement(s, old *v1.PodSpec, path *field.Path) {
	if !maps.Equal(s.NodeSelector, old.NodeSelector) {
		for key, was := range old.NodeSelector {
			if value, ok := s.NodeSelector[key]; !ok || value != was {
				c.Invalid(path.Child("nodeSelector"), s.NodeSelector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")
				break
			}
		}
		s.NodeSelector = old.NodeSelector
	}
	var is, was *v1.NodeAffinity
	if s.Affinity != nil {
		is = s.Affinity.NodeAffinity
	}
	if old.Affinity != nil {
		was = old.Affinity.NodeAffinity
	}
	if equality.Semantic.DeepEqual(is, was) {
		return
	}
	c.nodeAffinityNarrows(is, was, path.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"))
	switch a := s.Affinity; {
	case a == nil:
		s.Affinity = &v1.Affinity{NodeAffinity: was}
	case old.Affinity == nil && a.PodAffinity == nil && a.PodAntiAffinity == nil:
		s.Affinity = nil
	default:
		a.NodeAffinity = was
	}
}

func (c *podCheck) nodeAffinityNarrows(is, was *v1.NodeAffinity, path *field.Path) {
	if was == nil || was.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return
	}
	old := was.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	var terms []v1.NodeSelectorTerm
	if is != nil && is.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		terms = is.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	if len(old) > 0 && len(old) != len(terms) {
		c.Invalid(path, rules.Internal(terms), "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
		return
	}
	for i := range old {
		if !termNarrows(&terms[i], &old[i]) {
			c.Invalid(path.Index(i), rules.Internal(terms[i]), "only additions are allowed (no mutations or deletions)")
		}
	}
}

// termNarrows says whether term has what old has first, and perhaps more. Nothing
// may be added to an empty term, which matches no node.
func termNarrows(term, old *v1.NodeSelectorTerm) bool {
	if len(old.MatchExpressions) == 0 && len(old.MatchFields) == 0 {
		return len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0
	}
	begins := func(list, old []v1.NodeSelectorRequirement) bool {
		return len(list) >= len(old) && (len(old) == 0 || equality.Semantic.DeepEqual(list[:len(old)], old))
	}
	return begins(term.MatchExpressions, old.MatchExpressions) && begins(term.MatchFields, old.MatchFields)
}

// validatePodEphemeral judges a write of spec.ephemeralContainers, to which may only
// be added.
func validatePodEphemeral(p, old *v1.Pod) field.ErrorList {
	c := updateCheck(p, old)
	c.metadataAndSpec(p)
	c.annotationUpdates(p, old)
	if isMirror(&old.ObjectMeta) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	path := field.NewPath("spec", "ephemeralContainers")
	for _, was := range old.Spec.EphemeralContainers {
		i := slices.IndexFunc(p.Spec.EphemeralContainers, func(ec v1.EphemeralContainer) bool { return ec.Name == was.Name })
		if i < 0 {
			c.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name))
		} else if ec := p.Spec.EphemeralContainers[i]; !equality.Semantic.DeepEqual(was, ec) {
			c.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(was, ec)))
		}
	}
	return c.Errors()
}
