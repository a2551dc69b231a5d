package row

import (
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

// Scaled is what a scale view reads and writes of its parent.
type Scaled struct {
	Want     **int32 // spec.replicas
	Have     int32   // status.replicas
	Selector *metav1.LabelSelector
}

// Scale is the subresource that shows a parent as autoscaling/v1 Scale. of points
// into obj, so that a write through Want changes obj.
func Scale[T kinds.Object](of func(obj T) Scaled) kinds.Subresource {
	return kinds.Subresource{
		Verbs: []string{"get", "patch", "update"},
		Kind:  autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		Get: func(obj kinds.Object) (runtime.Object, error) {
			s := of(obj.(T))
			selector, err := metav1.LabelSelectorAsSelector(s.Selector)
			if err != nil {
				return nil, fmt.Errorf("selector of %s: %w", obj.GetName(), err)
			}
			view := &autoscalingv1.Scale{
				TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v1", Kind: "Scale"},
				ObjectMeta: metav1.ObjectMeta{
					Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
					ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
				},
				Status: autoscalingv1.ScaleStatus{Replicas: s.Have, Selector: selector.String()},
			}
			if *s.Want != nil {
				view.Spec.Replicas = **s.Want
			}
			return view, nil
		},
		Set: func(obj kinds.Object, in runtime.Object) (kinds.Object, error) {
			view, ok := in.(*autoscalingv1.Scale)
			if !ok {
				return nil, apierrors.NewBadRequest(fmt.Sprintf("wrong object passed to Scale update: %v", in))
			}
			if errs := validateScale(view); len(errs) > 0 {
				return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), view.Name, errs)
			}
			out := obj.DeepCopyObject().(T)
			replicas := view.Spec.Replicas
			*of(out).Want = &replicas
			if view.ResourceVersion != "" {
				out.SetResourceVersion(view.ResourceVersion)
			}
			return out, nil
		},
	}
}

func validateScale(view *autoscalingv1.Scale) field.ErrorList {
	errs := apivalidation.ValidateObjectMeta(&view.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	if view.Spec.Replicas < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), view.Spec.Replicas, "must be greater than or equal to 0"))
	}
	return errs
}
