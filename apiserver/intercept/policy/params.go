package policy

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// excluded are reviews that no policy judges: answers about what users may do must
// not depend on it (kubeapiserver/admission/exclusion).
var excluded = map[schema.GroupResource]bool{
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}:       true,
	{Group: "authentication.k8s.io", Resource: "tokenreviews"}:             true,
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}: true,
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}:  true,
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}:   true,
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}:      true,
}

// paramKind finds the kind of a policy's parameters; nil where it has none. The error
// is one of the policy's configuration.
func (p *Plugins) paramKind(d *definition) (*kinds.Kind, schema.GroupVersionKind, error) {
	if d.param == nil {
		return nil, schema.GroupVersionKind{}, nil
	}
	gvk := schema.FromAPIVersionAndKind(d.param.APIVersion, d.param.Kind)
	k, ok := p.kind(gvk)
	if !ok || k.Virtual {
		return nil, gvk, fmt.Errorf("failed to find resource referenced by paramKind: '%v'", gvk)
	}
	return k, gvk, nil
}

// params are what a policy is evaluated with, once each; nil is an evaluation without
// parameters. None at all means that the binding does not apply (policy/generic,
// CollectParams).
func (p *Plugins) params(k *kinds.Kind, gvk schema.GroupVersionKind, ref *admissionv1.ParamRef, selector labels.Selector, bad error, namespace string) ([]runtime.Object, error) {
	if k == nil || ref == nil {
		return []runtime.Object{nil}, nil
	}
	in := ""
	switch {
	case k.Namespaced:
		if in = ref.Namespace; in == "" {
			in = namespace
		}
		if in == "" {
			return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
		}
	case ref.Namespace != "":
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	}
	var found []kinds.Object
	switch {
	case ref.Name != "":
		if o, ok := p.reader.Object(k.GroupResource(), in, ref.Name); ok {
			found = append(found, o)
		}
	case bad != nil:
		return nil, bad
	default:
		p.reader.Each(k.GroupResource(), in, func(o kinds.Object) bool {
			if selector.Matches(labels.Set(o.GetLabels())) {
				found = append(found, o)
			}
			return true
		})
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionv1.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	out := make([]runtime.Object, 0, len(found))
	for _, o := range found {
		v, _ := k.ServedAs(gvk.GroupVersion())
		form, err := codec.FromHub(v, o)
		if err != nil {
			return nil, err
		}
		u, err := match.Unstructured(form, gvk)
		if err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// namespaceOf is the namespace that expressions see; nil for what is in none, and for
// namespaces themselves.
func (p *Plugins) namespaceOf(a *match.Attributes) (*corev1.Namespace, error) {
	name := a.R.Namespace
	if name == "" {
		return nil, nil
	}
	o, ok := p.reader.Object(schema.GroupResource{Resource: "namespaces"}, "", name)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
	}
	ns, ok := o.(*corev1.Namespace)
	if !ok {
		return nil, fmt.Errorf("policy: a namespace is a %T", o)
	}
	return ns, nil
}

// forbidden refuses a request (admission, NewForbidden).
func forbidden(a *match.Attributes, err error) *apierrors.StatusError {
	name := a.GetName()
	if name == "" {
		name = "Unknown"
		if o, ok := a.GetObject().(interface {
			GetName() string
			GetGenerateName() string
		}); ok {
			if n := o.GetName(); n != "" {
				name = n
			} else if g := o.GetGenerateName(); g != "" {
				name = g
			}
		} else if a.GetObject() != nil {
			name = "Unknown/errorGettingName"
		}
	}
	return apierrors.NewForbidden(a.GetResource().GroupResource(), name, err)
}
