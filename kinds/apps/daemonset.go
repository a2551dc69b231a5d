package apps

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func daemonSet() *kinds.Kind {
	type T = *appsv1.DaemonSet
	return row.Fill[appsv1.DaemonSet, appsv1.DaemonSetList](appsv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "daemonsets", ShortNames: []string{"ds"}, Categories: []string{"all"},
		Namespaced:     true,
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultDaemonSet),
		PrepareCreate:  rules.Do(prepareDaemonSet),
		PrepareUpdate:  rules.Do2(prepareDaemonSetUpdate),
		Generation:     rules.Differ(func(d, old T) bool { return !row.Same(d.Spec, old.Spec) }),
		Validate:       rules.Check(validateDaemonSet),
		ValidateUpdate: rules.Check2(validateDaemonSetUpdate),
		Warnings:       rules.Warn(warnDaemonSet),
		Subresources: row.WithStatus(func(d, old T) {
			d.Spec = old.Spec
			setTemplateGeneration(d, templateGeneration(old)) // a part of the spec inside of Kubernetes
		}, validateDaemonSetStatusUpdate, "spec"),
		Columns: daemonSetColumns(),
		Cells:   rules.Cells(daemonSetCells),

		HiddenAnnotations: []string{appsv1.DeprecatedTemplateGeneration},
	}, oldDaemonSets()...)
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec.UpdateStrategy
	if s.Type == "" {
		s.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if s.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if s.RollingUpdate == nil {
			s.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		if s.RollingUpdate.MaxUnavailable == nil {
			s.RollingUpdate.MaxUnavailable = ptr.To(intstr.FromInt32(1))
		}
		if s.RollingUpdate.MaxSurge == nil {
			s.RollingUpdate.MaxSurge = ptr.To(intstr.FromInt32(0))
		}
	}
	if d.Spec.RevisionHistoryLimit == nil {
		d.Spec.RevisionHistoryLimit = ptr.To[int32](10)
	}
	defaultTemplate(&d.Spec.Template)
	if _, ok := d.Annotations[appsv1.DeprecatedTemplateGeneration]; !ok {
		setTemplateGeneration(d, 0) // Kubernetes' conversion always writes it
	}
}

// The number of template changes is kept for clients of extensions/v1beta1; apps/v1
// carries it in an annotation.
func prepareDaemonSet(d *appsv1.DaemonSet) {
	d.Status = appsv1.DaemonSetStatus{}
	core.DropPodTemplate(&d.Spec.Template, nil)
	if templateGeneration(d) < 1 {
		setTemplateGeneration(d, 1)
	}
}

func prepareDaemonSetUpdate(d, old *appsv1.DaemonSet) {
	d.Status = old.Status
	core.DropPodTemplate(&d.Spec.Template, &old.Spec.Template)
	n := templateGeneration(old)
	if !row.Same(old.Spec.Template, d.Spec.Template) {
		n++
	}
	setTemplateGeneration(d, n)
}

func warnDaemonSet(d, old *appsv1.DaemonSet) []string {
	var template *corev1.PodTemplateSpec
	if old != nil {
		if row.Same(d.Spec.Template, old.Spec.Template) {
			return nil
		}
		template = &old.Spec.Template
	}
	return templateWarnings(&d.Spec.Template, template)
}

func daemonSetColumns() []metav1.TableColumnDefinition {
	status := appsv1.DaemonSetStatus{}.SwaggerDoc()
	return append([]metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.IntColumn("Desired", status["desiredNumberScheduled"]),
		rules.IntColumn("Current", status["currentNumberScheduled"]),
		rules.IntColumn("Ready", status["numberReady"]),
		rules.IntColumn("Up-to-date", status["updatedNumberScheduled"]),
		rules.IntColumn("Available", status["numberAvailable"]),
		rules.Column("Node Selector", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"]),
		rules.AgeColumn(),
	}, append(row.ContainerColumns(), rules.Wide(rules.Column("Selector", appsv1.DaemonSetSpec{}.SwaggerDoc()["selector"])))...)
}

func daemonSetCells(d *appsv1.DaemonSet, now time.Time) []any {
	s := &d.Status
	return templateCells([]any{
		d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady),
		int64(s.UpdatedNumberScheduled), int64(s.NumberAvailable),
		labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), rules.Age(d.CreationTimestamp, now),
	}, d.Spec.Template.Spec.Containers, formatSelector(d.Spec.Selector))
}
