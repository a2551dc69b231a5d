package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/kinds"
)

// InProcess is controller-runtime's client and cache over a Backend: no HTTP and
// no encoding. Reads, through either interface, are answered from the server's
// own objects and are never stale; only lists by an index of IndexField come from
// an informer and may trail the writes by the events not yet delivered. What Get
// and List fill in belongs to the caller, unless UnsafeDisableDeepCopy is asked
// for; what informers hand to handlers is shared and must not be changed.
//
// It needs no Start to read and write; Start runs the informers.
type InProcess struct {
	// Log hears of informers that have to begin again; set it before Start.
	Log *slog.Logger

	backend Backend
	scheme  *runtime.Scheme
	mapper  *restMapper

	mu        sync.Mutex
	informers map[followed]*informer
	startCtx  context.Context // nil until Start
	running   sync.WaitGroup
	started   chan struct{}
}

var (
	_ crclient.WithWatch = (*InProcess)(nil)
	_ cache.Cache        = (*InProcess)(nil)
)

// KindLister is what a Backend may offer besides: every kind that it serves now,
// built in or custom. Without it only the kinds of the scheme are found where a
// kind is looked for by less than its full name.
type KindLister interface {
	Kinds() []*kinds.Kind
}

// NewInProcess makes a client of b whose typed objects are those of scheme.
func NewInProcess(b Backend, scheme *runtime.Scheme) *InProcess {
	p := &InProcess{
		Log:     slog.New(slog.DiscardHandler),
		backend: b, scheme: scheme,
		informers: map[followed]*informer{},
		started:   make(chan struct{}),
	}
	p.mapper = &restMapper{p: p}
	return p
}

// Scheme maps Go types to kinds.
func (p *InProcess) Scheme() *runtime.Scheme { return p.scheme }

// RESTMapper answers from the kinds that the backend serves.
func (p *InProcess) RESTMapper() meta.RESTMapper { return p.mapper }

// GroupVersionKindFor names the kind of obj.
func (p *InProcess) GroupVersionKindFor(obj runtime.Object) (schema.GroupVersionKind, error) {
	t, err := p.resolve(obj)
	return t.gvk, err
}

// IsObjectNamespaced tells whether obj's kind lives in namespaces.
func (p *InProcess) IsObjectNamespaced(obj runtime.Object) (bool, error) {
	t, err := p.resolve(obj)
	if err != nil {
		return false, err
	}
	return t.kind.Namespaced, nil
}

// Get fills obj with the object that key names.
func (p *InProcess) Get(ctx context.Context, key crclient.ObjectKey, obj crclient.Object, opts ...crclient.GetOption) error {
	o := crclient.GetOptions{}
	o.ApplyOptions(opts)
	t, err := p.resolve(obj)
	if err != nil {
		return err
	}
	if err := t.checkName(key.Namespace, key.Name); err != nil {
		return err
	}
	if !t.kind.Namespaced {
		key.Namespace = ""
	}
	found, err := p.backend.Get(ctx, t.kind, key.Namespace, key.Name)
	if err != nil {
		return err
	}
	return t.into(obj, found, o.UnsafeDisableDeepCopy != nil && *o.UnsafeDisableDeepCopy)
}

// List fills list with the objects that match, sorted by namespace and name.
func (p *InProcess) List(ctx context.Context, list crclient.ObjectList, opts ...crclient.ListOption) error {
	o := crclient.ListOptions{}
	o.ApplyOptions(opts)
	t, err := p.resolve(list)
	if err != nil {
		return err
	}
	found, revision, err := p.find(ctx, t, &o)
	if err != nil {
		return err
	}
	found, next, err := page(found, o.Limit, o.Continue)
	if err != nil {
		return err
	}
	share := o.UnsafeDisableDeepCopy != nil && *o.UnsafeDisableDeepCopy
	if err := t.fillList(list, found, share); err != nil {
		return err
	}
	list.SetResourceVersion(strconv.FormatInt(revision, 10))
	list.SetContinue(next)
	return nil
}

