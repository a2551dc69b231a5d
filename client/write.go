package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Create stores obj and fills it with what the server made of it.
func (p *InProcess) Create(ctx context.Context, obj crclient.Object, opts ...crclient.CreateOption) error {
	o := crclient.CreateOptions{}
	o.ApplyOptions(opts)
	t, err := p.resolve(obj)
	if err != nil {
		return err
	}
	in, err := t.hub(obj)
	if err != nil {
		return err
	}
	out, err := p.backend.Create(ctx, t.kind, in, o.AsCreateOptions())
	if err != nil {
		return err
	}
	return t.into(obj, out, false)
}

// Update replaces the object and fills obj with what the server made of it.
func (p *InProcess) Update(ctx context.Context, obj crclient.Object, opts ...crclient.UpdateOption) error {
	o := crclient.UpdateOptions{}
	o.ApplyOptions(opts)
	return p.update(ctx, obj, "", o.AsUpdateOptions())
}

func (p *InProcess) update(ctx context.Context, obj crclient.Object, sub string, o *metav1.UpdateOptions) error {
	t, err := p.resolve(obj)
	if err != nil {
		return err
	}
	if err := t.checkName(obj.GetNamespace(), obj.GetName()); err != nil {
		return err
	}
	in, err := t.hub(obj)
	if err != nil {
		return err
	}
	out, err := p.backend.Update(ctx, t.kind, sub, in, o)
	if err != nil {
		return err
	}
	return t.into(obj, out, false)
}

// Patch applies patch and fills obj with the result.
func (p *InProcess) Patch(ctx context.Context, obj crclient.Object, patch crclient.Patch, opts ...crclient.PatchOption) error {
	o := crclient.PatchOptions{}
	o.ApplyOptions(opts)
	return p.patch(ctx, obj, obj, "", patch, o.AsPatchOptions())
}

// patch applies a patch to a part of obj and fills body, which may be obj itself.
func (p *InProcess) patch(ctx context.Context, obj, body crclient.Object, sub string, patch crclient.Patch, o *metav1.PatchOptions) error {
	t, err := p.resolve(obj)
	if err != nil {
		return err
	}
	if err := t.checkName(obj.GetNamespace(), obj.GetName()); err != nil {
		return err
	}
	if t.version != nil && patch.Type() != types.ApplyPatchType {
		return fmt.Errorf("client: a patch of %s in process is written for %s", t.gvk, t.kind.GVK().GroupVersion())
	}
	data, err := patch.Data(body)
	if err != nil {
		return err
	}
	out, err := p.backend.Patch(ctx, t.kind, t.namespace(obj), obj.GetName(), sub, patch.Type(), data, o)
	if err != nil {
		return err
	}
	if body != obj {
		return target{}.assign(body, out.DeepCopyObject())
	}
	return t.into(obj, out, false)
}

func (t target) namespace(obj crclient.Object) string {
	if !t.kind.Namespaced {
		return ""
	}
	return obj.GetNamespace()
}

// Delete asks for the object's deletion.
func (p *InProcess) Delete(ctx context.Context, obj crclient.Object, opts ...crclient.DeleteOption) error {
	o := crclient.DeleteOptions{}
	o.ApplyOptions(opts)
	t, err := p.resolve(obj)
	if err != nil {
		return err
	}
	if err := t.checkName(obj.GetNamespace(), obj.GetName()); err != nil {
		return err
	}
	return p.backend.Delete(ctx, t.kind, t.namespace(obj), obj.GetName(), o.AsDeleteOptions())
}

// DeleteAllOf asks for the deletion of all objects of obj's kind that match.
func (p *InProcess) DeleteAllOf(ctx context.Context, obj crclient.Object, opts ...crclient.DeleteAllOfOption) error {
	o := crclient.DeleteAllOfOptions{}
	o.ApplyOptions(opts)
	t, err := p.resolve(obj)
	if err != nil {
		return err
	}
	namespace := o.Namespace
	if !t.kind.Namespaced {
		namespace = ""
	}
	if o.FieldSelector == nil || o.FieldSelector.Empty() {
		return p.backend.DeleteCollection(ctx, t.kind, namespace, o.LabelSelector, o.AsDeleteOptions())
	}
	found, _, err := p.find(ctx, t, &o.ListOptions)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		err := p.backend.Delete(ctx, t.kind, f.GetNamespace(), f.GetName(), o.AsDeleteOptions())
		errs = append(errs, crclient.IgnoreNotFound(err))
	}
	return errors.Join(errs...)
}

// Apply is server-side apply; obj is filled with the result.
func (p *InProcess) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...crclient.ApplyOption) error {
	o := crclient.ApplyOptions{}
	o.ApplyOptions(opts)
	return p.apply(ctx, obj, obj, "", o.AsPatchOptions())
}

// applied is what every apply configuration names.
type applied struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
}

func (p *InProcess) apply(ctx context.Context, obj, body runtime.ApplyConfiguration, sub string, o *metav1.PatchOptions) error {
	whole, err := json.Marshal(obj)
	if err != nil {
		return fmt.Errorf("client: apply: %w", err)
	}
	var name applied
	if err := json.Unmarshal(whole, &name); err != nil {
		return fmt.Errorf("client: apply: %w", err)
	}
	data := whole
	if body != obj {
		if data, err = json.Marshal(body); err != nil {
			return fmt.Errorf("client: apply: %w", err)
		}
	}
	gv, err := schema.ParseGroupVersion(name.APIVersion)
	if err != nil {
		return fmt.Errorf("client: apply: %w", err)
	}
	t, err := p.resolveKind(gv.WithKind(name.Kind))
	if err != nil {
		return err
	}
	if err := t.checkName(name.Metadata.Namespace, name.Metadata.Name); err != nil {
		return err
	}
	if !t.kind.Namespaced {
		name.Metadata.Namespace = ""
	}
	out, err := p.backend.Patch(ctx, t.kind, name.Metadata.Namespace, name.Metadata.Name, sub, types.ApplyPatchType, data, o)
	if err != nil {
		return err
	}
	u, err := t.unstructured(out)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(u.Object)
	if err != nil {
		return fmt.Errorf("client: apply: %w", err)
	}
	return json.Unmarshal(raw, obj)
}
