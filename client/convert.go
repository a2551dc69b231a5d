package client

import (
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"skiff.dev/skiff/kinds"
)

// form is how a caller wants to see objects.
type form int

const (
	formHub          form = iota // the hub's Go type: nothing to convert
	formVersion                  // the Go type of another served version
	formUnstructured             // maps, in any served version
	formMetadata                 // metadata only
)

// target is what a caller's Go value stands for.
type target struct {
	kind    *kinds.Kind
	gvk     schema.GroupVersionKind // as asked for; never a list kind
	form    form
	version *kinds.Version // nil for the hub
	scheme  *runtime.Scheme
}

// resolve finds the kind and form of an object or a list of objects.
func (p *InProcess) resolve(obj runtime.Object) (target, error) {
	gvk, err := apiutil.GVKForObject(obj, p.scheme)
	if err != nil {
		return target{}, err
	}
	if meta.IsListType(obj) {
		gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	}
	t, err := p.resolveKind(gvk)
	if err != nil {
		return target{}, err
	}
	switch obj.(type) {
	case *metav1.PartialObjectMetadata, *metav1.PartialObjectMetadataList:
		t.form = formMetadata
	case runtime.Unstructured:
		t.form = formUnstructured
	}
	return t, nil
}

// resolveKind is the target of the Go type of gvk.
func (p *InProcess) resolveKind(gvk schema.GroupVersionKind) (target, error) {
	k, ok := p.backend.Kind(gvk)
	if !ok {
		return target{}, &meta.NoKindMatchError{GroupKind: gvk.GroupKind(), SearchedVersions: []string{gvk.Version}}
	}
	t := target{kind: k, gvk: gvk, scheme: p.scheme}
	if gvk != k.GVK() {
		t.form = formVersion
		t.version, _ = k.ServedAs(gvk.GroupVersion())
	}
	return t, nil
}

// view shows a shared object in the target's form. It is shared and immutable
// too; the hub form is obj itself.
func (t target) view(obj kinds.Object) (crclient.Object, error) {
	if t.kind != nil && t.kind.Custom != nil && t.form != formMetadata {
		return t.customView(obj)
	}
	switch t.form {
	case formHub:
		return obj, nil
	case formMetadata:
		return t.metadata(obj), nil
	case formUnstructured:
		return t.unstructured(obj)
	}
	out, err := t.fromHub(obj)
	if err != nil {
		return nil, err
	}
	o, ok := out.(crclient.Object)
	if !ok {
		return nil, fmt.Errorf("client: %T is not an object", out)
	}
	return o, nil
}

func (t target) fromHub(obj kinds.Object) (runtime.Object, error) {
	if t.version == nil || t.version.FromHub == nil {
		return obj, nil
	}
	out, err := t.version.FromHub(obj)
	if err != nil {
		return nil, fmt.Errorf("client: convert %s %s to %s: %w", t.kind.Kind, obj.GetName(), t.gvk.GroupVersion(), err)
	}
	return out, nil
}

func (t target) metadata(obj kinds.Object) *metav1.PartialObjectMetadata {
	out := &metav1.PartialObjectMetadata{}
	out.SetGroupVersionKind(t.gvk)
	if a, ok := obj.(metav1.ObjectMetaAccessor); ok {
		if m, ok := a.GetObjectMeta().(*metav1.ObjectMeta); ok {
			out.ObjectMeta = *m
			return out
		}
	}
	out.ObjectMeta = metav1.ObjectMeta{
		Name: obj.GetName(), GenerateName: obj.GetGenerateName(), Namespace: obj.GetNamespace(),
		UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(), Generation: obj.GetGeneration(),
		CreationTimestamp: obj.GetCreationTimestamp(), DeletionTimestamp: obj.GetDeletionTimestamp(),
		DeletionGracePeriodSeconds: obj.GetDeletionGracePeriodSeconds(), Labels: obj.GetLabels(),
		Annotations: obj.GetAnnotations(), OwnerReferences: obj.GetOwnerReferences(),
		Finalizers: obj.GetFinalizers(), ManagedFields: obj.GetManagedFields(),
	}
	return out
}

