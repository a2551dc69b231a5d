package admit

import (
	"context"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/rbac"
)

// Escalation refuses roles and bindings that grant more than the user has. In
// Kubernetes the storage of these kinds does so.
type Escalation struct {
	rules      *rbac.Index
	authorizer auth.Authorizer
}

// Name implements admission.Plugin.
func (*Escalation) Name() string { return "RBACEscalation" }

// Validate implements admission.Validator.
func (e *Escalation) Validate(ctx context.Context, r *admission.Request) error {
	if r.Kind.Group != rbacGroup || r.Subresource != "" || r.Object == nil {
		return nil
	}
	return e.rules.CheckWrite(ctx, e.authorizer, r.User, r.Object, r.Old)
}
