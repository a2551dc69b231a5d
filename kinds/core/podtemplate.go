package core

import (
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func podTemplate() *kinds.Kind {
	k := newKind[v1.PodTemplate, v1.PodTemplateList]("podtemplates", true)
	k.Name = rules.DNSSubdomain
	k.Default = rules.Do(func(t *v1.PodTemplate) { DefaultPodTemplate(&t.Template) })
	k.PrepareCreate = rules.Do(func(t *v1.PodTemplate) { DropPodTemplate(&t.Template, nil) })
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.PodTemplate) { DropPodTemplate(&obj.Template, &old.Template) })
	k.Generation = rules.Differ(func(obj, old *v1.PodTemplate) bool {
		return !equality.Semantic.DeepEqual(obj.Template, old.Template)
	})
	k.Validate = rules.Check(func(t *v1.PodTemplate) field.ErrorList {
		return ValidatePodTemplate(&t.Template, field.NewPath("template"))
	})
	k.ValidateUpdate = rules.Check2(func(obj, old *v1.PodTemplate) field.ErrorList {
		return ValidatePodTemplateUpdate(&obj.Template, &old.Template, field.NewPath("template"))
	})
	k.Warnings = rules.Warn(func(t, old *v1.PodTemplate) []string {
		if old != nil && equality.Semantic.DeepEqual(t.Template, old.Template) {
			return nil
		}
		var was *v1.PodTemplateSpec
		if old != nil {
			was = &old.Template
		}
		return PodTemplateWarnings(&t.Template, was, field.NewPath("template"))
	})
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Containers", "Names of each container in the template."),
		rules.Column("Images", "Images referenced by each container in the template."),
		rules.Column("Pod Labels", "The labels for the pod template."),
	}
	k.Cells = rules.Cells(func(t *v1.PodTemplate, _ time.Time) []any {
		names, images := rules.ContainerCells(t.Template.Spec.Containers)
		return []any{t.Name, names, images, labels.FormatLabels(t.Template.Labels)}
	})
	return k
}
