package client

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

// restMapper is a meta.RESTMapper over the kinds that a backend serves now.
type restMapper struct{ p *InProcess }

var _ meta.RESTMapper = (*restMapper)(nil)

// served lists the forms of every kind that has resource's name, hub forms first.
func (m *restMapper) served(want schema.GroupVersionResource) []schema.GroupVersionKind {
	var hubs, others []schema.GroupVersionKind
	for _, k := range m.p.allKinds() {
		if want.Resource != k.Resource && want.Resource != k.Singular && want.Resource != strings.ToLower(k.Kind) {
			continue
		}
		for _, v := range k.Served {
			// As Kubernetes' mappers do, a group may be given by its beginning.
			if want.Group != "" && v.Group != want.Group && !strings.HasPrefix(v.Group, want.Group) ||
				want.Version != "" && v.Version != want.Version {
				continue
			}
			gvk := formGVK(k, &v)
			if gvk == k.GVK() {
				hubs = append(hubs, gvk)
			} else {
				others = append(others, gvk)
			}
		}
	}
	return append(hubs, others...)
}

func formGVK(k *kinds.Kind, v *kinds.Version) schema.GroupVersionKind {
	kind := k.Kind
	if v.Kind != "" {
		kind = v.Kind
	}
	return schema.GroupVersionKind{Group: v.Group, Version: v.Version, Kind: kind}
}

func (m *restMapper) KindsFor(r schema.GroupVersionResource) ([]schema.GroupVersionKind, error) {
	found := m.served(r)
	if len(found) == 0 {
		return nil, &meta.NoResourceMatchError{PartialResource: r}
	}
	return found, nil
}

func (m *restMapper) KindFor(r schema.GroupVersionResource) (schema.GroupVersionKind, error) {
	found, err := m.KindsFor(r)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	return found[0], nil
}

func (m *restMapper) ResourcesFor(r schema.GroupVersionResource) ([]schema.GroupVersionResource, error) {
	found, err := m.KindsFor(r)
	if err != nil {
		return nil, err
	}
	var out []schema.GroupVersionResource
	for _, gvk := range found {
		if k, ok := m.p.backend.Kind(gvk); ok {
			out = append(out, gvk.GroupVersion().WithResource(k.Resource))
		}
	}
	return out, nil
}

func (m *restMapper) ResourceFor(r schema.GroupVersionResource) (schema.GroupVersionResource, error) {
	found, err := m.ResourcesFor(r)
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	return found[0], nil
}

func (m *restMapper) RESTMappings(gk schema.GroupKind, versions ...string) ([]*meta.RESTMapping, error) {
	var out []*meta.RESTMapping
	add := func(gvk schema.GroupVersionKind) {
		k, ok := m.p.backend.Kind(gvk)
		if !ok {
			return
		}
		scope := meta.RESTScope(meta.RESTScopeRoot)
		if k.Namespaced {
			scope = meta.RESTScopeNamespace
		}
		out = append(out, &meta.RESTMapping{
			Resource: gvk.GroupVersion().WithResource(k.Resource), GroupVersionKind: gvk, Scope: scope,
		})
	}
	for _, v := range versions {
		if v != "" {
			add(gk.WithVersion(v))
		}
	}
	if len(out) == 0 && len(versions) == 0 {
		for _, k := range m.p.allKinds() {
			for _, v := range k.Served {
				if gvk := formGVK(k, &v); gvk.GroupKind() == gk {
					add(gvk)
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, &meta.NoKindMatchError{GroupKind: gk, SearchedVersions: versions}
	}
	return out, nil
}

func (m *restMapper) RESTMapping(gk schema.GroupKind, versions ...string) (*meta.RESTMapping, error) {
	found, err := m.RESTMappings(gk, versions...)
	if err != nil {
		return nil, err
	}
	return found[0], nil
}

func (m *restMapper) ResourceSingularizer(resource string) (string, error) {
	for _, k := range m.p.allKinds() {
		if k.Resource == resource && k.Singular != "" {
			return k.Singular, nil
		}
	}
	return resource, nil
}
