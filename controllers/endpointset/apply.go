package endpointset

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Existing lists the slices of a service that manager keeps. It asks the server: a
// cache that does not show the last pass yet would make it again.
func Existing(ctx context.Context, c crclient.Client, namespace, service, manager string) ([]*discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := c.List(ctx, &list, crclient.InNamespace(namespace), crclient.MatchingLabels{
		discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: manager,
	})
	if err != nil {
		return nil, fmt.Errorf("list the EndpointSlices of %s/%s: %w", namespace, service, err)
	}
	out := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}

// Apply carries a plan out: additions first, so that no endpoint is missing on the
// way.
func Apply(ctx context.Context, c crclient.Client, p Plan) error {
	for _, s := range p.Create {
		err := c.Create(ctx, s)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("create an EndpointSlice: %w", err)
		}
	}
	for _, s := range p.Update {
		if err := c.Update(ctx, s); err != nil {
			return fmt.Errorf("update EndpointSlice %s: %w", s.Name, err)
		}
	}
	for _, s := range p.Delete {
		if err := c.Delete(ctx, s); crclient.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete EndpointSlice %s: %w", s.Name, err)
		}
	}
	return nil
}
