// Package kinds describes every built-in API kind as data: its names, versions,
// defaults, validation, printed columns, selectable fields and subresources. The
// server, the codec, the clients, the command line and OpenAPI read this table;
// nothing else knows a kind by name. One folder holds a group, one file a kind;
// package kinds/all joins the groups.
//
// A kind lives in memory and in the store in exactly one version, its hub: the
// current stable Go type of k8s.io/api. Other served versions are converted at
// the door.
package kinds

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Object is any API object. What a cache or a client's shared read returns must
// never be changed; DeepCopyObject first.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is one row of the table. A nil func means that the kind has no such rule.
// The funcs are pure and get objects of the hub type; those that fill in change
// the first argument, which the caller owns.
type Kind struct {
	Group   string
	Version string // the hub version
	Kind    string // "Deployment"
	List    string // "DeploymentList"

	Resource   string // "deployments"
	Singular   string // "deployment"
	ShortNames []string
	Categories []string // "all", ...
	Namespaced bool

	// Served lists the versions the API offers, hub included, in the order of
	// discovery within the group.
	Served []Version
	// Verbs that exist; nil means all: create delete deletecollection get list
	// patch update watch.
	Verbs []string
	// Virtual kinds are answered, not stored (SubjectAccessReview, TokenReview, ...).
	Virtual bool

	New     func() Object
	NewList func() runtime.Object

	// Name says what is wrong with a name; prefix is set for generateName.
	Name func(name string, prefix bool) []string

	// Default fills in what the hub version's defaulting fills in. It runs on
	// every object that comes in and on what old versions left out.
	Default func(obj Object)
	// DefaultStored runs Default once more on what is stored, for a kind where it looks
	// at what PrepareCreate or PrepareUpdate filled in.
	DefaultStored bool
	// Settle gives an object that is about to be stored the form in which it comes back
	// from the store, after ownership of fields was noted.
	Settle func(obj Object)
	// PrepareCreate drops what a creator may not set (status, ...) before defaults
	// of identity are given, as the kind's create strategy in Kubernetes does.
	PrepareCreate func(obj Object)
	// PrepareUpdate carries over from old what this request may not change.
	PrepareUpdate func(obj, old Object)
	// Generation tells whether two objects differ in what metadata.generation
	// counts; nil means that the kind has no generation.
	Generation func(obj, old Object) (changed bool)
	// KeepGeneration leaves the generation of a new object as it is written.
	KeepGeneration bool
	// MetaLast judges the metadata of a new object by the general rules only when the
	// kind's own find nothing wrong.
	MetaLast bool
	// Validate judges an object to be created (metadata's general rules are the
	// server's), ValidateUpdate an object that replaces old; an update is judged by
	// ValidateUpdate alone.
	Validate       func(obj Object) field.ErrorList
	ValidateUpdate func(obj, old Object) field.ErrorList
	// Warnings are answered in Warning headers; old is nil on creation.
	Warnings func(obj, old Object) []string

	// AllowCreateOnUpdate makes PUT of an absent object create it.
	AllowCreateOnUpdate bool
	// RequireRevision refuses an update without metadata.resourceVersion.
	RequireRevision bool

	// Grace returns the seconds that a deletion leaves the object, given what the
	// request asks for (nil: nothing asked); 0 deletes at once. A nil func means 0.
	Grace func(obj Object, asked *int64) int64

	// Reset are the paths that no write of the object itself may own; nil: status, if
	// that is a subresource.
	Reset []string

	// Subresources by name: "status", "scale", "log", ...
	Subresources map[string]Subresource

	// Columns and Cells make the Table form; nil means Name and Created At.
	Columns []metav1.TableColumnDefinition
	Cells   func(obj Object, now time.Time) []any
	// RowConditions are those of the object's row in a Table.
	RowConditions func(obj Object) []metav1.TableRowCondition
	// Fields are the selectable fields besides metadata.name and metadata.namespace.
	Fields map[string]func(obj Object) string

	// FieldUnknown words that a label is none of Fields, for a kind with words of its
	// own; gvk is the form that was asked for.
	FieldUnknown func(gvk schema.GroupVersionKind, label string) string

	// FromCache gives an object as the API server's cache holds it the form of this
	// row, ToCache the other way; both leave their argument alone and may return it.
	// nil: the cache holds what the row is about. They may take their time (a webhook
	// converts) and fail.
	FromCache, ToCache func(obj Object) (Object, error)
	// EncodeStored and DecodeStored are set for kinds with a form of their own in the
	// store. What they give and take is as the cache holds it.
	EncodeStored func(obj Object) ([]byte, error)
	DecodeStored func(data []byte) (Object, error)
	// Restored completes an object that was just read from the store, which it owns.
	Restored func(obj Object) (Object, error)

	// Custom is set for kinds that users define (CustomResourceDefinitions).
	Custom *Custom

	// HiddenAnnotations stand for fields of a type that only Kubernetes has inside:
	// objects carry them, metadata shown alone (a Table's rows) does not.
	HiddenAnnotations []string
}

