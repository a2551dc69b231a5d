package objects

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/auth"
)

// Forbidden words a refusal of an authorizer as Kubernetes does
// (endpoints/handlers/responsewriters, ForbiddenStatusError).
func Forbidden(u *auth.User, verb, namespace string, gr schema.GroupResource, sub, name, reason string) error {
	resource := gr.Resource
	if sub != "" {
		resource += "/" + sub
	}
	username := ""
	if u != nil {
		username = u.Name
	}
	var msg string
	if namespace != "" {
		msg = fmt.Sprintf("User %q cannot %s resource %q in API group %q in the namespace %q", username, verb, resource, gr.Group, namespace)
	} else {
		msg = fmt.Sprintf("User %q cannot %s resource %q in API group %q at the cluster scope", username, verb, resource, gr.Group)
	}
	if reason != "" {
		msg += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: gr.Group, Resource: gr.Resource}, name, errors.New(msg))
}
