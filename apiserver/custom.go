package apiserver

import (
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/dynamic"
)

// This file is what requests for custom resources do otherwise than those for
// built-in kinds (apiextensions-apiserver, customresource_handler.go).

// kindOf finds the kind that serves gvr, built in or custom.
func (s *Server) kindOf(gvr schema.GroupVersionResource) (*kinds.Kind, bool) {
	if k, ok := s.table.ByGVR(gvr); ok {
		return k, true
	}
	return s.custom.ByGVR(gvr)
}

// kindByGVK is kindOf by the kind's name.
func (s *Server) kindByGVK(gvk schema.GroupVersionKind) (*kinds.Kind, bool) {
	if k, ok := s.table.ByGVK(gvk); ok {
		return k, true
	}
	return s.custom.ByGVK(gvk)
}

// kindByResource finds the kind of a resource in whatever version.
func (s *Server) kindByResource(gr schema.GroupResource) (*kinds.Kind, bool) {
	if k, ok := s.table.ByResource(gr); ok {
		return k, true
	}
	return s.custom.ByResource(gr)
}

// findCustom refuses paths that the definition does not have.
func (c *call) findCustom() bool {
	in := &c.info
	everywhere := in.Verb == "list" || in.Verb == "watch"
	if !c.kind.Namespaced && in.Namespace != "" || c.kind.Namespaced && in.Namespace == "" && !everywhere || in.Verb == "proxy" {
		c.plainNotFound()
		return false
	}
	return true
}

// custom dispatches a request for a custom resource.
func (c *call) custom() {
	in := &c.info
	gr := c.kind.GroupResource()
	switch {
	case in.Sub != "":
		row, ok := c.kind.Subresources[in.Sub]
		if !ok {
			c.fail(apierrors.NewNotFound(gr, in.Name))
			return
		}
		if in.Verb != "get" && in.Verb != "update" && in.Verb != "patch" || c.r.Method == http.MethodHead {
			c.fail(apierrors.NewMethodNotSupported(gr, in.Verb))
			return
		}
		if !c.negotiate(false) {
			return
		}
		switch {
		case row.Get != nil:
			c.view(&row)
		case in.Verb == "get":
			c.get()
		case in.Verb == "update":
			c.put(in.Sub)
		default:
			c.patchSub(in.Sub)
		}
	case in.Verb == "" || c.r.Method == http.MethodHead:
		c.fail(apierrors.NewMethodNotSupported(gr, in.Verb))
	case in.Name == "" && (in.Verb == "update" || in.Verb == "patch"):
		c.fail(apierrors.NewBadRequest("name must be provided"))
	case c.negotiate(in.Verb == "list" || in.Verb == "watch"):
		c.verb()
	}
}

// decodedCustom judges what was read as an object of a custom kind: unknown fields
// go, and the type must be the one that the path says.
func (c *call) decodedCustom(into *dynamic.Object, have, want schema.GroupVersionKind, strict codec.Strict) (unknown []error, err error) {
	if have.Kind == want.Kind {
		var paths []string
		if have.Version == want.Version {
			paths, err = c.kind.Custom.Coerce(into, strict == codec.Report)
		} else if strict == codec.Report {
			// No schema knows the fields of a version that is not there.
			for name := range into.Fields {
				paths = append(paths, name)
			}
		}
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", have.Kind, have.Version, want.Kind, err))
		}
		for _, p := range paths {
			unknown = append(unknown, codec.UnknownField(p))
		}
	}
	return unknown, nil
}

// wrongCustom words a body of another type.
func wrongCustom(obj *dynamic.Object, have, want schema.GroupVersionKind) error {
	if have.GroupVersion() != want.GroupVersion() {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", have.GroupVersion(), want.GroupVersion()))
	}
	return apierrors.NewInvalid(have.GroupKind(), obj.Name, field.ErrorList{
		field.Invalid(field.NewPath("kind"), have.Kind, "must be "+want.Kind)})
}

// form is an entry's object in the version that the call speaks.
func (c *call) form(e *cache.Entry) (kinds.Object, error) {
	if c.kind.Custom == nil {
		return e.Object, nil
	}
	return formOf(c.kind, e.Object)
}

func formOf(k *kinds.Kind, obj kinds.Object) (kinds.Object, error) {
	if k.FromCache == nil {
		return obj, nil
	}
	return k.FromCache(obj)
}
