package clienttest

import (
	"context"
	"encoding/json"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"

	"skiff.dev/skiff/kinds"
)

// Patch applies a patch of any type. Server-side apply is a merge without managed
// fields that creates what is not there.
func (b *Backend) Patch(ctx context.Context, k *kinds.Kind, namespace, name, sub string, pt types.PatchType, data []byte, o *metav1.PatchOptions) (kinds.Object, error) {
	if err := b.fail("patch", sub, k, namespace, name); err != nil {
		return nil, err
	}
	b.mu.Lock()
	old, err := b.get(k, namespace, name)
	b.mu.Unlock()
	if err != nil {
		if pt != types.ApplyPatchType || sub != "" {
			return nil, err
		}
		obj := k.New()
		if err := json.Unmarshal(data, obj); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		bare(obj)
		return b.Create(ctx, k, obj, &metav1.CreateOptions{DryRun: o.DryRun})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if sub == "scale" {
		return b.patchScale(k, old, data)
	}
	doc, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	switch pt {
	case types.StrategicMergePatchType:
		doc, err = strategicpatch.StrategicMergePatch(doc, data, k.New())
	case types.JSONPatchType:
		var p jsonpatch.Patch
		if p, err = jsonpatch.DecodePatch(data); err == nil {
			doc, err = p.Apply(doc)
		}
	default:
		doc, err = jsonpatch.MergePatch(doc, data)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	obj := k.New()
	if err := json.Unmarshal(doc, obj); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	bare(obj)
	return b.update(k, sub, obj, o != nil && len(o.DryRun) > 0)
}

func bare(obj kinds.Object) kinds.Object {
	obj.GetObjectKind().SetGroupVersionKind(gvk("", "", ""))
	return obj
}

func (b *Backend) patchScale(k *kinds.Kind, old kinds.Object, data []byte) (kinds.Object, error) {
	var in autoscalingv1.Scale
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	next := old.DeepCopyObject().(kinds.Object)
	replicas := replicasOf(next)
	if replicas == nil {
		return nil, apierrors.NewNotFound(k.GroupResource(), old.GetName()+"/scale")
	}
	**replicas = in.Spec.Replicas
	out, err := b.update(k, "", next, false)
	if err != nil {
		return nil, err
	}
	return scaleOf(out), nil
}

func replicasOf(obj kinds.Object) **int32 {
	var at **int32
	switch o := obj.(type) {
	case *appsv1.Deployment:
		at = &o.Spec.Replicas
	case *appsv1.ReplicaSet:
		at = &o.Spec.Replicas
	default:
		return nil
	}
	if *at == nil {
		*at = new(int32)
	}
	return at
}

func scaleOf(obj kinds.Object) *autoscalingv1.Scale {
	out := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{
		Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(),
	}}
	if r := replicasOf(obj.DeepCopyObject().(kinds.Object)); r != nil {
		out.Spec.Replicas = **r
	}
	return out
}

// GetSub reads status and scale.
func (b *Backend) GetSub(ctx context.Context, k *kinds.Kind, namespace, name, sub string) (runtime.Object, error) {
	obj, err := b.Get(ctx, k, namespace, name)
	if err != nil {
		return nil, err
	}
	switch sub {
	case "status":
		return obj, nil
	case "scale":
		return scaleOf(obj), nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name+"/"+sub)
}

// PostSub binds and evicts pods.
func (b *Backend) PostSub(_ context.Context, k *kinds.Kind, namespace, name, sub string, in runtime.Object) (runtime.Object, error) {
	if err := b.fail("post", sub, k, namespace, name); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, err := b.get(k, namespace, name)
	if err != nil {
		return nil, err
	}
	switch v := in.(type) {
	case *corev1.Binding:
		pod := old.DeepCopyObject().(*corev1.Pod)
		if pod.Spec.NodeName != "" {
			return nil, apierrors.NewConflict(k.GroupResource(), name, fmt.Errorf("pod %s is already assigned to node %q", name, pod.Spec.NodeName))
		}
		pod.Spec.NodeName = v.Target.Name
		setCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
		b.put(k, old, pod, false)
	case *policyv1.Eviction:
		if err := b.delete(k, namespace, name, v.DeleteOptions); err != nil {
			return nil, err
		}
	default:
		return nil, apierrors.NewNotFound(k.GroupResource(), name+"/"+sub)
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

func setCondition(pod *corev1.Pod, c corev1.PodCondition) {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == c.Type {
			pod.Status.Conditions[i] = c
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}
