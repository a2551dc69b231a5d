package core

import (
	"fmt"
	"maps"
	"strconv"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func replicationController() *kinds.Kind {
	k := newKind[v1.ReplicationController, v1.ReplicationControllerList]("replicationcontrollers", true, "rc")
	k.Categories = []string{"all"}
	k.Name = func(name string, prefix bool) []string {
		if prefix {
			return rules.PathSegment(name, prefix) // the rule of names looks at no generateName
		}
		return rules.LongName(name, prefix)
	}
	k.Default = rules.Do(defaultReplicationController)
	k.DefaultStored = true // the labels, from the template of a stored object
	k.PrepareCreate = rules.Do(func(rc *v1.ReplicationController) {
		rc.Status = v1.ReplicationControllerStatus{}
		DropPodTemplate(rc.Spec.Template, nil)
	})
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.ReplicationController) {
		obj.Status = old.Status
		DropPodTemplate(obj.Spec.Template, old.Spec.Template)
	})
	k.Generation = rules.Differ(func(obj, old *v1.ReplicationController) bool {
		return !equality.Semantic.DeepEqual(obj.Spec, old.Spec)
	})
	k.Validate = rules.Check(validateReplicationController)
	k.ValidateUpdate = rules.Check2(validateReplicationControllerUpdate)
	k.Warnings = rules.Warn(replicationControllerWarnings)
	k.Subresources = map[string]kinds.Subresource{
		"status": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(func(obj, old *v1.ReplicationController) { obj.Spec = old.Spec }),
			ValidateUpdate: rules.Check2(validateReplicationControllerStatus),
			Reset:          []string{"spec"},
		},
		"scale": {
			Verbs: statusVerbs(),
			Kind:  autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
			Get:   func(obj kinds.Object) (runtime.Object, error) { return scaleOf(obj.(*v1.ReplicationController)), nil },
			Set:   scaleTo,
		},
	}
	spec, status := v1.ReplicationControllerSpec{}.SwaggerDoc(), v1.ReplicationControllerStatus{}.SwaggerDoc()
	k.Columns = append([]metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.IntColumn("Desired", spec["replicas"]),
		rules.IntColumn("Current", status["replicas"]),
		rules.IntColumn("Ready", status["readyReplicas"]),
		rules.AgeColumn(),
	}, rules.WorkloadColumns(spec["selector"])...)
	k.Cells = rules.Cells(func(rc *v1.ReplicationController, now time.Time) []any {
		var containers []v1.Container
		if rc.Spec.Template != nil {
			containers = rc.Spec.Template.Spec.Containers
		}
		names, images := rules.ContainerCells(containers)
		return []any{rc.Name, int64(ptr.Deref(rc.Spec.Replicas, 0)), int64(rc.Status.Replicas), int64(rc.Status.ReadyReplicas),
			rules.Age(rc.CreationTimestamp, now), names, images, labels.FormatLabels(rc.Spec.Selector)}
	})
	k.Fields = map[string]func(kinds.Object) string{
		"status.replicas": rules.Field(func(rc *v1.ReplicationController) string { return strconv.Itoa(int(rc.Status.Replicas)) }),
	}
	return k
}

// defaultReplicationController takes selector and labels from the template where
// they are missing.
func defaultReplicationController(rc *v1.ReplicationController) {
	if t := rc.Spec.Template; t != nil {
		if t.Labels != nil {
			if len(rc.Spec.Selector) == 0 {
				rc.Spec.Selector = maps.Clone(t.Labels)
			}
			if len(rc.Labels) == 0 {
				rc.Labels = maps.Clone(t.Labels)
			}
		}
		DefaultPodTemplate(t)
	}
	if rc.Spec.Replicas == nil {
		rc.Spec.Replicas = ptr.To[int32](1)
	}
}

// replicationControllerWarnings tells, on an update, of the template as it was:
// Kubernetes does.
func replicationControllerWarnings(rc, old *v1.ReplicationController) []string {
	path := field.NewPath("spec", "template")
	if old != nil {
		if equality.Semantic.DeepEqual(rc.Spec, old.Spec) {
			return nil
		}
		return PodTemplateWarnings(old.Spec.Template, rc.Spec.Template, path)
	}
	var out []string
	if msgs := validation.IsDNS1123Label(rc.Name); len(msgs) != 0 {
		out = append(out, fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", msgs))
	}
	return append(out, PodTemplateWarnings(rc.Spec.Template, nil, path)...)
}

func scaleOf(rc *v1.ReplicationController) *autoscalingv1.Scale {
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: rc.Name, Namespace: rc.Namespace, UID: rc.UID,
			ResourceVersion: rc.ResourceVersion, CreationTimestamp: rc.CreationTimestamp,
		},
		Spec: autoscalingv1.ScaleSpec{Replicas: ptr.Deref(rc.Spec.Replicas, 0)},
		Status: autoscalingv1.ScaleStatus{
			Replicas: rc.Status.Replicas,
			Selector: labels.SelectorFromSet(rc.Spec.Selector).String(),
		},
	}
}

func scaleTo(obj kinds.Object, view runtime.Object) (kinds.Object, error) {
	scale, ok := view.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("wrong object passed to Scale update: %v", view))
	}
	if errs := rules.NonNegative(int64(scale.Spec.Replicas), field.NewPath("spec", "replicas")); len(errs) > 0 {
		gk := autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind()
		return nil, apierrors.NewInvalid(gk, scale.Name, errs)
	}
	rc := obj.(*v1.ReplicationController).DeepCopy()
	rc.Spec.Replicas = ptr.To(scale.Spec.Replicas)
	rc.ResourceVersion = scale.ResourceVersion
	return rc, nil
}
