package replicaset

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff.dev/skiff/controllers/loop"
)

// burst is how many pods one pass creates or deletes at most.
const burst = 500

// newPod is a pod of the ReplicaSet's template; the server completes its name.
func newPod(rs *appsv1.ReplicaSet) *corev1.Pod {
	t := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: rs.Namespace, GenerateName: loop.GenerateName(rs.Name),
			Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, kind)},
		},
		Spec: t.Spec,
	}
}

// victims chooses n of pods to delete. related are the pods of all ReplicaSets of
// the same owner, by which pods that share a node are found. The order is that of
// ActivePodsWithRanks in Kubernetes' controller_utils.go.
func victims(pods, related []*corev1.Pod, n int, now time.Time) []*corev1.Pod {
	if n >= len(pods) {
		return pods
	}
	onNode := map[string]int{}
	for _, p := range related {
		if loop.Active(p) {
			onNode[p.Spec.NodeName]++
		}
	}
	pods = slices.Clone(pods)
	sort.SliceStable(pods, func(i, j int) bool { return before(pods[i], pods[j], onNode, now) })
	return pods[:n]
}

var phaseOrder = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

// before tells whether a is deleted rather than b.
func before(a, b *corev1.Pod, onNode map[string]int, now time.Time) bool {
	if (a.Spec.NodeName == "") != (b.Spec.NodeName == "") {
		return a.Spec.NodeName == ""
	}
	if phaseOrder[a.Status.Phase] != phaseOrder[b.Status.Phase] {
		return phaseOrder[a.Status.Phase] < phaseOrder[b.Status.Phase]
	}
	ra, rb := loop.Ready(a), loop.Ready(b)
	if ra != rb {
		return !ra
	}
	if ca, cb := deletionCost(a), deletionCost(b); ca != cb {
		return ca < cb
	}
	if na, nb := onNode[a.Spec.NodeName], onNode[b.Spec.NodeName]; na != nb {
		return na > nb
	}
	if ra && rb {
		if less, decided := younger(loop.ReadySince(a), loop.ReadySince(b), a, b, now); decided {
			return less
		}
	}
	if xa, xb := restarts(a, false), restarts(b, false); xa != xb {
		return xa > xb
	}
	if xa, xb := restarts(a, true), restarts(b, true); xa != xb {
		return xa > xb
	}
	less, decided := younger(a.CreationTimestamp, b.CreationTimestamp, a, b, now)
	return decided && less
}

// younger compares ages by their magnitude (powers of two), so that which of pods
// of like age goes is left to chance: to their uids.
func younger(ta, tb metav1.Time, a, b *corev1.Pod, now time.Time) (less, decided bool) {
	if ta.Equal(&tb) {
		return false, false
	}
	if ta.IsZero() || tb.IsZero() {
		return !tb.IsZero(), true
	}
	if d := magnitude(now.Sub(ta.Time)) - magnitude(now.Sub(tb.Time)); d != 0 {
		return d < 0, true
	}
	return a.UID < b.UID, true
}

func magnitude(age time.Duration) int64 {
	if age <= 0 {
		return -1
	}
	return int64(math.Log2(float64(age)))
}

func deletionCost(p *corev1.Pod) int64 {
	cost, err := strconv.ParseInt(p.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return cost
}

// restarts is the highest restart count of the pod's containers, or of its
// sidecars.
func restarts(p *corev1.Pod, sidecars bool) int32 {
	var most int32
	if !sidecars {
		for _, c := range p.Status.ContainerStatuses {
			most = max(most, c.RestartCount)
		}
		return most
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		for _, s := range p.Status.InitContainerStatuses {
			if s.Name == c.Name {
				most = max(most, s.RestartCount)
			}
		}
	}
	return most
}

// status is what the ReplicaSet's status should be. failed is what kept the last
// pass from creating or deleting pods.
func status(rs *appsv1.ReplicaSet, active []*corev1.Pod, terminating int, failed error, now time.Time) appsv1.ReplicaSetStatus {
	out := *rs.Status.DeepCopy()
	out.ObservedGeneration = rs.Generation
	out.Replicas = int32(len(active))
	out.FullyLabeledReplicas, out.ReadyReplicas, out.AvailableReplicas = 0, 0, 0
	gone := int32(terminating)
	out.TerminatingReplicas = &gone
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	for _, p := range active {
		if template.Matches(labels.Set(p.Labels)) {
			out.FullyLabeledReplicas++
		}
		if loop.Ready(p) {
			out.ReadyReplicas++
			if loop.Available(p, rs.Spec.MinReadySeconds, now) {
				out.AvailableReplicas++
			}
		}
	}
	has := slices.ContainsFunc(out.Conditions, isFailure)
	switch {
	case failed != nil && !has:
		reason := "FailedCreate"
		if len(active) > int(*rs.Spec.Replicas) {
			reason = "FailedDelete"
		}
		out.Conditions = append(out.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: failed.Error(),
		})
	case failed == nil && has:
		out.Conditions = slices.DeleteFunc(out.Conditions, isFailure)
		if len(out.Conditions) == 0 {
			out.Conditions = nil
		}
	}
	return out
}

func isFailure(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }

func sameStatus(a, b appsv1.ReplicaSetStatus) bool { return reflect.DeepEqual(a, b) }

// nextAvailable is when a ready pod becomes available; 0: nothing to wait for.
func nextAvailable(rs *appsv1.ReplicaSet, active []*corev1.Pod, now time.Time) time.Duration {
	if rs.Spec.MinReadySeconds <= 0 || rs.Status.ReadyReplicas == rs.Status.AvailableReplicas {
		return 0
	}
	least := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	for _, p := range active {
		if !loop.Ready(p) || loop.Available(p, rs.Spec.MinReadySeconds, now) {
			continue
		}
		wait := loop.ReadySince(p).Add(time.Duration(rs.Spec.MinReadySeconds) * time.Second).Sub(now)
		least = min(least, max(wait, time.Millisecond))
	}
	return least
}

// slowStart calls fn n times in parallel batches of 1, 2, 4, ...: when pods cannot
// be created for a reason they share, few attempts find out. It returns how many
// calls succeeded and the first error; after an error no further batch begins.
func slowStart(n int, fn func() error) (done int, err error) {
	for size := min(n, 1); size > 0; size = min(2*size, n-done) {
		results := make(chan error, size)
		for range size {
			go func() { results <- fn() }()
		}
		ok := 0
		for range size {
			if e := <-results; e == nil {
				ok++
			} else if err == nil {
				err = e
			}
		}
		done += ok
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// selector is the ReplicaSet's, as a matcher.
func selector(rs *appsv1.ReplicaSet) (labels.Selector, error) {
	sel, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector of %s/%s: %w", rs.Namespace, rs.Name, err)
	}
	return sel, nil
}
