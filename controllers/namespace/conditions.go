package namespace

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// setConditions says in a namespace's status what keeps it. Texts are those of
// Kubernetes' pkg/controller/namespace/deletion/status_condition_utils.go.
func setConditions(s *corev1.NamespaceStatus, left *remains, now metav1.Time) {
	set := func(typ corev1.NamespaceConditionType, bad bool, reason, message, okReason, ok string) {
		c := corev1.NamespaceCondition{Type: typ, Status: corev1.ConditionFalse, LastTransitionTime: now, Reason: okReason, Message: ok}
		if bad {
			c.Status, c.Reason, c.Message = corev1.ConditionTrue, reason, message
		}
		i := slices.IndexFunc(s.Conditions, func(h corev1.NamespaceCondition) bool { return h.Type == typ })
		if i < 0 {
			s.Conditions = append(s.Conditions, c)
			return
		}
		if s.Conditions[i].Status == c.Status {
			c.LastTransitionTime = s.Conditions[i].LastTransitionTime
		}
		s.Conditions[i] = c
	}
	discovery := ""
	if left.discovery != nil {
		discovery = "Discovery failed for some groups: " + left.discovery.Error()
	}
	set(corev1.NamespaceDeletionDiscoveryFailure, left.discovery != nil, "DiscoveryFailed", discovery,
		"ResourcesDiscovered", "All resources successfully discovered")
	set(corev1.NamespaceDeletionGVParsingFailure, false, "", "",
		"ParsedGroupVersions", "All legacy kube types successfully parsed")
	failure := ""
	if err := left.failure(); err != nil {
		failure = fmt.Sprintf("Failed to delete all resource types, %d remaining: %v", len(left.failures), err)
	}
	set(corev1.NamespaceDeletionContentFailure, failure != "", "ContentDeletionFailed", failure,
		"ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	set(corev1.NamespaceContentRemaining, len(left.resources) > 0, "SomeResourcesRemain",
		"Some resources are remaining: "+strings.Join(instances(left.resources, "%s has %d resource instances"), ", "),
		"ContentRemoved", "All content successfully removed")
	set(corev1.NamespaceFinalizersRemaining, len(left.finalizers) > 0, "SomeFinalizersRemain",
		"Some content in the namespace has finalizers remaining: "+strings.Join(instances(left.finalizers, "%s in %d resource instances"), ", "),
		"ContentHasNoFinalizers", "All content-preserving finalizers finished")
}

func changed(a, b *corev1.NamespaceStatus) bool { return !apiequality.Semantic.DeepEqual(a, b) }
