// Package admission is the contract between the API server and what may change
// or refuse a write after it was authorized: the plugins in apiserver/admit and
// the server's own namespace lifecycle. It is a leaf: plugins import it, the
// server imports it, neither imports the other through it.
package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// Operation is what a request does to an object.
type Operation string

// The operations of admission.k8s.io. Connect is a stream or proxy subresource.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Request is one write on its way in. The chain sees it twice: first in the
// mutating phase, then, after defaults and PrepareCreate/PrepareUpdate and the
// kind's own validation, in the validating phase.
type Request struct {
	Operation Operation
	Kind      *kinds.Kind
	// Requested is the form that the client spoke; Object is always the hub.
	Requested   schema.GroupVersionKind
	Namespace   string
	Name        string // "" while generateName has not been resolved
	Subresource string // "" for the object itself

	// Object is the new object (hub type): nil for Delete. In the mutating phase a
	// plugin may change it in place; in the validating phase nobody may. For a
	// subresource with a kind of its own (binding, eviction, token) it is nil and
	// View is what was posted.
	Object kinds.Object
	// Old is the stored object, shared and immutable: nil for Create.
	Old  kinds.Object
	View runtime.Object

	// Options is a *metav1.CreateOptions, *UpdateOptions, *PatchOptions or
	// *DeleteOptions; may be nil.
	Options runtime.Object
	DryRun  bool
	User    *auth.User

	// Together is what has to be stored with the object, in the same transaction, or
	// not at all. Validators add to it; nothing of it is stored for a dry run.
	Together []Together

	warnings []string
	finally  []func()
}

// Together is a change of another object's status that stands or falls with the
// request's own. If Old is not the stored state any more, the request is validated
// again.
type Together struct {
	Resource schema.GroupResource
	Old, New kinds.Object // New is the engine's from now on
}

// Finally calls f when the request's object has been stored or refused: what a
// validator took until then, it gives back.
func (r *Request) Finally(f func()) { r.finally = append(r.finally, f) }

// Finish ends one attempt to store the object: it runs what Finally was given and
// forgets Together. The server calls it after each Validate, however it ended.
func (r *Request) Finish() {
	for i := len(r.finally) - 1; i >= 0; i-- {
		r.finally[i]()
	}
	r.finally, r.Together = nil, nil
}

// Warn adds a Warning header to the answer.
func (r *Request) Warn(text string) { r.warnings = append(r.warnings, text) }

// Warnings returns what plugins warned of.
func (r *Request) Warnings() []string { return r.warnings }

// Plugin is one admission rule. Name is told in errors of plugins that fail
// ("PodSecurity"). A plugin implements Mutator, Validator or both.
type Plugin interface {
	Name() string
}

// Mutator may change r.Object. An error refuses the request: a
// *apierrors.StatusError is answered as it is, anything else as Forbidden.
type Mutator interface {
	Plugin
	Admit(ctx context.Context, r *Request) error
}

// Validator judges the object as it will be stored.
type Validator interface {
	Plugin
	Validate(ctx context.Context, r *Request) error
}

// Reader is how plugins look at the cluster: the server's cache, no
// authorization. Objects are shared and immutable. ok is false when there is no
// such object. The namespace is "" for cluster-wide kinds.
type Reader interface {
	Object(gr schema.GroupResource, namespace, name string) (obj kinds.Object, ok bool)
	// Each calls f for the objects of a namespace ("" for all) in order of their
	// names until f returns false.
	Each(gr schema.GroupResource, namespace string, f func(obj kinds.Object) bool)
}

// NeedsReader is a plugin that looks at the cluster; SetReader is called once,
// before the first request.
type NeedsReader interface {
	SetReader(Reader)
}

// Chain runs plugins in order.
type Chain []Plugin

// Mutate runs the mutating phase.
func (c Chain) Mutate(ctx context.Context, r *Request) error {
	for _, p := range c {
		if m, ok := p.(Mutator); ok {
			if err := m.Admit(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate runs the validating phase.
func (c Chain) Validate(ctx context.Context, r *Request) error {
	for _, p := range c {
		if v, ok := p.(Validator); ok {
			if err := v.Validate(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}
