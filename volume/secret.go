package volume

import (
	"context"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mountSecret writes a Secret's keys as files in memory.
// https://kubernetes.io/docs/concepts/storage/volumes/#secret
func mountSecret(ctx context.Context, v *Volumes, r *request) (Mount, error) {
	s := r.vol.Secret
	p := payload{}
	if err := v.addSecret(ctx, p, r.pod.Namespace, s.SecretName, s.Items, mode(s.DefaultMode), s.Optional); err != nil {
		return Mount{}, err
	}
	return v.write(r, p, true)
}

func (v *Volumes) addSecret(ctx context.Context, p payload, namespace, name string, items []v1.KeyToPath, mode int32, optional *bool) error {
	s := &v1.Secret{}
	err := v.o.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s)
	if err != nil {
		if apierrors.IsNotFound(err) && isTrue(optional) {
			return nil
		}
		return err
	}
	return p.add(s.Data, items, mode, optional, "references non-existent secret key: %s")
}
