// Package admission is the contract between the API server and what may change
// or refuse a write after it was authorized: the plugins in apiserver/admit and
// the server's own namespace lifecycle. It is a leaf: plugins import it, the
// server imports it, neither imports the other through it.
package admission

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"

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
	// InCollection says that the object is deleted with its collection: the client
	// did not name it, though Name does.
	InCollection bool

	// Object is the new object (hub type): nil for Delete. In the mutating phase a
	// plugin may change it in place or put another in its place; in the validating
	// phase nobody may. For a subresource with a kind of its own (scale, binding,
	// eviction, token, exec) it is nil and View is what was written.
	Object kinds.Object
	// Old is the stored object, shared and immutable: nil for Create. For a
	// subresource it is the parent.
	Old kinds.Object
	// View and OldView are the new and the stored state of a subresource with a kind
	// of its own, ViewKind. View is treated as Object is.
	View, OldView runtime.Object
	ViewKind      schema.GroupVersionKind

	// Options is a *metav1.CreateOptions, *UpdateOptions, *PatchOptions or
	// *DeleteOptions; may be nil.
	Options runtime.Object
	DryRun  bool
	// Patch says that an Update of an object was sent as a patch.
	Patch bool
	User  *auth.User

	// Together is what has to be stored with the object, in the same transaction, or
	// not at all. Validators add to it; nothing of it is stored for a dry run.
	Together []Together

	// OnWarn and OnAnnotate get what plugins tell as soon as they do; may be nil.
	OnWarn     func(text string)
	OnAnnotate func(AuditAnnotation)

	warnings []string
	told     map[string]string // annotations by key

	again   bool // a second round was asked for
	round   int
	private map[string]any
	finally []func()
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

// Warn adds a Warning header to the answer, whether the request is refused or not.
func (r *Request) Warn(text string) {
	r.warnings = append(r.warnings, text)
	if r.OnWarn != nil {
		r.OnWarn(text)
	}
}

// Warnings returns what plugins warned of.
func (r *Request) Warnings() []string { return r.warnings }

// AuditLevel is how much an audit policy wants to know of a request.
type AuditLevel string

// The levels of audit.k8s.io at which something is recorded of plugins.
const (
	AuditMetadata AuditLevel = "Metadata"
	AuditRequest  AuditLevel = "Request"
)

// AuditAnnotation is what a plugin wants to be recorded of a request, from Level on.
type AuditAnnotation struct {
	Key, Value string
	Level      AuditLevel
}

// Annotate records a. The key is a domain, a slash and a name; the first value of a
// key stays (admission, attributesRecord.AddAnnotationWithLevel).
func (r *Request) Annotate(a AuditAnnotation) error {
	if strings.Count(a.Key, "/") != 1 || len(utilvalidation.IsQualifiedName(a.Key)) > 0 {
		return fmt.Errorf("the audit annotation %q is not named by a DNS subdomain, a slash and a name", a.Key)
	}
	if have, ok := r.told[a.Key]; ok {
		if have != a.Value {
			return fmt.Errorf("the audit annotation %q is there already", a.Key)
		}
		return nil
	}
	if r.told == nil {
		r.told = map[string]string{}
	}
	r.told[a.Key] = a.Value
	if r.OnAnnotate != nil {
		r.OnAnnotate(a)
	}
	return nil
}

// Round is 0 in the first run of the mutating phase and 1 in the second, which a
// plugin has asked for.
func (r *Request) Round() int { return r.round }

// Again asks for a second run of the mutating phase, because the object was changed
// behind plugins that ran before. There is one more run at most.
func (r *Request) Again() { r.again = true }

// Keep and Kept let a plugin remember something of this request under its name.
func (r *Request) Keep(plugin string, v any) {
	if r.private == nil {
		r.private = map[string]any{}
	}
	r.private[plugin] = v
}

// Kept returns what Keep remembered.
func (r *Request) Kept(plugin string) any { return r.private[plugin] }

// Plugin is one admission rule. Name is told in errors of plugins that fail
// ("PodSecurity"). A plugin implements Mutator, Validator or both.
type Plugin interface {
	Name() string
}

// Mutator may change r.Object or r.View. An error refuses the request: a
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

// Types makes typed values of the objects of a kind, nil for views and built-in kinds,
// so that they can be merged field by field.
type Types func(k *kinds.Kind) (managedfields.TypeConverter, error)

// NeedsTypes is a plugin that merges objects; SetTypes is called once, before the
// first request.
type NeedsTypes interface {
	SetTypes(Types)
}

// NeedsKinds is a plugin that looks kinds up, also those that are defined at run time;
// SetKinds is called once, before the first request.
type NeedsKinds interface {
	SetKinds(find func(schema.GroupVersionKind) (*kinds.Kind, bool))
}

// Chain runs plugins in order.
type Chain []Plugin

// Mutate runs the mutating phase, twice where a plugin asks for it: what came first
// sees then what came later has made (admission, reinvoker).
func (c Chain) Mutate(ctx context.Context, r *Request) error {
	if err := c.mutate(ctx, r); err != nil || !r.again {
		return err
	}
	r.round = 1
	return c.mutate(ctx, r)
}

func (c Chain) mutate(ctx context.Context, r *Request) error {
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
