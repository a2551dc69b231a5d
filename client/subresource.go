package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Status writes the status subresource.
func (p *InProcess) Status() crclient.SubResourceWriter { return p.SubResource("status") }

// SubResource reads and writes one subresource.
func (p *InProcess) SubResource(name string) crclient.SubResourceClient {
	return &subresource{p: p, name: name}
}

type subresource struct {
	p    *InProcess
	name string
}

var errSubDryRun = errors.New("client: a posted subresource has no dry run in process")

func (s *subresource) Get(ctx context.Context, obj, sub crclient.Object, _ ...crclient.SubResourceGetOption) error {
	t, err := s.p.resolve(obj)
	if err != nil {
		return err
	}
	if err := t.checkName(obj.GetNamespace(), obj.GetName()); err != nil {
		return err
	}
	out, err := s.p.backend.GetSub(ctx, t.kind, t.namespace(obj), obj.GetName(), s.name)
	if err != nil {
		return err
	}
	return target{}.assign(sub, out.DeepCopyObject())
}

func (s *subresource) Create(ctx context.Context, obj, sub crclient.Object, opts ...crclient.SubResourceCreateOption) error {
	o := crclient.SubResourceCreateOptions{}
	o.ApplyOptions(opts)
	if len(o.DryRun) > 0 {
		return errSubDryRun
	}
	t, err := s.p.resolve(obj)
	if err != nil {
		return err
	}
	if err := t.checkName(obj.GetNamespace(), obj.GetName()); err != nil {
		return err
	}
	if sub.GetName() == "" {
		sub.SetName(obj.GetName())
	}
	out, err := s.p.backend.PostSub(ctx, t.kind, t.namespace(obj), obj.GetName(), s.name, sub.DeepCopyObject())
	if err != nil {
		return err
	}
	// Binding and eviction answer with a Status, which says nothing more.
	if out == nil || reflect.TypeOf(out) != reflect.TypeOf(sub) {
		return nil
	}
	return target{}.assign(sub, out.DeepCopyObject())
}

func (s *subresource) Update(ctx context.Context, obj crclient.Object, opts ...crclient.SubResourceUpdateOption) error {
	o := crclient.SubResourceUpdateOptions{}
	o.ApplyOptions(opts)
	body := o.SubResourceBody
	if body == nil || body == obj {
		return s.p.update(ctx, obj, s.name, o.AsUpdateOptions())
	}
	if body.GetName() == "" {
		body.SetName(obj.GetName())
	}
	if body.GetNamespace() == "" {
		body.SetNamespace(obj.GetNamespace())
	}
	u := o.AsUpdateOptions()
	po := (&crclient.PatchOptions{DryRun: u.DryRun, FieldManager: u.FieldManager}).AsPatchOptions()
	patch, err := wholePatch(body)
	if err != nil {
		return err
	}
	return s.p.patch(ctx, obj, body, s.name, crclient.RawPatch(types.MergePatchType, patch), po)
}

// wholePatch is a view of an object, such as Scale, as a patch that sets what can
// be set: its spec, guarded by its resourceVersion.
func wholePatch(body crclient.Object) ([]byte, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(body)
	if err != nil {
		return nil, fmt.Errorf("client: %T: %w", body, err)
	}
	out := map[string]any{"spec": m["spec"]}
	if rv := body.GetResourceVersion(); rv != "" {
		out["metadata"] = map[string]any{"resourceVersion": rv}
	}
	return json.Marshal(out)
}

func (s *subresource) Patch(ctx context.Context, obj crclient.Object, patch crclient.Patch, opts ...crclient.SubResourcePatchOption) error {
	o := crclient.SubResourcePatchOptions{}
	o.ApplyOptions(opts)
	body := obj
	if o.SubResourceBody != nil {
		body = o.SubResourceBody
	}
	return s.p.patch(ctx, obj, body, s.name, patch, o.AsPatchOptions())
}

func (s *subresource) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...crclient.SubResourceApplyOption) error {
	o := crclient.SubResourceApplyOptions{}
	o.ApplyOpts(opts)
	body := obj
	if o.SubResourceBody != nil {
		body = o.SubResourceBody
	}
	return s.p.apply(ctx, obj, body, s.name, o.AsPatchOptions())
}
