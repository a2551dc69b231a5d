package volume

import (
	"context"
	"fmt"
	"os"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// defaultMode of configMap, secret, downwardAPI and projected volumes.
const defaultMode = int32(0o644)

// mountConfigMap writes a ConfigMap's keys as files.
// https://kubernetes.io/docs/concepts/storage/volumes/#configmap
func mountConfigMap(ctx context.Context, v *Volumes, r *request) (Mount, error) {
	s := r.vol.ConfigMap
	p := payload{}
	if err := v.addConfigMap(ctx, p, r.pod.Namespace, s.Name, s.Items, mode(s.DefaultMode), s.Optional); err != nil {
		return Mount{}, err
	}
	return v.write(r, p, false)
}

// write brings r.dir to hold p. What is secret lives in memory.
func (v *Volumes) write(r *request, p payload, secret bool) (Mount, error) {
	m := Mount{Path: r.dir, ReadOnly: true}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return m, err
	}
	if secret {
		if err := v.tmpfs(r.dir, 0, 0o777); err != nil {
			return m, err
		}
	}
	if err := os.Chmod(r.dir, 0o777|os.ModeSticky); err != nil {
		return m, err
	}
	own := v.ownPayload(r.pod)
	if g := fsGroup(r.pod); g != nil {
		if err := v.give(r.dir, os.ModeDir, int(*g)); err != nil {
			return m, err
		}
	}
	_, err := writeAtomically(r.dir, p, own)
	return m, err
}

func mode(p *int32) int32 {
	if p == nil {
		return defaultMode
	}
	return *p
}

func (v *Volumes) addConfigMap(ctx context.Context, p payload, namespace, name string, items []v1.KeyToPath, mode int32, optional *bool) error {
	cm := &v1.ConfigMap{}
	err := v.o.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, cm)
	if err != nil {
		if apierrors.IsNotFound(err) && isTrue(optional) {
			return nil
		}
		return err
	}
	data := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, s := range cm.Data {
		data[k] = []byte(s)
	}
	for k, b := range cm.BinaryData {
		data[k] = b
	}
	return p.add(data, items, mode, optional, "configmap references non-existent config key: %s")
}

func isTrue(p *bool) bool { return p != nil && *p }

// add takes all keys, or those of items under the paths given there.
func (p payload) add(data map[string][]byte, items []v1.KeyToPath, mode int32, optional *bool, missing string) error {
	if len(items) == 0 {
		for k, b := range data {
			p[k] = file{data: b, mode: os.FileMode(mode)}
		}
		return nil
	}
	for _, it := range items {
		b, ok := data[it.Key]
		if !ok {
			if isTrue(optional) {
				continue
			}
			return fmt.Errorf(missing, it.Key)
		}
		m := mode
		if it.Mode != nil {
			m = *it.Mode
		}
		p[it.Path] = file{data: b, mode: os.FileMode(m)}
	}
	return nil
}
