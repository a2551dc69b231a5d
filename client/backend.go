// Package client gives controllers, the scheduler, the node and every other
// component controller-runtime's client.Client and cache.Cache interfaces over
// one of two backends: the API server in this process (no HTTP, no encoding, the
// server's own immutable objects), or any Kubernetes API over HTTP.
package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/kinds"
)

// Backend is an API server in this process, as one identity sees it. Writes go
// through the whole path of a request (defaults, admission, validation, managed
// fields, durable store) without HTTP. Errors are *apierrors.StatusError as over
// HTTP. Objects returned are shared and immutable; objects passed in belong to
// the backend from then on.
type Backend interface {
	// Kind finds a built-in or custom kind.
	Kind(gvk schema.GroupVersionKind) (*kinds.Kind, bool)

	Get(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error)
	// List returns the objects that match, sorted by namespace and name, and the
	// revision of the snapshot. A nil selector selects everything; an empty
	// namespace every namespace.
	List(ctx context.Context, k *kinds.Kind, namespace string, sel labels.Selector) ([]kinds.Object, int64, error)
	// Watch starts after revision. Every event up to the stream's end comes once,
	// in order.
	Watch(ctx context.Context, k *kinds.Kind, namespace string, revision int64) (EventStream, error)

	Create(ctx context.Context, k *kinds.Kind, obj kinds.Object, o *metav1.CreateOptions) (kinds.Object, error)
	// Update writes obj whole; sub is "" or a subresource of the parent's own kind,
	// such as "status".
	Update(ctx context.Context, k *kinds.Kind, sub string, obj kinds.Object, o *metav1.UpdateOptions) (kinds.Object, error)
	Patch(ctx context.Context, k *kinds.Kind, namespace, name, sub string, pt types.PatchType, data []byte, o *metav1.PatchOptions) (kinds.Object, error)
	Delete(ctx context.Context, k *kinds.Kind, namespace, name string, o *metav1.DeleteOptions) error
	DeleteCollection(ctx context.Context, k *kinds.Kind, namespace string, sel labels.Selector, o *metav1.DeleteOptions) error

	// GetSub reads and PostSub posts a subresource with a kind of its own: scale;
	// binding, eviction, token.
	GetSub(ctx context.Context, k *kinds.Kind, namespace, name, sub string) (runtime.Object, error)
	PostSub(ctx context.Context, k *kinds.Kind, namespace, name, sub string, in runtime.Object) (runtime.Object, error)
}

// EventStream is a cursor over the changes of one kind.
type EventStream = kinds.EventStream

// Event is one change. Old is nil for Added; New is nil for Deleted, Old then is
// the last state with the deletion's resourceVersion.
type Event = kinds.Event
