package apps

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func statefulSet() *kinds.Kind {
	type T = *appsv1.StatefulSet
	k := row.Fill[appsv1.StatefulSet, appsv1.StatefulSetList](appsv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "statefulsets", ShortNames: []string{"sts"}, Categories: []string{"all"},
		Namespaced: true,
		// A pod's host name is the set's name and an ordinal, hence a label.
		Name:    func(name string, prefix bool) []string { return apivalidation.NameIsDNSLabel(name, prefix) },
		Default: rules.Do(defaultStatefulSet),
		PrepareCreate: rules.Do(func(s T) {
			s.Status = appsv1.StatefulSetStatus{}
			dropMaxUnavailable(s, nil)
			core.DropPodTemplate(&s.Spec.Template, nil)
		}),
		PrepareUpdate: rules.Do2(func(s, old T) {
			s.Status = old.Status
			dropMaxUnavailable(s, old)
			core.DropPodTemplate(&s.Spec.Template, &old.Spec.Template)
		}),
		Generation:     rules.Differ(statefulSetChanged),
		Validate:       rules.Check(validateStatefulSet),
		ValidateUpdate: rules.Check2(validateStatefulSetUpdate),
		Warnings:       rules.Warn(warnStatefulSet),
		Columns: append([]metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Ready", "Number of the pod with ready state"),
			rules.AgeColumn(),
		}, row.ContainerColumns()...),
		Cells: rules.Cells(statefulSetCells),
	}, oldStatefulSets()...)
	k.Subresources = row.WithStatus(func(s, old T) { s.Spec = old.Spec }, validateStatefulSetStatusUpdate, "spec")
	k.Subresources["scale"] = row.Scale(func(s T) row.Scaled {
		return row.Scaled{Want: &s.Spec.Replicas, Have: s.Status.Replicas, Selector: s.Spec.Selector}
	})
	return k
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	spec := &s.Spec
	if spec.PodManagementPolicy == "" {
		spec.PodManagementPolicy = appsv1.OrderedReadyPodManagement
	}
	if spec.UpdateStrategy.Type == "" {
		spec.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		if spec.UpdateStrategy.RollingUpdate == nil {
			spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
	}
	if r := spec.UpdateStrategy.RollingUpdate; r != nil && spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		if r.Partition == nil {
			r.Partition = ptr.To[int32](0)
		}
	}
	if spec.PersistentVolumeClaimRetentionPolicy == nil {
		spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	if p := spec.PersistentVolumeClaimRetentionPolicy; p.WhenDeleted == "" {
		p.WhenDeleted = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if p := spec.PersistentVolumeClaimRetentionPolicy; p.WhenScaled == "" {
		p.WhenScaled = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	}
	if spec.Replicas == nil {
		spec.Replicas = ptr.To[int32](1)
	}
	if spec.RevisionHistoryLimit == nil {
		spec.RevisionHistoryLimit = ptr.To[int32](10)
	}
	defaultTemplate(&spec.Template)
	for i := range spec.VolumeClaimTemplates {
		defaultClaim(&spec.VolumeClaimTemplates[i])
	}
}

// defaultClaim fills in a claim template as the claim itself would be.
func defaultClaim(c *corev1.PersistentVolumeClaim) {
	c.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
	if c.Status.Phase == "" {
		c.Status.Phase = corev1.ClaimPending
	}
	core.DefaultClaimSpec(&c.Spec)
}

// dropMaxUnavailable forgets a field whose feature (MaxUnavailableStatefulSet) is
// off by default in 1.36, unless it is in use already.
func dropMaxUnavailable(s, old *appsv1.StatefulSet) {
	if old != nil && old.Spec.UpdateStrategy.RollingUpdate != nil && old.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable != nil {
		return
	}
	if r := s.Spec.UpdateStrategy.RollingUpdate; r != nil {
		r.MaxUnavailable = nil
	}
}

func statefulSetChanged(s, old *appsv1.StatefulSet) bool { return !row.Same(s.Spec, old.Spec) }

func warnStatefulSet(s, old *appsv1.StatefulSet) []string {
	var out []string
	if old == nil {
		out = templateWarnings(&s.Spec.Template, nil)
	} else if statefulSetChanged(s, old) {
		out = templateWarnings(&s.Spec.Template, &old.Spec.Template)
	}
	for i := range s.Spec.VolumeClaimTemplates {
		path := field.NewPath("spec", "volumeClaimTemplates").Index(i)
		if old != nil {
			path = path.Child("Spec") // as Kubernetes names it, on updates alone
		}
		out = append(out, core.ClaimSpecWarnings(&s.Spec.VolumeClaimTemplates[i].Spec, path)...)
	}
	if s.Spec.RevisionHistoryLimit != nil && *s.Spec.RevisionHistoryLimit < 0 {
		out = append(out, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return out
}

func statefulSetCells(s *appsv1.StatefulSet, now time.Time) []any {
	names, images := rules.ContainerCells(s.Spec.Template.Spec.Containers)
	return []any{s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas)), rules.Age(s.CreationTimestamp, now), names, images}
}
