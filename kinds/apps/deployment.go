package apps

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func deployment() *kinds.Kind {
	type T = *appsv1.Deployment
	k := row.Fill[appsv1.Deployment, appsv1.DeploymentList](appsv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "deployments", ShortNames: []string{"deploy"}, Categories: []string{"all"},
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultDeployment),
		PrepareCreate:  rules.Do(func(d T) { d.Status = appsv1.DeploymentStatus{}; core.DropPodTemplate(&d.Spec.Template, nil) }),
		PrepareUpdate:  rules.Do2(func(d, old T) { d.Status = old.Status; core.DropPodTemplate(&d.Spec.Template, &old.Spec.Template) }),
		Generation:     rules.Differ(deploymentChanged),
		Validate:       rules.Check(validateDeployment),
		ValidateUpdate: rules.Check2(validateDeploymentUpdate),
		Warnings:       rules.Warn(warnDeployment),
		Columns:        deploymentColumns(),
		Cells:          rules.Cells(deploymentCells),
	}, oldDeployments()...)
	// Labels stay too: a status writer must not move the object between selectors.
	k.Subresources = row.WithStatus(func(d, old T) { d.Spec, d.Labels = old.Spec, old.Labels },
		validateDeploymentStatusUpdate, "spec", "metadata.labels")
	k.Subresources["scale"] = row.Scale(func(d T) row.Scaled {
		return row.Scaled{Want: &d.Spec.Replicas, Have: d.Status.Replicas, Selector: d.Spec.Selector}
	})
	return k
}

func defaultDeployment(d *appsv1.Deployment) {
	spec := &d.Spec
	if spec.Replicas == nil {
		spec.Replicas = ptr.To[int32](1)
	}
	defaultRollingUpdate(&spec.Strategy, intstr.FromString("25%"))
	if spec.RevisionHistoryLimit == nil {
		spec.RevisionHistoryLimit = ptr.To[int32](10)
	}
	if spec.ProgressDeadlineSeconds == nil {
		spec.ProgressDeadlineSeconds = ptr.To[int32](600)
	}
	defaultTemplate(&spec.Template)
}

// defaultRollingUpdate fills in a Deployment's strategy; step is both maxSurge and
// maxUnavailable, which is where versions differ.
func defaultRollingUpdate(s *appsv1.DeploymentStrategy, step intstr.IntOrString) {
	if s.Type == "" {
		s.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return
	}
	if s.RollingUpdate == nil {
		s.RollingUpdate = &appsv1.RollingUpdateDeployment{}
	}
	if s.RollingUpdate.MaxUnavailable == nil {
		s.RollingUpdate.MaxUnavailable = ptr.To(step)
	}
	if s.RollingUpdate.MaxSurge == nil {
		s.RollingUpdate.MaxSurge = ptr.To(step)
	}
}

// deploymentChanged counts annotations too, because they are copied to the
// ReplicaSets.
func deploymentChanged(d, old *appsv1.Deployment) bool {
	return !row.Same(d.Spec, old.Spec) || !row.Same(d.Annotations, old.Annotations)
}

func warnDeployment(d, old *appsv1.Deployment) []string {
	if old == nil {
		return append(podNameWarning(d.Name), templateWarnings(&d.Spec.Template, nil)...)
	}
	if deploymentChanged(d, old) {
		return templateWarnings(&d.Spec.Template, &old.Spec.Template)
	}
	return nil
}

func deploymentColumns() []metav1.TableColumnDefinition {
	status := appsv1.DeploymentStatus{}.SwaggerDoc()
	return append([]metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Ready", "Number of the pod with ready state"),
		rules.Column("Up-to-date", status["updatedReplicas"]),
		rules.Column("Available", status["availableReplicas"]),
		rules.AgeColumn(),
	}, append(row.ContainerColumns(), rules.Wide(rules.Column("Selector", appsv1.DeploymentSpec{}.SwaggerDoc()["selector"])))...)
}

func deploymentCells(d *appsv1.Deployment, now time.Time) []any {
	selector := "<invalid>"
	if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil {
		selector = s.String()
	}
	return templateCells([]any{
		d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas)),
		int64(d.Status.UpdatedReplicas), int64(d.Status.AvailableReplicas), rules.Age(d.CreationTimestamp, now),
	}, d.Spec.Template.Spec.Containers, selector)
}