// find returns the shared objects that a list asks for.
func (p *InProcess) find(ctx context.Context, t target, o *crclient.ListOptions) ([]kinds.Object, int64, error) {
	namespace := o.Namespace
	if !t.kind.Namespaced {
		namespace = ""
	}
	if o.FieldSelector == nil || o.FieldSelector.Empty() {
		return p.backend.List(ctx, t.kind, namespace, o.LabelSelector)
	}
	if objs, ok, err := p.byIndex(ctx, t, namespace, o.LabelSelector, o.FieldSelector); ok || err != nil {
		return objs, 0, err
	}
	match, err := fieldMatcher(t.kind, o.FieldSelector)
	if err != nil {
		return nil, 0, err
	}
	objs, revision, err := p.backend.List(ctx, t.kind, namespace, o.LabelSelector)
	if err != nil {
		return nil, 0, err
	}
	kept := objs[:0:0]
	for _, obj := range objs {
		if match(obj) {
			kept = append(kept, obj)
		}
	}
	return kept, revision, nil
}

// fieldMatcher judges objects by the selectable fields of their kind.
func fieldMatcher(k *kinds.Kind, sel fields.Selector) (func(kinds.Object) bool, error) {
	type rule struct {
		get   func(kinds.Object) string
		value string
		equal bool
	}
	var rules []rule
	for _, r := range sel.Requirements() {
		get := fieldOf(k, r.Field)
		if get == nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", r.Field))
		}
		rules = append(rules, rule{get, r.Value, r.Operator != selection.NotEquals})
	}
	return func(obj kinds.Object) bool {
		for _, r := range rules {
			if (r.get(obj) == r.value) != r.equal {
				return false
			}
		}
		return true
	}, nil
}

func fieldOf(k *kinds.Kind, field string) func(kinds.Object) string {
	switch field {
	case "metadata.name":
		return func(o kinds.Object) string { return o.GetName() }
	case "metadata.namespace":
		return func(o kinds.Object) string { return o.GetNamespace() }
	}
	return k.Fields[field]
}

// page cuts a list. The token names the last object answered; the next page goes
// on behind it in the state of that moment, as Kubernetes' inconsistent
// continuation does.
func page(objs []kinds.Object, limit int64, token string) (out []kinds.Object, next string, err error) {
	if token != "" {
		raw, err := base64.RawURLEncoding.DecodeString(token)
		namespace, name, ok := strings.Cut(string(raw), "/")
		if err != nil || !ok {
			return nil, "", apierrors.NewBadRequest("continue key is not valid")
		}
		at := sort.Search(len(objs), func(i int) bool {
			o := objs[i]
			if o.GetNamespace() != namespace {
				return o.GetNamespace() > namespace
			}
			return o.GetName() > name
		})
		objs = objs[at:]
	}
	if limit > 0 && int64(len(objs)) > limit {
		objs = objs[:limit]
		last := objs[limit-1]
		next = base64.RawURLEncoding.EncodeToString([]byte(last.GetNamespace() + "/" + last.GetName()))
	}
	return objs, next, nil
}

// Kinds lists what the backend serves; see KindSource.
func (p *InProcess) Kinds(context.Context) ([]Served, error) {
	var out []Served
	for _, k := range p.allKinds() {
		if k.Virtual {
			continue
		}
		out = append(out, Served{
			GroupVersionKind: k.GVK(), Resource: k.Resource, Namespaced: k.Namespaced, Verbs: verbsOf(k),
		})
	}
	return out, nil
}

func (p *InProcess) allKinds() []*kinds.Kind {
	if l, ok := p.backend.(KindLister); ok {
		return l.Kinds()
	}
	seen := map[*kinds.Kind]bool{}
	var out []*kinds.Kind
	for gvk := range p.scheme.AllKnownTypes() {
		if k, ok := p.backend.Kind(gvk); ok && !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Group != out[j].Group {
			return out[i].Group < out[j].Group
		}
		return out[i].Kind < out[j].Kind
	})
	return out
}

func verbsOf(k *kinds.Kind) metav1.Verbs {
	if k.Verbs != nil {
		return k.Verbs
	}
	return metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

var errNoNamespace = errors.New("an empty namespace may not be set when a resource name is provided")

func (t target) checkName(namespace, name string) error {
	if name == "" {
		return errors.New("resource name may not be empty")
	}
	if t.kind.Namespaced && namespace == "" {
		return errNoNamespace
	}
	return nil
}

func matches(sel labels.Selector, obj kinds.Object) bool {
	return sel == nil || sel.Empty() || sel.Matches(labels.Set(obj.GetLabels()))
}
