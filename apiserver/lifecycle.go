package apiserver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
)

// lifecycle is Kubernetes' NamespaceLifecycle: nothing is made in a namespace that
// does not exist or is going away, and some namespaces never go.
type lifecycle struct{ reader admission.Reader }

func (l *lifecycle) Name() string { return "NamespaceLifecycle" }

var namespaceResource = schema.GroupResource{Resource: "namespaces"}

// Admit implements admission.Mutator, so that it judges before anything else
// does.
func (l *lifecycle) Admit(_ context.Context, r *admission.Request) error {
	if c := r.Kind.Custom; c != nil && r.Operation == admission.Create && c.Terminating() {
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Name, fmt.Errorf("create not allowed while custom resource definition is terminating"))
	}
	isNamespace := r.Kind.GroupResource() == namespaceResource
	if isNamespace && r.Operation == admission.Delete {
		switch r.Name {
		case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
			return apierrors.NewForbidden(namespaceResource, r.Name, fmt.Errorf("this namespace may not be deleted"))
		}
	}
	if r.Operation == admission.Delete && criticalText[r.Name] != "" && r.Kind.Resource == "priorityclasses" && r.Kind.Group == "scheduling.k8s.io" {
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Name, fmt.Errorf("this is a system priority class and cannot be deleted"))
	}
	if isNamespace || r.Namespace == "" || r.Operation == admission.Delete || r.Operation == admission.Connect {
		return nil
	}
	if r.Kind.Group == "authorization.k8s.io" && r.Kind.Resource == "localsubjectaccessreviews" {
		return nil
	}
	found, ok := l.reader.Object(namespaceResource, "", r.Namespace)
	if !ok {
		return apierrors.NewNotFound(namespaceResource, r.Namespace)
	}
	if ns, ok := found.(*corev1.Namespace); r.Operation == admission.Create && ok && ns.Status.Phase == corev1.NamespaceTerminating {
		gr := schema.GroupResource{Group: r.Requested.Group, Resource: r.Kind.Resource}
		name := r.Name
		if name == "" && r.Object != nil {
			name = r.Object.GetGenerateName()
		}
		err := apierrors.NewForbidden(gr, name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", r.Namespace))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type:    corev1.NamespaceTerminatingCause,
			Message: fmt.Sprintf("namespace %s is being terminated", r.Namespace),
			Field:   "metadata.namespace",
		})
		return err
	}
	return nil
}
