// Package admit holds the admission plugins that Kubernetes runs by default: each
// changes or refuses writes by one rule, and words refusals as Kubernetes does.
// They see requests through package admission, which the API server drives; they
// look at the cluster through its Reader alone.
package admit

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/rbac"
)

// Options choose among the plugins.
type Options struct {
	// Rules and Authorizer keep users from granting more than they have; nil leaves
	// that out.
	Rules      *rbac.Index
	Authorizer auth.Authorizer
	// OldVersions applies the presets of settings.k8s.io/v1alpha1 to new pods.
	OldVersions bool
}

// Default returns the plugins in the order in which Kubernetes runs them, without
// ResourceQuota, which comes after whatever else is to judge.
func Default(o Options) admission.Chain {
	c := admission.Chain{
		&LimitRanger{}, &ServiceAccount{}, &NodeRestriction{Authorizer: o.Authorizer}, TaintNodes{}, NewPodSecurity(),
		&Priority{}, DefaultTolerations{}, &DefaultStorageClass{}, InUseProtection{}, &ClaimResize{}, &RuntimeClass{}, &DefaultIngressClass{},
		&PodResize{}, &DeviceAccess{Authorizer: o.Authorizer},
	}
	if o.OldVersions {
		c = append(admission.Chain{&PodPreset{}}, c...)
	}
	if o.Authorizer != nil {
		// Kubernetes has these between RuntimeClass and DefaultIngressClass: they judge
		// a kind of their own, so that their place shows nowhere.
		c = append(c, CertificateApproval{o.Authorizer}, CertificateSigning{o.Authorizer}, CertificateSubjectRestriction{})
	}
	if o.Rules != nil && o.Authorizer != nil {
		c = append(admission.Chain{&Escalation{o.Rules, o.Authorizer}}, c...)
	}
	return c
}

// reader is embedded by plugins that look at the cluster.
type reader struct{ admission.Reader }

// SetReader implements admission.NeedsReader.
func (r *reader) SetReader(x admission.Reader) { r.Reader = x }

// forbid refuses a request in the words of Kubernetes' admission.NewForbidden.
func forbid(r *admission.Request, err error) error {
	if apierrors.IsForbidden(err) {
		return err
	}
	name := r.Name
	if name == "" {
		name = "Unknown"
		if r.Object != nil {
			if n := r.Object.GetName(); n != "" {
				name = n
			} else if g := r.Object.GetGenerateName(); g != "" {
				name = g
			}
		}
	}
	return apierrors.NewForbidden(r.Kind.GroupResource(), name, err)
}

// is tells whether a request is for a resource itself, by one of the operations.
func is(r *admission.Request, group, resource string, ops ...admission.Operation) bool {
	return r.Subresource == "" && r.Kind.Group == group && r.Kind.Resource == resource && slices.Contains(ops, r.Operation)
}

func gr(group, resource string) schema.GroupResource {
	return schema.GroupResource{Group: group, Resource: resource}
}

// find reads one object of a Go type.
func find[T any](r admission.Reader, gr schema.GroupResource, namespace, name string) (T, bool) {
	var none T
	o, ok := r.Object(gr, namespace, name)
	if !ok {
		return none, false
	}
	t, ok := o.(T)
	return t, ok
}

var (
	pods            = gr("", "pods")
	nodes           = gr("", "nodes")
	namespaces      = gr("", "namespaces")
	limitRanges     = gr("", "limitranges")
	serviceAccounts = gr("", "serviceaccounts")
	priorityClasses = gr("scheduling.k8s.io", "priorityclasses")
	storageClasses  = gr("storage.k8s.io", "storageclasses")
	runtimeClasses  = gr("node.k8s.io", "runtimeclasses")
	resourceQuotas  = gr("", "resourcequotas")
	ingressClasses  = gr(networkingGroup, "ingressclasses")
	podPresets      = gr("settings.k8s.io", "podpresets")
)

const (
	networkingGroup = "networking.k8s.io"
	rbacGroup       = rbacv1.GroupName
)
