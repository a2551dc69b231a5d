package apps

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func replicaSet() *kinds.Kind {
	type T = *appsv1.ReplicaSet
	k := row.Fill[appsv1.ReplicaSet, appsv1.ReplicaSetList](appsv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "replicasets", ShortNames: []string{"rs"}, Categories: []string{"all"},
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultReplicaSet),
		PrepareCreate:  rules.Do(func(r T) { r.Status = appsv1.ReplicaSetStatus{}; core.DropPodTemplate(&r.Spec.Template, nil) }),
		PrepareUpdate:  rules.Do2(func(r, old T) { r.Status = old.Status; core.DropPodTemplate(&r.Spec.Template, &old.Spec.Template) }),
		Generation:     rules.Differ(replicaSetChanged),
		Validate:       rules.Check(validateReplicaSet),
		ValidateUpdate: rules.Check2(validateReplicaSetUpdate),
		Warnings:       rules.Warn(warnReplicaSet),
		Columns:        replicaSetColumns(),
		Cells:          rules.Cells(replicaSetCells),
		Fields: map[string]func(kinds.Object) string{
			"status.replicas": rules.Field(func(r T) string { return strconv.Itoa(int(r.Status.Replicas)) }),
		},
	}, oldReplicaSets()...)
	// Only the versions before apps/v1 know the field label status.replicas
	// (AddFieldLabelConversionFunc in pkg/apis/apps/v1beta2/conversion.go).
	k.Served[0].FieldLabels = map[string]string{}
	k.Subresources = row.WithStatus(func(r, old T) { r.Spec = old.Spec }, validateReplicaSetStatusUpdate, "spec")
	k.Subresources["scale"] = row.Scale(func(r T) row.Scaled {
		return row.Scaled{Want: &r.Spec.Replicas, Have: r.Status.Replicas, Selector: r.Spec.Selector}
	})
	return k
}

func defaultReplicaSet(r *appsv1.ReplicaSet) {
	if r.Spec.Replicas == nil {
		r.Spec.Replicas = ptr.To[int32](1)
	}
	defaultTemplate(&r.Spec.Template)
}

func replicaSetChanged(r, old *appsv1.ReplicaSet) bool { return !row.Same(r.Spec, old.Spec) }

func warnReplicaSet(r, old *appsv1.ReplicaSet) []string {
	if old == nil {
		return append(podNameWarning(r.Name), templateWarnings(&r.Spec.Template, nil)...)
	}
	if replicaSetChanged(r, old) {
		return templateWarnings(&r.Spec.Template, &old.Spec.Template)
	}
	return nil
}

func replicaSetColumns() []metav1.TableColumnDefinition {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	return append([]metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.IntColumn("Desired", spec["replicas"]),
		rules.IntColumn("Current", status["replicas"]),
		rules.IntColumn("Ready", status["readyReplicas"]),
		rules.AgeColumn(),
	}, append(row.ContainerColumns(), rules.Wide(rules.Column("Selector", spec["selector"])))...)
}

func replicaSetCells(r *appsv1.ReplicaSet, now time.Time) []any {
	return templateCells([]any{
		r.Name, deref(r.Spec.Replicas), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), rules.Age(r.CreationTimestamp, now),
	}, r.Spec.Template.Spec.Containers, formatSelector(r.Spec.Selector))
}
