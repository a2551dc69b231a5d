// Package match shows one request to the objects that configure admission, webhooks
// and policies, as Kubernetes shows it to them: by the names that the client used, in
// every version that the kind is served in; and decides which of them apply.
package match

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8s "k8s.io/apiserver/pkg/admission"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/authentication/user"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Attributes is one request. It implements apiserver's admission.Attributes, which
// CEL's libraries read. It belongs to one goroutine.
type Attributes struct {
	R *admission.Request

	kind     schema.GroupVersionKind
	resource schema.GroupVersionResource
	old      bool // the versions that Kubernetes has dropped are served
	options  runtime.Object
	user     user.Info

	oldForms map[schema.GroupVersionKind]runtime.Object
}

// Of shows a request. oldVersions says that versions which Kubernetes has dropped are
// served, so that rules can name them.
func Of(r *admission.Request, oldVersions bool) *Attributes {
	a := &Attributes{R: r, kind: r.Requested, old: oldVersions}
	a.resource = r.Requested.GroupVersion().WithResource(r.Kind.Resource)
	if !r.ViewKind.Empty() {
		a.kind = r.ViewKind
	}
	a.options = optionsOf(r.Options)
	u := &user.DefaultInfo{}
	if r.User != nil {
		u.Name, u.UID, u.Groups, u.Extra = r.User.Name, r.User.UID, r.User.Groups, r.User.Extra
	}
	a.user = u
	return a
}

// optionsOf are a request's options with the name of their type.
func optionsOf(o runtime.Object) runtime.Object {
	var kind string
	switch o := o.(type) {
	case *metav1.CreateOptions:
		if o == nil {
			return nil
		}
		kind = "CreateOptions"
	case *metav1.UpdateOptions:
		kind = "UpdateOptions"
	case *metav1.PatchOptions:
		kind = "PatchOptions"
	case *metav1.DeleteOptions:
		kind = "DeleteOptions"
	default:
		return nil
	}
	o = codec.Shallow(o)
	o.GetObjectKind().SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind(kind))
	return o
}

// IsConfiguration tells whether the request is for an object that configures
// admission: those are never judged by one another (webhook/predicates/rules,
// IsExemptAdmissionConfigurationResource).
func IsConfiguration(r *admission.Request) bool {
	if r.Kind.Group != "admissionregistration.k8s.io" {
		return false
	}
	switch r.Kind.Kind {
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
		"ValidatingAdmissionPolicyBinding", "MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding":
		return true
	}
	return false
}

// GetName is the name in the request's path or, where an object is created, its own.
func (a *Attributes) GetName() string {
	if a.R.InCollection {
		return ""
	}
	return a.R.Name
}

// GetNamespace is the request's; a namespace is in itself.
func (a *Attributes) GetNamespace() string {
	if a.isNamespace() {
		return a.R.Name
	}
	return a.R.Namespace
}

func (a *Attributes) isNamespace() bool {
	return a.R.Kind.Group == "" && a.R.Kind.Resource == "namespaces"
}

// GetResource is the resource as the client spoke of it.
func (a *Attributes) GetResource() schema.GroupVersionResource { return a.resource }

// GetSubresource is "" for the object itself.
func (a *Attributes) GetSubresource() string { return a.R.Subresource }

// GetOperation is the operation.
func (a *Attributes) GetOperation() k8s.Operation { return k8s.Operation(a.R.Operation) }

// GetOperationOptions are the request's options; may be nil.
func (a *Attributes) GetOperationOptions() runtime.Object { return a.options }

// IsDryRun tells whether nothing will be stored.
func (a *Attributes) IsDryRun() bool { return a.R.DryRun }

// GetObject is the new object, or what was written to a subresource; may be nil.
func (a *Attributes) GetObject() runtime.Object {
	if a.R.View != nil {
		return a.R.View
	}
	if a.R.Object != nil {
		return a.R.Object
	}
	return nil
}

// GetOldObject is the stored object, or its view; may be nil.
func (a *Attributes) GetOldObject() runtime.Object {
	if !a.R.ViewKind.Empty() {
		return a.R.OldView
	}
	if a.R.Old != nil {
		return a.R.Old
	}
	return nil
}

// GetKind is the kind of what was written.
func (a *Attributes) GetKind() schema.GroupVersionKind { return a.kind }

// GetUserInfo is who asks.
func (a *Attributes) GetUserInfo() user.Info { return a.user }

// AddAnnotation implements apiserver's Attributes, as the next two do; nothing here
// calls them.
func (a *Attributes) AddAnnotation(key, value string) error {
	return a.R.Annotate(admission.AuditAnnotation{Key: key, Value: value, Level: admission.AuditMetadata})
}

