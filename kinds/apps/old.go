package apps

import (
	"fmt"
	"math"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	appsv1beta1 "k8s.io/api/apps/v1beta1"
	appsv1beta2 "k8s.io/api/apps/v1beta2"
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// Old forms of the group's kinds. What they leave out is filled in by the defaults
// that they had (pkg/apis/{extensions,apps}/v1beta*/defaults.go in Kubernetes), where
// those differ from apps/v1's, which run after the conversion.

var (
	v1beta1    = appsv1beta1.SchemeGroupVersion
	v1beta2    = appsv1beta2.SchemeGroupVersion
	extensions = extensionsv1beta1.SchemeGroupVersion
)

func oldDeployments() []kinds.Version {
	c := convert.New(
		convert.After(rollbackFromField[appsv1beta1.Deployment](func(d *appsv1beta1.Deployment) *int64 {
			if d.Spec.RollbackTo == nil {
				return nil
			}
			return &d.Spec.RollbackTo.Revision
		})),
		convert.After(rollbackFromField[extensionsv1beta1.Deployment](func(d *extensionsv1beta1.Deployment) *int64 {
			if d.Spec.RollbackTo == nil {
				return nil
			}
			return &d.Spec.RollbackTo.Revision
		})),
		convert.After(func(in *appsv1.Deployment, out *appsv1beta1.Deployment) error {
			n, annotations, err := rollbackOf(in.Annotations)
			if n != nil {
				out.Spec.RollbackTo = &appsv1beta1.RollbackConfig{Revision: *n}
			}
			out.Annotations = annotations
			return err
		}),
		convert.After(func(in *appsv1.Deployment, out *extensionsv1beta1.Deployment) error {
			n, annotations, err := rollbackOf(in.Annotations)
			if n != nil {
				out.Spec.RollbackTo = &extensionsv1beta1.RollbackConfig{Revision: *n}
			}
			out.Annotations = annotations
			return err
		}),
	)
	return []kinds.Version{
		convert.Old[appsv1.Deployment, appsv1beta2.Deployment, appsv1beta2.DeploymentList](c, v1beta2, "Deployment", nil),
		convert.Old[appsv1.Deployment, appsv1beta1.Deployment, appsv1beta1.DeploymentList](c, v1beta1, "Deployment", func(d *appsv1beta1.Deployment) {
			defaultLabels(&d.ObjectMeta, &d.Spec.Selector, d.Spec.Template.Labels)
			if d.Spec.RevisionHistoryLimit == nil {
				d.Spec.RevisionHistoryLimit = ptr.To[int32](2)
			}
		}),
		convert.Old[appsv1.Deployment, extensionsv1beta1.Deployment, extensionsv1beta1.DeploymentList](c, extensions, "Deployment", defaultExtensionsDeployment),
	}
}

func defaultExtensionsDeployment(d *extensionsv1beta1.Deployment) {
	defaultLabels(&d.ObjectMeta, &d.Spec.Selector, d.Spec.Template.Labels)
	s := &d.Spec.Strategy
	if s.Type == "" {
		s.Type = extensionsv1beta1.RollingUpdateDeploymentStrategyType
	}
	if s.Type == extensionsv1beta1.RollingUpdateDeploymentStrategyType && s.RollingUpdate == nil {
		s.RollingUpdate = &extensionsv1beta1.RollingUpdateDeployment{}
	}
	if r := s.RollingUpdate; r != nil {
		if r.MaxUnavailable == nil {
			r.MaxUnavailable = ptr.To(intstr.FromInt32(1))
		}
		if r.MaxSurge == nil {
			r.MaxSurge = ptr.To(intstr.FromInt32(1))
		}
	}
	if d.Spec.ProgressDeadlineSeconds == nil {
		d.Spec.ProgressDeadlineSeconds = ptr.To[int32](math.MaxInt32)
	}
	if d.Spec.RevisionHistoryLimit == nil {
		d.Spec.RevisionHistoryLimit = ptr.To[int32](math.MaxInt32)
	}
}

// rollbackFromField keeps a wish to roll back, which apps/v1 has no field for, in
// the annotation that Kubernetes uses.
func rollbackFromField[O any](of func(*O) *int64) func(in *O, out *appsv1.Deployment) error {
	return func(in *O, out *appsv1.Deployment) error {
		if n := of(in); n != nil {
			out.Annotations = with(out.Annotations, appsv1.DeprecatedRollbackTo, strconv.FormatInt(*n, 10))
		}
		return nil
	}
}

func rollbackOf(annotations map[string]string) (*int64, map[string]string, error) {
	text, ok := annotations[appsv1.DeprecatedRollbackTo]
	if !ok {
		return nil, annotations, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, annotations, fmt.Errorf("annotation %s: %w", appsv1.DeprecatedRollbackTo, err)
	}
	return &n, without(annotations, appsv1.DeprecatedRollbackTo), nil
}

// with and without change a copy.
func with(m map[string]string, key, value string) map[string]string {
	out := make(map[string]string, len(m)+1)
	for k, v := range m {
		out[k] = v
	}
	out[key] = value
	return out
}

func without(m map[string]string, key string) map[string]string {
	var out map[string]string
	for k, v := range m {
		if k == key {
			continue
		}
		if out == nil {
			out = make(map[string]string, len(m))
		}
		out[k] = v
	}
	return out
}

// defaultLabels is what versions before apps/v1beta2 inferred from a pod template.
func defaultLabels(meta *metav1.ObjectMeta, selector **metav1.LabelSelector, labels map[string]string) {
	if labels == nil {
		return
	}
	if *selector == nil {
		*selector = &metav1.LabelSelector{MatchLabels: labels}
	}
	if len(meta.Labels) == 0 {
		meta.Labels = labels
	}
}

func oldReplicaSets() []kinds.Version {
	c := convert.New()
	return []kinds.Version{
		convert.Old[appsv1.ReplicaSet, appsv1beta2.ReplicaSet, appsv1beta2.ReplicaSetList](c, v1beta2, "ReplicaSet", nil),
		convert.Old[appsv1.ReplicaSet, extensionsv1beta1.ReplicaSet, extensionsv1beta1.ReplicaSetList](c, extensions, "ReplicaSet", func(r *extensionsv1beta1.ReplicaSet) {
			defaultLabels(&r.ObjectMeta, &r.Spec.Selector, r.Spec.Template.Labels)
		}),
	}
}

func oldDaemonSets() []kinds.Version {
	c := convert.New(
		convert.After(func(in *extensionsv1beta1.DaemonSet, out *appsv1.DaemonSet) error {
			if n := in.Spec.TemplateGeneration; n != 0 {
				setTemplateGeneration(out, n)
			}
			return nil
		}),
		convert.After(func(in *appsv1.DaemonSet, out *extensionsv1beta1.DaemonSet) error {
			text, ok := in.Annotations[appsv1.DeprecatedTemplateGeneration]
			if !ok {
				return nil
			}
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return fmt.Errorf("annotation %s: %w", appsv1.DeprecatedTemplateGeneration, err)
			}
			out.Spec.TemplateGeneration = n
			out.Annotations = without(in.Annotations, appsv1.DeprecatedTemplateGeneration)
			return nil
		}),
	)
	return []kinds.Version{
		convert.Old[appsv1.DaemonSet, appsv1beta2.DaemonSet, appsv1beta2.DaemonSetList](c, v1beta2, "DaemonSet", nil),
		convert.Old[appsv1.DaemonSet, extensionsv1beta1.DaemonSet, extensionsv1beta1.DaemonSetList](c, extensions, "DaemonSet", func(d *extensionsv1beta1.DaemonSet) {
			defaultLabels(&d.ObjectMeta, &d.Spec.Selector, d.Spec.Template.Labels)
			if d.Spec.UpdateStrategy.Type == "" {
				d.Spec.UpdateStrategy.Type = extensionsv1beta1.OnDeleteDaemonSetStrategyType
			}
		}),
	}
}