// Custom is what a kind needs besides that is defined at run time. Its objects are
// *dynamic.Object. Each served version of a definition has a row of its own, whose
// hub is that version; all rows of one definition share one cache, which holds
// objects in the version in which they are stored.
type Custom struct {
	// Coerce gives an object that was just decoded the form that the schema wants:
	// unknown fields go, and are told if report is set.
	Coerce func(obj Object, report bool) (unknown []string, err error)
	// StorageVersion is the version in which new objects are stored.
	StorageVersion string
	// Terminating tells whether the definition is being deleted: nothing may be made.
	Terminating func() bool
	// Types makes typed values of objects for server-side apply, of every version of
	// the definition: a managedfields.TypeConverter.
	Types func() (any, error)
	// ReplicasPaths are the paths of spec.replicas in each version's objects, by group
	// and version, for those with a scale; nil for the others.
	ReplicasPaths map[string][]string
	// Trim forgets what was compiled and not used since the last Trim.
	Trim func()
	// ValidateUpdate is the row's ValidateUpdate, or with sub "status" that of the
	// status; warn is told what is wrong and was so before. It may be nil.
	ValidateUpdate func(sub string, obj, old Object, warn func(string)) field.ErrorList
	// Rows are the kinds of all served versions of the definition.
	Rows func() []*Kind
	// Convert gives an object of any version of the definition another version.
	Convert func(obj Object, version string) (Object, error)
}

// Version is one served form of a kind.
type Version struct {
	Group   string // of this form: extensions for an old Deployment
	Version string
	// Resource and Kind, where this form's names differ from the hub's; else "".
	Kind string
	// New makes the Go type of this form; nil for the hub.
	New     func() runtime.Object
	NewList func() runtime.Object
	// Default fills in that version's own defaults before conversion.
	Default func(obj runtime.Object)
	// Remarks are sentences for Warning headers, one for each thing that ToHub takes
	// otherwise than it is written, because it could not be meant so. in is an
	// object of this form before Default; nil: ToHub does nothing of the kind.
	Remarks func(in runtime.Object) []string
	// ToHub and FromHub convert; in is left alone, parts of it may be shared.
	ToHub   func(in runtime.Object) (Object, error)
	FromHub func(in Object) (runtime.Object, error)
	// Validate judges a write through this form, where that differs from the kind's
	// rules; old is nil on creation.
	Validate func(obj, old Object) field.ErrorList
	// FieldLabels are the fields that are selectable through this form, by its own
	// names for them, and their names in Kind.Fields; nil means all of Kind.Fields.
	FieldLabels map[string]string
	// Deprecated is the text of the Warning header; "" for a current version.
	Deprecated string
	// Old versions disappear with --old-api-versions=false.
	Old bool
}

// Subresource is a part of an object with a path of its own.
type Subresource struct {
	// Verbs that exist: "get", "update", "patch" for status and scale; "create" for
	// binding, eviction, token; "get" for log; "create", "get" for exec.
	Verbs []string
	// Kind is what the subresource reads and writes, where that is not the parent.
	Kind schema.GroupVersionKind
	// PrepareUpdate and ValidateUpdate judge a write of the parent through this
	// subresource (status, resize, ephemeralcontainers, approval, finalize).
	PrepareUpdate  func(obj, old Object)
	ValidateUpdate func(obj, old Object) field.ErrorList
	// Get and Set make a view of the parent, such as Scale. Set returns a changed
	// copy of the parent.
	Get func(obj Object) (runtime.Object, error)
	Set func(obj Object, view runtime.Object) (Object, error)
	// Base, if set, is the view that a write begins with instead of Get's.
	Base func(obj Object) (runtime.Object, error)
	// Create acts on a posted view of the parent where the answer is not the parent
	// (nil: the API server has the handler: binding, eviction, token, exec, ...).
	Create func(ctx context.Context, obj Object, in runtime.Object) (runtime.Object, error)
	// Reset are the paths of managed fields that a write through here may not own.
	// See structured-merge-diff fieldpath; written as dotted paths, "status".
	Reset []string
}

// GVK is the hub's.
func (k *Kind) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: k.Kind}
}

// GroupResource names the kind in errors and RBAC.
func (k *Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.Group, Resource: k.Resource}
}

// HasVerb tells whether the kind itself answers verb.
func (k *Kind) HasVerb(verb string) bool {
	if k.Verbs == nil {
		return true
	}
	for _, v := range k.Verbs {
		if v == verb {
			return true
		}
	}
	return false
}
