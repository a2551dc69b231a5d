package custom

import (
	"errors"
	"fmt"
	"math"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

// unsetReplicas stands in a scale for replicas that the object does not have, while
// a write is under way.
const unsetReplicas = math.MinInt32

// scaleRow is the scale subresource of one version (pkg/registry/customresource,
// etcd.go).
func scaleRow(j *judge) kinds.Subresource {
	path := j.scale.SpecReplicasPath
	return kinds.Subresource{
		Verbs: []string{"get", "patch", "update"}, Kind: scaleKind,
		PrepareUpdate: j.prepareUpdate, ValidateUpdate: func(o, old kinds.Object) field.ErrorList { return j.update(o, old, nil) },
		Get: func(o kinds.Object) (runtime.Object, error) {
			s, found, err := j.scaleOf(o)
			if err == nil && !found {
				err = fmt.Errorf("the spec replicas field %q does not exist", path)
			}
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Base: func(o kinds.Object) (runtime.Object, error) {
			s, found, err := j.scaleOf(o)
			if err != nil {
				return nil, err
			}
			if !found {
				s.Spec.Replicas = unsetReplicas
			}
			return s, nil
		},
		Set: func(o kinds.Object, view runtime.Object) (kinds.Object, error) {
			s, ok := view.(*autoscalingv1.Scale)
			if !ok {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("wrong object passed to Scale update: %v", view))
			}
			if s.Spec.Replicas == unsetReplicas {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("the spec replicas field %q cannot be empty", path))
			}
			out := o.DeepCopyObject().(kinds.Object)
			if err := unstructured.SetNestedField(fieldsOf(out), int64(s.Spec.Replicas), splitPath(path)...); err != nil {
				return nil, err
			}
			return out, nil
		},
	}
}

// scaleOf shows an object as a scale; found tells whether it says its replicas.
func (j *judge) scaleOf(obj kinds.Object) (s *autoscalingv1.Scale, found bool, err error) {
	o, ok := obj.(*dynamic.Object)
	if !ok {
		return nil, false, errors.New("custom: the object is of another type")
	}
	spec, found, err := unstructured.NestedInt64(o.Fields, splitPath(j.scale.SpecReplicasPath)...)
	if err != nil {
		return nil, false, err
	}
	status, _, err := unstructured.NestedInt64(o.Fields, splitPath(j.scale.StatusReplicasPath)...)
	if err != nil {
		return nil, false, err
	}
	sel := ""
	if p := j.scale.LabelSelectorPath; p != nil && *p != "" {
		if sel, _, err = unstructured.NestedString(o.Fields, splitPath(*p)...); err != nil {
			return nil, false, err
		}
	}
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: o.Name, Namespace: o.Namespace, UID: o.UID, ResourceVersion: o.ResourceVersion, CreationTimestamp: o.CreationTimestamp},
		Spec:       autoscalingv1.ScaleSpec{Replicas: int32(spec)},
		Status:     autoscalingv1.ScaleStatus{Replicas: int32(status), Selector: sel},
	}, found, nil
}