// AddAnnotationWithLevel is AddAnnotation.
func (a *Attributes) AddAnnotationWithLevel(key, value string, level auditinternal.Level) error {
	return a.R.Annotate(admission.AuditAnnotation{Key: key, Value: value, Level: admission.AuditLevel(level)})
}

// GetReinvocationContext is nil: see admission.Request.Again.
func (a *Attributes) GetReinvocationContext() k8s.ReinvocationContext { return nil }

// form is one of the versions in which the request's kind is served.
type form struct {
	kind    *kinds.Kind // its row
	version *kinds.Version
}

func (f form) gvk() schema.GroupVersionKind { return codec.GVK(f.kind, f.version) }

// forms calls f for each version until it returns false. A kind that is defined at
// run time has a row for each.
func (a *Attributes) forms(f func(form) bool) {
	k := a.R.Kind
	if k.Custom != nil {
		for _, row := range k.Custom.Rows() {
			if !f(form{row, &row.Served[0]}) {
				return
			}
		}
		return
	}
	for i := range k.Served {
		v := &k.Served[i]
		if v.Old && !a.old {
			continue
		}
		if !f(form{k, v}) {
			return
		}
	}
}

// equivalents are the resources that show the same objects, the requested one among
// them, and what they show.
func (a *Attributes) equivalents(f func(Found) bool) {
	a.forms(func(x form) bool {
		found := Found{schema.GroupVersionResource{Group: x.version.Group, Version: x.version.Version, Resource: a.R.Kind.Resource}, x.gvk()}
		if !a.R.ViewKind.Empty() {
			found.Kind = a.R.ViewKind
		}
		return f(found)
	})
}

// formOf finds the form that gvk names.
func (a *Attributes) formOf(gvk schema.GroupVersionKind) (out form, err error) {
	if a.R.Kind.Custom == nil {
		if v, ok := a.R.Kind.ServedAs(gvk.GroupVersion()); ok {
			return form{a.R.Kind, v}, nil
		}
	} else {
		a.forms(func(x form) bool {
			if x.gvk() == gvk {
				out = x
			}
			return out.kind == nil
		})
		if out.kind != nil {
			return out, nil
		}
	}
	return out, fmt.Errorf("unable to convert %s to %s", a.R.Kind.GVK(), gvk)
}

// Object is the new object in the form gvk, without its kind and apiVersion; nil
// where there is none. It may be shared.
func (a *Attributes) Object(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if !a.R.ViewKind.Empty() {
		return a.R.View, nil
	}
	if a.R.Object == nil {
		return nil, nil
	}
	return a.form(a.R.Object, gvk)
}

// Old is the stored object in the form gvk, likewise.
func (a *Attributes) Old(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if !a.R.ViewKind.Empty() {
		return a.R.OldView, nil
	}
	if a.R.Old == nil {
		return nil, nil
	}
	if o, ok := a.oldForms[gvk]; ok {
		return o, nil
	}
	o, err := a.form(a.R.Old, gvk)
	if err != nil {
		return nil, err
	}
	if a.oldForms == nil {
		a.oldForms = map[schema.GroupVersionKind]runtime.Object{}
	}
	a.oldForms[gvk] = o
	return o, nil
}

func (a *Attributes) form(hub kinds.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	f, err := a.formOf(gvk)
	if err != nil {
		return nil, err
	}
	return codec.FromHub(f.version, hub)
}

// Versioned shows the request to CEL in the form gvk. Both objects are converted
// once, to the maps that CEL reads.
func (a *Attributes) Versioned(gvk schema.GroupVersionKind) (*k8s.VersionedAttributes, error) {
	obj, err := a.Object(gvk)
	if err != nil {
		return nil, err
	}
	old, err := a.Old(gvk)
	if err != nil {
		return nil, err
	}
	out := &k8s.VersionedAttributes{Attributes: a, VersionedKind: gvk}
	if obj != nil {
		if out.VersionedObject, err = Unstructured(obj, gvk); err != nil {
			return nil, err
		}
	}
	if old != nil {
		if out.VersionedOldObject, err = Unstructured(old, gvk); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Unstructured shows obj as a map with its kind and apiVersion. The map's members may
// be shared with obj.
func Unstructured(obj runtime.Object, gvk schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	if c, ok := obj.(interface {
		Content(apiVersion, kind string) (map[string]any, error)
	}); ok { // a kind that is defined at run time
		m, err := c.Content(gvk.GroupVersion().String(), gvk.Kind)
		return &unstructured.Unstructured{Object: m}, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, err
	}
	top := make(map[string]any, len(content)+2)
	for k, v := range content {
		top[k] = v
	}
	top["apiVersion"], top["kind"] = gvk.GroupVersion().String(), gvk.Kind
	return &unstructured.Unstructured{Object: top}, nil
}
