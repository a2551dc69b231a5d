package volume

import (
	"context"
	"fmt"
	"os"

	v1 "k8s.io/api/core/v1"
)

// mountDownwardAPI writes fields of the pod as files.
// https://kubernetes.io/docs/concepts/storage/volumes/#downwardapi
func mountDownwardAPI(_ context.Context, v *Volumes, r *request) (Mount, error) {
	s := r.vol.DownwardAPI
	p := payload{}
	if err := v.addDownward(p, r.pod, s.Items, mode(s.DefaultMode)); err != nil {
		return Mount{}, err
	}
	return v.write(r, p, true)
}

func (v *Volumes) addDownward(p payload, pod *v1.Pod, items []v1.DownwardAPIVolumeFile, mode int32) error {
	for i := range items {
		it := &items[i]
		var text string
		var err error
		switch {
		case it.FieldRef != nil:
			text, err = Field(pod, it.FieldRef.FieldPath)
		case it.ResourceFieldRef != nil:
			c := findContainer(pod, it.ResourceFieldRef.ContainerName)
			if c == nil {
				return fmt.Errorf("container %s not found", it.ResourceFieldRef.ContainerName)
			}
			var allocatable v1.ResourceList
			if v.o.Allocatable != nil {
				allocatable = v.o.Allocatable()
			}
			text, err = ResourceField(c, it.ResourceFieldRef, allocatable)
		default:
			err = fmt.Errorf("item %q names neither a field nor a resource", it.Path)
		}
		if err != nil {
			return err
		}
		m := mode
		if it.Mode != nil {
			m = *it.Mode
		}
		p[it.Path] = file{data: []byte(text), mode: os.FileMode(m)}
	}
	return nil
}

func findContainer(pod *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
