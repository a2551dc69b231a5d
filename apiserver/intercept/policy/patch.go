package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	celtypes "github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"google.golang.org/protobuf/types/known/structpb"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionreview "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	k8s "k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/mutation"
	celdynamic "k8s.io/apiserver/pkg/cel/mutation/dynamic"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds/admissionregistration/expression"
)

// patcher is one mutation of a policy: an expression, and what to do with its value.
type patcher interface {
	evaluate(ctx context.Context, attr *k8s.VersionedAttributes, r *admissionreview.AdmissionRequest, vars plugincel.OptionalVariableBindings, ns *corev1.Namespace) (ref.Val, error)
	apply(x *passage, gvk schema.GroupVersionKind, attr *k8s.VersionedAttributes, v ref.Val) error
}

func evaluate(ctx context.Context, m *expression.Mutation, attr *k8s.VersionedAttributes, r *admissionreview.AdmissionRequest, vars plugincel.OptionalVariableBindings, ns *corev1.Namespace) (ref.Val, error) {
	if errs := m.CompilationErrors(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	out, _, err := m.ForInput(ctx, attr, r, vars, ns, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return nil, err
	}
	return out.EvalResult, out.Error
}

// jsonPatcher's expression makes operations (policy/mutating/patch, jsonPatcher).
type jsonPatcher struct{ *expression.Mutation }

func (p *jsonPatcher) evaluate(ctx context.Context, attr *k8s.VersionedAttributes, r *admissionreview.AdmissionRequest, vars plugincel.OptionalVariableBindings, ns *corev1.Namespace) (ref.Val, error) {
	return evaluate(ctx, p.Mutation, attr, r, vars, ns)
}

func (p *jsonPatcher) apply(x *passage, gvk schema.GroupVersionKind, _ *k8s.VersionedAttributes, v ref.Val) error {
	ops, err := operations(v)
	if err != nil {
		return err
	}
	form, err := x.a.Object(gvk)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	doc, err := codec.Object(codec.JSON, gvk, form)
	if err != nil {
		return fmt.Errorf("failed to create JSON patch: %w", err)
	}
	doc, err = codec.ApplyOperations(doc, ops)
	switch {
	case errors.Is(err, jsonpatch.ErrTestFailed):
		return nil // the object is not what the patch is for
	case err != nil:
		return fmt.Errorf("JSON Patch: %w", err)
	}
	if err := x.replace(gvk, doc); err != nil {
		return apierrors.NewInternalError(err)
	}
	return nil
}

// operations makes a patch of a list of JSONPatch values.
func operations(v ref.Val) (jsonpatch.Patch, error) {
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, errors.New("type mismatch: JSONPatchType.expression should evaluate to array")
	}
	ops := jsonpatch.Patch{}
	for it := list.Iterator(); it.HasNext() == celtypes.True; {
		native, err := it.Next().ConvertToNative(reflect.TypeFor[*mutation.JSONPatchVal]())
		if err != nil {
			return nil, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch: %w", err)
		}
		p, ok := native.(*mutation.JSONPatchVal)
		if !ok {
			return nil, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of %T", native)
		}
		op, err := operation(p)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func operation(p *mutation.JSONPatchVal) (jsonpatch.Operation, error) {
	raw := func(text string) *json.RawMessage {
		m := json.RawMessage(strconv.Quote(text))
		return &m
	}
	op := jsonpatch.Operation{"op": raw(p.Op), "path": raw(p.Path)}
	if p.From != "" {
		op["from"] = raw(p.From)
	}
	if p.Val == nil {
		return op, nil
	}
	if o, ok := p.Val.(*celdynamic.ObjectVal); ok {
		if err := o.CheckTypeNamesMatchFieldPathNames(); err != nil {
			return nil, fmt.Errorf("type mismatch: %w", err)
		}
	}
	v, err := p.Val.ConvertToNative(reflect.TypeFor[*structpb.Value]())
	if err != nil {
		return nil, fmt.Errorf("JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w", err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w", err)
	}
	m := json.RawMessage(b)
	op["value"] = &m
	return op, nil
}

// applyPatcher's expression makes an object that is merged into the request's
// (policy/mutating/patch, applyConfigPatcher).
type applyPatcher struct{ *expression.Mutation }

func (p *applyPatcher) evaluate(ctx context.Context, attr *k8s.VersionedAttributes, r *admissionreview.AdmissionRequest, vars plugincel.OptionalVariableBindings, ns *corev1.Namespace) (ref.Val, error) {
	return evaluate(ctx, p.Mutation, attr, r, vars, ns)
}

func (p *applyPatcher) apply(x *passage, gvk schema.GroupVersionKind, attr *k8s.VersionedAttributes, v ref.Val) error {
	o, ok := v.(*celdynamic.ObjectVal)
	if !ok {
		return fmt.Errorf("unsupported return type from ApplyConfiguration expression: %v", v.Type())
	}
	if err := o.CheckTypeNamesMatchFieldPathNames(); err != nil {
		return fmt.Errorf("type mismatch: %w", err)
	}
	content, ok := o.Value().(map[string]any)
	if !ok {
		return fmt.Errorf("invalid return type: %T", v)
	}
	types, err := x.converter()
	if err != nil {
		return apierrors.NewServiceUnavailable(fmt.Sprintf("Resource kind %s not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.", gvk))
	}
	patch := &unstructured.Unstructured{Object: content}
	patch.SetGroupVersionKind(gvk)
	merged, err := merge(types, attr.VersionedObject, patch)
	if err != nil {
		return fmt.Errorf("error applying patch: %w", err)
	}
	doc, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	return x.replace(gvk, doc)
}

// converter makes typed values of what the request is about.
func (x *passage) converter() (managedfields.TypeConverter, error) {
	if x.types == nil {
		return nil, errors.New("policy: types are not known")
	}
	if x.r.View != nil {
		return x.types(nil)
	}
	return x.types(x.r.Kind)
}

// merge merges patch into live (policy/mutating/patch, ApplyStructuredMergeDiff).
func merge(types managedfields.TypeConverter, live runtime.Object, patch *unstructured.Unstructured) (runtime.Object, error) {
	change, err := types.ObjectToTyped(patch)
	if err != nil {
		return nil, fmt.Errorf("failed to convert patch object to typed object: %w", err)
	}
	if found := atomics(nil, change.Schema(), change.TypeRef(), change.AsValue()); len(found) > 0 {
		return nil, fmt.Errorf("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: %v", strings.Join(found, ", "))
	}
	was, err := types.ObjectToTyped(live, typed.AllowDuplicates)
	if err != nil {
		return nil, fmt.Errorf("failed to convert original object to typed object: %w", err)
	}
	made, err := was.Merge(change)
	if err != nil {
		return nil, fmt.Errorf("failed to merge patch: %w", err)
	}
	out, err := types.TypedToObject(made)
	if err != nil {
		return nil, fmt.Errorf("failed to convert typed object to object: %w", err)
	}
	return out, nil
}

// atomics lists what of v can only be replaced as a whole: whoever merges a part of it
// would lose the rest unaware.
func atomics(path fieldpath.Path, s *smdschema.Schema, tr smdschema.TypeRef, v value.Value) (found []string) {
	a, ok := s.Resolve(tr)
	if !ok {
		return nil
	}
	at := func(e fieldpath.PathElement) fieldpath.Path { return append(path[:len(path):len(path)], e) }
	if v.IsMap() && a.Map != nil {
		if a.Map.ElementRelationship == smdschema.Atomic {
			found = append(found, path.String())
		}
		v.AsMap().Iterate(func(name string, val value.Value) bool {
			if f, ok := a.Map.FindField(name); ok {
				tr = f.Type
				found = append(found, atomics(at(fieldpath.PathElement{FieldName: &name}), s, tr, val)...)
			}
			return true
		})
	}
	if v.IsList() && a.List != nil {
		if a.List.ElementRelationship == smdschema.Atomic {
			found = append(found, path.String())
		}
		list := v.AsList()
		for i := range list.Length() {
			found = append(found, atomics(at(fieldpath.PathElement{Index: &i}), s, a.List.ElementType, list.At(i))...)
		}
	}
	return found
}

// replace reads doc, of the form gvk, in the place of the request's object. What a
// policy makes is to have known fields only.
func (x *passage) replace(gvk schema.GroupVersionKind, doc []byte) error {
	made, err := x.a.Decode(gvk, doc, codec.Report)
	if err != nil {
		return err
	}
	return x.a.Replace(gvk, made)
}
