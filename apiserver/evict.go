package apiserver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/kinds"
)

// evict deletes a pod if its disruption budgets allow it (core/pod/storage,
// EvictionREST).
func (s *Server) evict(ctx context.Context, r *objects.Request, ev *policyv1.Eviction, posted *objects.Posted, o *metav1.CreateOptions) (runtime.Object, error) {
	if ev.Name != "" && ev.Name != r.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if err := posted.Validate(ctx, ev); err != nil {
		return nil, err
	}
	e, err := s.engine.Get(ctx, r)
	if err != nil {
		return nil, err
	}
	pod, ok := e.Object.(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "create")
	}
	opts := &metav1.DeleteOptions{}
	if ev.DeleteOptions != nil {
		opts = ev.DeleteOptions.DeepCopy()
	}
	if len(o.DryRun) > 0 {
		opts.DryRun = o.DryRun
	}
	if !ignoresBudgets(pod) {
		if err := s.disrupt(ctx, pod, len(opts.DryRun) > 0); err != nil {
			return nil, err
		}
	}
	one := *r
	one.Sub, one.Admitted = "", true // admission saw an eviction
	if _, err := s.engine.Delete(ctx, &one, opts); err != nil {
		return nil, err
	}
	return success(), nil
}

// ignoresBudgets: pods that do not run, or are on their way out, disturb nobody.
func ignoresBudgets(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return true
	}
	return pod.DeletionTimestamp != nil
}

var budgetResource = schema.GroupResource{Group: "policy", Resource: "poddisruptionbudgets"}

// disrupt takes one disruption from the budget that covers pod, or refuses.
func (s *Server) disrupt(ctx context.Context, pod *corev1.Pod, dry bool) error {
	var budgets []*policyv1.PodDisruptionBudget
	cacheReader{s}.Each(budgetResource, pod.Namespace, func(obj kinds.Object) bool {
		pdb, ok := obj.(*policyv1.PodDisruptionBudget)
		if !ok {
			return true
		}
		sel, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err == nil && sel.Matches(labels.Set(pod.Labels)) {
			budgets = append(budgets, pdb)
		}
		return true
	})
	switch len(budgets) {
	case 0:
		return nil
	case 1:
	default:
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 500,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
		}}
	}
	k, _ := s.table.ByResource(budgetResource)
	r := &objects.Request{Kind: k, Namespace: pod.Namespace, Name: budgets[0].Name, User: systemUser}
	return s.engine.Modify(ctx, r, objects.Modification{
		Options: &metav1.CreateOptions{DryRun: dryRunOf(dry)},
		Change:  func(obj kinds.Object) error { return s.spend(obj.(*policyv1.PodDisruptionBudget), pod.Name) },
	})
}

func dryRunOf(dry bool) []string {
	if dry {
		return []string{metav1.DryRunAll}
	}
	return nil
}

// spend notes one disruption in the budget's status.
func (s *Server) spend(pdb *policyv1.PodDisruptionBudget, pod string) error {
	tooMany := func(cause, message string) error {
		err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: metav1.CauseType(cause), Message: message})
		return err
	}
	if pdb.Status.ObservedGeneration < pdb.Generation {
		return tooMany(string(policyv1.DisruptionBudgetCause), "The disruption budget "+pdb.Name+" is still being processed by the server.")
	}
	if pdb.Status.DisruptionsAllowed <= 0 {
		return tooMany(string(policyv1.DisruptionBudgetCause), budgetText(pdb))
	}
	pdb.Status.DisruptionsAllowed--
	if pdb.Status.DisruptedPods == nil {
		pdb.Status.DisruptedPods = map[string]metav1.Time{}
	}
	pdb.Status.DisruptedPods[pod] = metav1.NewTime(s.opt.Now()).Rfc3339Copy()
	return nil
}

func budgetText(pdb *policyv1.PodDisruptionBudget) string {
	return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", pdb.Name, pdb.Status.DesiredHealthy, pdb.Status.CurrentHealthy)
}
