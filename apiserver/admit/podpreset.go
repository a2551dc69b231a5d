package admit

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/settings"
)

const (
	presetPrefix  = "podpreset.admission.kubernetes.io/"
	presetExclude = presetPrefix + "exclude"
)

// PodPreset puts into new pods what the presets of their namespace that select them
// say, as Kubernetes did until 1.19 (plugin/pkg/admission/podpreset). All of the
// presets that select a pod are applied, in the order of their names, or none: where
// one says of a variable, a mount or a volume something else than the pod or a preset
// before it, the pod is left as it came, with a Warning header that says so.
type PodPreset struct{ reader }

// Name implements admission.Plugin.
func (*PodPreset) Name() string { return "PodPreset" }

// Admit implements admission.Mutator.
func (p *PodPreset) Admit(_ context.Context, r *admission.Request) error {
	pod, ok := r.Object.(*v1.Pod)
	if !ok || !is(r, "", "pods", admission.Create) {
		return nil
	}
	if _, mirror := pod.Annotations[v1.MirrorPodAnnotationKey]; mirror || pod.Annotations[presetExclude] == "true" {
		return nil
	}
	presets, err := p.matching(r.Namespace, pod.Labels)
	if err != nil || len(presets) == 0 {
		return err
	}
	merged, err := withPresets(&pod.Spec, presets)
	if err != nil {
		r.Warn(fmt.Sprintf("PodPreset: none applied: %v", err))
		return nil
	}
	pod.Spec = *merged
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	for _, s := range presets {
		pod.Annotations[presetPrefix+"podpreset-"+s.Name] = s.ResourceVersion
	}
	return nil
}

func (p *PodPreset) matching(namespace string, of map[string]string) ([]*settings.PodPreset, error) {
	var out []*settings.PodPreset
	var err error
	p.Each(podPresets, namespace, func(o kinds.Object) bool {
		s, ok := o.(*settings.PodPreset)
		if !ok {
			return true
		}
		var selector labels.Selector
		if selector, err = metav1.LabelSelectorAsSelector(&s.Spec.Selector); err != nil {
			err = fmt.Errorf("filtering pod presets failed: label selector conversion failed: %w for selector: %v", err, s.Spec.Selector)
			return false
		}
		if selector.Matches(labels.Set(of)) {
			out = append(out, s)
		}
		return true
	})
	return out, err
}

// withPresets is a copy of spec with what presets say, or the first conflict.
func withPresets(spec *v1.PodSpec, presets []*settings.PodPreset) (*v1.PodSpec, error) {
	out := spec.DeepCopy()
	volumes := merging[v1.Volume]{what: "volumes", list: &out.Volumes, key: func(v *v1.Volume) string { return v.Name }}
	for _, s := range presets {
		if err := volumes.add(s.Name, s.DeepCopyObject().(*settings.PodPreset).Spec.Volumes); err != nil {
			return nil, err
		}
	}
	for _, list := range [][]v1.Container{out.Containers, out.InitContainers} {
		for i := range list {
			if err := presetContainer(&list[i], presets); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func presetContainer(c *v1.Container, presets []*settings.PodPreset) error {
	env := merging[v1.EnvVar]{what: "env", list: &c.Env, key: func(v *v1.EnvVar) string { return v.Name }}
	mounts := merging[v1.VolumeMount]{what: "volume mounts", list: &c.VolumeMounts, key: func(m *v1.VolumeMount) string { return m.Name }}
	paths := map[string]v1.VolumeMount{}
	for _, m := range c.VolumeMounts {
		paths[m.MountPath] = m
	}
	for _, shared := range presets {
		s := shared.DeepCopyObject().(*settings.PodPreset)
		if err := env.add(s.Name, s.Spec.Env); err != nil {
			return err
		}
		if err := mounts.add(s.Name, s.Spec.VolumeMounts); err != nil {
			return err
		}
		for _, m := range s.Spec.VolumeMounts {
			if have, ok := paths[m.MountPath]; ok && !equality.Semantic.DeepEqual(have, m) {
				return conflict("volume mounts", s.Name, "mount path "+m.MountPath)
			}
			paths[m.MountPath] = m
		}
		c.EnvFrom = append(c.EnvFrom, s.Spec.EnvFrom...)
	}
	return nil
}

// merging adds to a list what it does not have by its key.
type merging[T any] struct {
	what string
	list *[]T
	key  func(*T) string
	have map[string]T
}

func (m *merging[T]) add(preset string, items []T) error {
	if m.have == nil {
		m.have = make(map[string]T, len(*m.list)+len(items))
		for i := range *m.list {
			m.have[m.key(&(*m.list)[i])] = (*m.list)[i]
		}
	}
	for i := range items {
		key := m.key(&items[i])
		found, ok := m.have[key]
		switch {
		case !ok:
			m.have[key] = items[i]
			*m.list = append(*m.list, items[i])
		case !equality.Semantic.DeepEqual(found, items[i]):
			return conflict(m.what, preset, key)
		}
	}
	return nil
}

func conflict(what, preset, on string) error {
	return fmt.Errorf("merging %s for %s has a conflict on %s", what, preset, on)
}
