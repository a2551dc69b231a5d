package client

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

// Kinds that users define have no Go type in the server; callers see them as maps or
// as the Go types of their own scheme.

// contents is a custom resource as maps, in the target's version. What is below the
// top is the shared object's.
func (t target) contents(obj kinds.Object) (map[string]any, error) {
	o, ok := obj.(*dynamic.Object)
	if !ok {
		return nil, fmt.Errorf("client: the server has a %T of %s", obj, t.gvk)
	}
	if o.Version != t.gvk.Version {
		converted, err := t.kind.Custom.Convert(o, t.gvk.Version)
		if err != nil {
			return nil, fmt.Errorf("client: convert %s %s to %s: %w", t.kind.Kind, obj.GetName(), t.gvk.GroupVersion(), err)
		}
		if o, ok = converted.(*dynamic.Object); !ok {
			return nil, fmt.Errorf("client: conversion made a %T", converted)
		}
	}
	return o.Content(t.gvk.GroupVersion().String(), t.gvk.Kind)
}

// customView shows a custom resource in the caller's Go type.
func (t target) customView(obj kinds.Object) (crclient.Object, error) {
	m, err := t.contents(obj)
	if err != nil {
		return nil, err
	}
	if t.form == formUnstructured {
		return &unstructured.Unstructured{Object: m}, nil
	}
	typed, err := t.scheme.New(t.gvk)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, typed); err != nil {
		return nil, fmt.Errorf("client: %s %s as a %T: %w", t.kind.Kind, obj.GetName(), typed, err)
	}
	out, ok := typed.(crclient.Object)
	if !ok {
		return nil, fmt.Errorf("client: %T is not an object", typed)
	}
	return out, nil
}

// customHub makes the server's object of a caller's.
func (t target) customHub(obj crclient.Object) (kinds.Object, error) {
	if t.form == formMetadata {
		return nil, fmt.Errorf("client: %s cannot be written whole by metadata alone", t.kind.Kind)
	}
	var m map[string]any
	if u, ok := obj.(*unstructured.Unstructured); ok {
		m = u.DeepCopy().Object
	} else {
		var err error
		if m, err = runtime.DefaultUnstructuredConverter.ToUnstructured(obj); err != nil {
			return nil, fmt.Errorf("client: %s %s as a map: %w", t.kind.Kind, obj.GetName(), err)
		}
	}
	out := &dynamic.Object{}
	if meta, ok := m["metadata"].(map[string]any); ok {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(meta, &out.ObjectMeta); err != nil {
			return nil, fmt.Errorf("client: %s %s: metadata: %w", t.kind.Kind, obj.GetName(), err)
		}
	}
	out.SetContent(m)
	out.Version = t.gvk.Version
	return bare(out), nil
}