func oldStatefulSets() []kinds.Version {
	c := convert.New()
	return []kinds.Version{
		convert.Old[appsv1.StatefulSet, appsv1beta2.StatefulSet, appsv1beta2.StatefulSetList](c, v1beta2, "StatefulSet", nil),
		convert.Old[appsv1.StatefulSet, appsv1beta1.StatefulSet, appsv1beta1.StatefulSetList](c, v1beta1, "StatefulSet", func(s *appsv1beta1.StatefulSet) {
			if s.Spec.UpdateStrategy.Type == "" {
				s.Spec.UpdateStrategy.Type = appsv1beta1.OnDeleteStatefulSetStrategyType
			}
			defaultLabels(&s.ObjectMeta, &s.Spec.Selector, s.Spec.Template.Labels)
		}),
	}
}

func oldControllerRevisions() []kinds.Version {
	c := convert.New()
	return []kinds.Version{
		convert.Old[appsv1.ControllerRevision, appsv1beta2.ControllerRevision, appsv1beta2.ControllerRevisionList](c, v1beta2, "ControllerRevision", nil),
		convert.Old[appsv1.ControllerRevision, appsv1beta1.ControllerRevision, appsv1beta1.ControllerRevisionList](c, v1beta1, "ControllerRevision", nil),
	}
}
