package admit

import (
	"context"
	"errors"
	"fmt"
	"maps"

	v1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"skiff.dev/skiff/apiserver/admission"
)

// RuntimeClass refuses pods of a class that is not there, and gives a pod the
// overhead and the scheduling constraints of its class
// (plugin/pkg/admission/runtimeclass in Kubernetes).
type RuntimeClass struct{ reader }

// Name implements admission.Plugin.
func (*RuntimeClass) Name() string { return "RuntimeClass" }

// Admit implements admission.Mutator.
func (c *RuntimeClass) Admit(_ context.Context, r *admission.Request) error {
	p, class, err := c.of(r)
	if err != nil || class == nil {
		return err
	}
	if o := class.Overhead; o != nil {
		if p.Spec.Overhead != nil && !equality.Semantic.DeepEqual(o.PodFixed, p.Spec.Overhead) {
			return forbid(r, errOverhead)
		}
		p.Spec.Overhead = o.PodFixed.DeepCopy()
	}
	if class.Scheduling == nil {
		return nil
	}
	for key, want := range class.Scheduling.NodeSelector {
		if have, ok := p.Spec.NodeSelector[key]; ok && have != want {
			return forbid(r, fmt.Errorf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, want, key, have))
		}
	}
	if more := class.Scheduling.NodeSelector; len(more) > 0 {
		if p.Spec.NodeSelector == nil {
			p.Spec.NodeSelector = map[string]string{}
		}
		maps.Copy(p.Spec.NodeSelector, more)
	}
	p.Spec.Tolerations = mergeTolerations(p.Spec.Tolerations, class.Scheduling.Tolerations)
	return nil
}

// Validate implements admission.Validator.
func (c *RuntimeClass) Validate(_ context.Context, r *admission.Request) error {
	p, class, err := c.of(r)
	switch {
	case p == nil || err != nil:
		return err
	case class != nil && class.Overhead != nil:
		if !equality.Semantic.DeepEqual(class.Overhead.PodFixed, p.Spec.Overhead) {
			return forbid(r, errOverhead)
		}
	case p.Spec.Overhead != nil:
		return forbid(r, errors.New("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
	}
	return nil
}

var errOverhead = errors.New("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")

// of is the pod that a request creates and its class, which is nil if it names none.
func (c *RuntimeClass) of(r *admission.Request) (*v1.Pod, *nodev1.RuntimeClass, error) {
	p, ok := r.Object.(*v1.Pod)
	if !ok || !is(r, "", "pods", admission.Create) {
		return nil, nil, nil
	}
	name := p.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return p, nil, nil
	}
	class, ok := find[*nodev1.RuntimeClass](c, runtimeClasses, "", *name)
	if !ok {
		return p, nil, forbid(r, fmt.Errorf("pod rejected: RuntimeClass %q not found", *name))
	}
	return p, class, nil
}

// mergeTolerations adds to a list what it does not hold yet.
func mergeTolerations(list, more []v1.Toleration) []v1.Toleration {
	for _, t := range more {
		there := false
		for i := range list {
			there = there || equality.Semantic.DeepEqual(list[i], t)
		}
		if !there {
			list = append(list, t)
		}
	}
	return list
}
