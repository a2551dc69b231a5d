// Package settings holds the one kind of the group settings.k8s.io, which Kubernetes
// dropped in 1.20: PodPreset, what to put into pods that a selector finds. The
// admission plugin PodPreset (apiserver/admit) applies it to new pods. See package
// kinds for the table that this is a part of.
package settings

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

const group = "settings.k8s.io"

// PodPreset is settings.k8s.io/v1alpha1 PodPreset. It has no protobuf form.
type PodPreset struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              PodPresetSpec `json:"spec,omitempty"`
}

// PodPresetSpec says what is put into which pods.
type PodPresetSpec struct {
	Selector     metav1.LabelSelector   `json:"selector,omitempty"`
	Env          []corev1.EnvVar        `json:"env,omitempty"`
	EnvFrom      []corev1.EnvFromSource `json:"envFrom,omitempty"`
	Volumes      []corev1.Volume        `json:"volumes,omitempty"`
	VolumeMounts []corev1.VolumeMount   `json:"volumeMounts,omitempty"`
}

// PodPresetList is a list of PodPreset.
type PodPresetList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PodPreset `json:"items"`
}

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{{
		Group: group, Version: "v1alpha1", Kind: "PodPreset", List: "PodPresetList",
		Resource: "podpresets", Singular: "podpreset",
		Namespaced: true,
		Served: []kinds.Version{{
			Group: group, Version: "v1alpha1", Old: true,
			Deprecated: "settings.k8s.io/v1alpha1 PodPreset is deprecated in v1.19+, unavailable in v1.20+",
		}},
		New:            row.Make[PodPreset](),
		NewList:        row.MakeAny[PodPresetList](),
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultPodPreset),
		Validate:       rules.Check(validatePodPreset),
		ValidateUpdate: rules.Check2(func(p, _ *PodPreset) field.ErrorList { return validatePodPreset(p) }),
	}}
}

// defaultPodPreset fills in what a pod with these parts gets, so that the same words
// in a pod and in a preset are the same thing.
func defaultPodPreset(p *PodPreset) {
	parts := corev1.PodSpec{
		Volumes:    p.Spec.Volumes,
		Containers: []corev1.Container{{Env: p.Spec.Env}},
	}
	core.DefaultPodSpec(&parts)
}

func validatePodPreset(p *PodPreset) field.ErrorList {
	path, s := field.NewPath("spec"), &p.Spec
	errs := metavalidation.ValidateLabelSelector(&s.Selector, metavalidation.LabelSelectorValidationOptions{}, path.Child("selector"))
	if s.Env == nil && s.EnvFrom == nil && s.VolumeMounts == nil && s.Volumes == nil {
		errs = append(errs, field.Required(path.Child("volumes", "env", "envFrom", "volumeMounts"), "must specify at least one"))
	}
	injected := corev1.Container{Env: s.Env, EnvFrom: s.EnvFrom, VolumeMounts: s.VolumeMounts}
	return append(errs, core.ValidateInjected(s.Volumes, &injected, path)...)
}

// DeepCopyObject copies p whole.
func (p *PodPreset) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	out := &PodPreset{TypeMeta: p.TypeMeta}
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	p.Spec.Selector.DeepCopyInto(&out.Spec.Selector)
	out.Spec.Env = copyEach(p.Spec.Env, (*corev1.EnvVar).DeepCopyInto)
	out.Spec.EnvFrom = copyEach(p.Spec.EnvFrom, (*corev1.EnvFromSource).DeepCopyInto)
	out.Spec.Volumes = copyEach(p.Spec.Volumes, (*corev1.Volume).DeepCopyInto)
	out.Spec.VolumeMounts = copyEach(p.Spec.VolumeMounts, (*corev1.VolumeMount).DeepCopyInto)
	return out
}

// DeepCopyObject copies l whole.
func (l *PodPresetList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	out := &PodPresetList{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, func(in, out *PodPreset) { *out = *in.DeepCopyObject().(*PodPreset) })
	return out
}

func copyEach[T any](in []T, copy func(in, out *T)) []T {
	if in == nil {
		return nil
	}
	out := make([]T, len(in))
	for i := range in {
		copy(&in[i], &out[i])
	}
	return out
}
