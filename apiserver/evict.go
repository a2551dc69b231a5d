package apiserver

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/kinds"
)

// evict deletes a pod if its disruption budgets allow it (core/pod/storage,
// EvictionREST).
func (s *Server) evict(ctx context.Context, r *objects.Request, ev *policyv1.Eviction, posted *objects.Posted, o *metav1.CreateOptions) (runtime.Object, error) {
	if ev.Name != r.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if err := evictionOptions(ev, o); err != nil {
		return nil, err
	}
	if err := posted.Validate(ctx, ev); err != nil {
		return nil, err
	}
	e, err := s.engine.Get(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := invalidOptions("DeleteOptions", metav1validation.ValidateDeleteOptions(ev.DeleteOptions)); err != nil {
		return nil, err
	}
	pod, ok := e.Object.(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewMethodNotSupported(r.Kind.GroupResource(), "create")
	}
	opts := ev.DeleteOptions.DeepCopy()
	if !ignoresBudgets(pod) {
		if err := s.disrupt(ctx, pod, len(opts.DryRun) > 0); err != nil {
			return nil, err
		}
	}
	one := *r
	one.Sub, one.Admitted = "", true // admission saw an eviction
	if len(opts.DryRun) == 0 {
		if err := s.mark(ctx, &one, opts); err != nil {
			return nil, err
		}
		if opts.Preconditions != nil { // the mark made a new revision
			opts.Preconditions.ResourceVersion = nil
		}
	}
	if _, err := s.engine.Delete(ctx, &one, opts); err != nil {
		return nil, err
	}
	return success(), nil
}

// mark notes on the pod why it goes, for those who look at it until it is gone. What
// the deletion asks of the pod is asked here, of the pod before the mark.
func (s *Server) mark(ctx context.Context, r *objects.Request, opts *metav1.DeleteOptions) error {
	return s.engine.Modify(ctx, r, objects.Modification{Change: func(obj kinds.Object) error {
		if err := asked(obj, opts.Preconditions); err != nil {
			return err
		}
		setCondition(obj.(*corev1.Pod), corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		})
		return nil
	}})
}

// asked compares a pod with what an eviction says of it.
func asked(pod kinds.Object, p *metav1.Preconditions) error {
	if p == nil {
		return nil
	}
	conflict := func(format string, a ...any) error {
		return apierrors.NewConflict(schema.GroupResource{Resource: "Pod"}, pod.GetName(), fmt.Errorf(format, a...))
	}
	if uid := p.UID; uid != nil && *uid != "" && *uid != pod.GetUID() {
		return conflict("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *uid, pod.GetUID())
	}
	if rv := p.ResourceVersion; rv != nil && *rv != "" && *rv != pod.GetResourceVersion() {
		return conflict("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *rv, pod.GetResourceVersion())
	}
	return nil
}

// evictionOptions completes how the pod is to be deleted.
func evictionOptions(ev *policyv1.Eviction, o *metav1.CreateOptions) error {
	if ev.DeleteOptions == nil {
		ev.DeleteOptions = &metav1.DeleteOptions{}
	}
	opts := ev.DeleteOptions
	switch {
	case len(o.DryRun) > 0 && len(opts.DryRun) > 0 && !slices.Equal(o.DryRun, opts.DryRun):
		//lint:ignore ST1005 these are Kubernetes' words
		return fmt.Errorf("Non-matching dry-run options in request and content: %v and %v", o.DryRun, opts.DryRun)
	case len(opts.DryRun) == 0:
		opts.DryRun = o.DryRun
	}
	return nil
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