func (t target) unstructured(obj kinds.Object) (*unstructured.Unstructured, error) {
	if t.kind.Custom != nil {
		m, err := t.contents(obj)
		return &unstructured.Unstructured{Object: m}, err
	}
	in, err := t.fromHub(obj)
	if err != nil {
		return nil, err
	}
	if u, ok := in.(*unstructured.Unstructured); ok {
		if u.GroupVersionKind() == t.gvk {
			return u, nil
		}
		u = u.DeepCopy()
		u.SetGroupVersionKind(t.gvk)
		return u, nil
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(in)
	if err != nil {
		return nil, fmt.Errorf("client: %s %s as a map: %w", t.kind.Kind, obj.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(t.gvk)
	return u, nil
}

// into fills dst, which the caller owns. With share, maps and slices stay those of
// the shared object.
func (t target) into(dst crclient.Object, obj kinds.Object, share bool) error {
	src, err := t.view(obj)
	if err != nil {
		return err
	}
	if !share {
		src = src.DeepCopyObject().(crclient.Object)
	}
	if u, ok := dst.(*unstructured.Unstructured); ok {
		u.Object = src.(*unstructured.Unstructured).Object
		return nil
	}
	return t.assign(dst, src)
}

// assign sets *dst to *src, which the caller owns at least shallowly.
func (t target) assign(dst, src runtime.Object) error {
	to, from := reflect.ValueOf(dst), reflect.ValueOf(src)
	if to.Type() != from.Type() {
		return fmt.Errorf("client: the server has %s, %s was asked for", from.Type(), to.Type())
	}
	to.Elem().Set(from.Elem())
	if t.kind != nil {
		dst.GetObjectKind().SetGroupVersionKind(t.gvk)
	}
	return nil
}

// fillList sets the items of list.
func (t target) fillList(list crclient.ObjectList, objs []kinds.Object, share bool) error {
	items := make([]runtime.Object, 0, len(objs))
	for _, obj := range objs {
		v, err := t.view(obj)
		if err != nil {
			return err
		}
		if !share {
			v = v.DeepCopyObject().(crclient.Object)
		}
		items = append(items, v)
	}
	if u, ok := list.(*unstructured.UnstructuredList); ok && u.Object == nil {
		u.Object = map[string]any{}
	}
	if err := meta.SetList(list, items); err != nil {
		return fmt.Errorf("client: list of %s: %w", t.kind.Kind, err)
	}
	gvk := t.gvk
	gvk.Kind += "List"
	list.GetObjectKind().SetGroupVersionKind(gvk)
	return nil
}

// hub makes an object of the hub type, owned by nobody else, of a caller's object.
func (t target) hub(obj crclient.Object) (kinds.Object, error) {
	if t.kind.Custom != nil {
		return t.customHub(obj)
	}
	switch t.form {
	case formHub:
		return bare(obj.DeepCopyObject().(kinds.Object)), nil
	case formMetadata:
		return nil, fmt.Errorf("client: %s cannot be written whole by metadata alone", t.kind.Kind)
	}
	var in runtime.Object = obj.DeepCopyObject()
	if u, ok := in.(*unstructured.Unstructured); ok {
		typed := t.kind.New().(runtime.Object)
		if t.version != nil && t.version.New != nil {
			typed = t.version.New()
		}
		if _, custom := typed.(*unstructured.Unstructured); !custom {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
				return nil, fmt.Errorf("client: %s %s from a map: %w", t.kind.Kind, obj.GetName(), err)
			}
			in = typed
		}
	}
	if t.version != nil && t.version.ToHub != nil {
		if t.version.Default != nil {
			t.version.Default(in)
		}
		out, err := t.version.ToHub(in)
		if err != nil {
			return nil, fmt.Errorf("client: convert %s %s from %s: %w", t.kind.Kind, obj.GetName(), t.gvk.GroupVersion(), err)
		}
		return bare(out), nil
	}
	out, ok := in.(kinds.Object)
	if !ok {
		return nil, fmt.Errorf("client: %T is not an object", in)
	}
	if u, ok := out.(*unstructured.Unstructured); ok {
		u.SetGroupVersionKind(t.kind.GVK())
		return u, nil
	}
	return bare(out), nil
}

// bare takes away the kind's name, which typed objects in the server do not carry.
func bare(obj kinds.Object) kinds.Object {
	if _, ok := obj.(*unstructured.Unstructured); !ok {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
	return obj
}
