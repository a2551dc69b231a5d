package admit

import (
	"context"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/apiserver/admission"
)

// DefaultTolerations lets pods stay on a node that is not ready or not reachable
// for five minutes, unless they say otherwise.
type DefaultTolerations struct{}

// Name implements admission.Plugin.
func (DefaultTolerations) Name() string { return "DefaultTolerationSeconds" }

const tolerateSeconds = 300

// Admit implements admission.Mutator.
func (DefaultTolerations) Admit(_ context.Context, r *admission.Request) error {
	p, ok := r.Object.(*v1.Pod)
	if !ok || !is(r, "", "pods", admission.Create, admission.Update) {
		return nil
	}
	for _, key := range []string{v1.TaintNodeNotReady, v1.TaintNodeUnreachable} {
		if tolerates(p.Spec.Tolerations, key) {
			continue
		}
		seconds := int64(tolerateSeconds)
		p.Spec.Tolerations = append(p.Spec.Tolerations, v1.Toleration{
			Key: key, Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute, TolerationSeconds: &seconds})
	}
	return nil
}

func tolerates(list []v1.Toleration, key string) bool {
	for _, t := range list {
		if (t.Key == key || t.Key == "") && (t.Effect == v1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}

// TaintNodes marks a new node as not ready, so that nothing is scheduled there
// before its first report.
type TaintNodes struct{}

// Name implements admission.Plugin.
func (TaintNodes) Name() string { return "TaintNodesByCondition" }

// Admit implements admission.Mutator.
func (TaintNodes) Admit(_ context.Context, r *admission.Request) error {
	n, ok := r.Object.(*v1.Node)
	if !ok || !is(r, "", "nodes", admission.Create) {
		return nil
	}
	taint := v1.Taint{Key: v1.TaintNodeNotReady, Effect: v1.TaintEffectNoSchedule}
	for i := range n.Spec.Taints {
		if n.Spec.Taints[i].MatchTaint(&taint) {
			return nil
		}
	}
	n.Spec.Taints = append(n.Spec.Taints, taint)
	return nil
}
