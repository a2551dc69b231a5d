package client

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// As returns a client that reads and follows as p does, with p's informers, and
// writes through b: several components of one process then share one cache, and
// each appears under its own name in managedFields and to admission.
func (p *InProcess) As(b Backend) *Identity {
	w := NewInProcess(b, p.scheme)
	w.Log = p.Log
	return &Identity{InProcess: p, w: w}
}

// Identity is an InProcess whose writes are somebody else's.
type Identity struct {
	*InProcess // reads
	w          *InProcess
}

var _ crclient.WithWatch = (*Identity)(nil)

// Create and the others are those of InProcess.
func (i *Identity) Create(ctx context.Context, obj crclient.Object, opts ...crclient.CreateOption) error {
	return i.w.Create(ctx, obj, opts...)
}

// Update implements client.Writer.
func (i *Identity) Update(ctx context.Context, obj crclient.Object, opts ...crclient.UpdateOption) error {
	return i.w.Update(ctx, obj, opts...)
}

// Patch implements client.Writer.
func (i *Identity) Patch(ctx context.Context, obj crclient.Object, patch crclient.Patch, opts ...crclient.PatchOption) error {
	return i.w.Patch(ctx, obj, patch, opts...)
}

// Apply implements client.Writer.
func (i *Identity) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...crclient.ApplyOption) error {
	return i.w.Apply(ctx, obj, opts...)
}

// Delete implements client.Writer.
func (i *Identity) Delete(ctx context.Context, obj crclient.Object, opts ...crclient.DeleteOption) error {
	return i.w.Delete(ctx, obj, opts...)
}

// DeleteAllOf implements client.Writer.
func (i *Identity) DeleteAllOf(ctx context.Context, obj crclient.Object, opts ...crclient.DeleteAllOfOption) error {
	return i.w.DeleteAllOf(ctx, obj, opts...)
}

// Status implements client.StatusClient.
func (i *Identity) Status() crclient.SubResourceWriter { return i.w.Status() }

// SubResource implements client.SubResourceClientConstructor.
func (i *Identity) SubResource(name string) crclient.SubResourceClient { return i.w.SubResource(name) }
