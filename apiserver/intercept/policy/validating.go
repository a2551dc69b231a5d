package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	k8s "k8s.io/apiserver/pkg/admission"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/intercept/match"
)

// validating judges requests by ValidatingAdmissionPolicies.
type validating struct{ *Plugins }

func (v *validating) Name() string { return "ValidatingAdmissionPolicy" }

// SetReader implements admission.NeedsReader.
func (v *validating) SetReader(r admission.Reader) { v.reader = r }

// verdict is one reason to refuse a request.
type verdict struct {
	policy, binding string // no binding: the policy itself is at fault
	message         string
	reason          metav1.StatusReason
}

func (v *verdict) text() string {
	if v.binding == "" {
		return fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", v.policy, v.message)
	}
	return fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", v.policy, v.binding, v.message)
}

// hearing is one request before all policies.
type hearing struct {
	*validating
	r     *admission.Request
	a     *match.Attributes
	forms map[schema.GroupVersionKind]*k8s.VersionedAttributes
	authz *match.Authorizer

	denied []verdict
}

// Validate implements admission.Validator (policy/validating, Dispatch).
func (v *validating) Validate(ctx context.Context, r *admission.Request) error {
	policies := v.validating.all()
	if len(policies) == 0 || match.IsConfiguration(r) || excluded[r.Kind.GroupResource()] {
		return nil
	}
	h := &hearing{validating: v, r: r, a: match.Of(r, v.o.OldVersions), authz: match.NewAuthorizer(v.o.Authorizer)}
	for i := range policies {
		if err := h.hear(ctx, &policies[i]); err != nil {
			return err
		}
	}
	if len(h.denied) == 0 {
		return nil
	}
	first := &h.denied[0]
	err := forbidden(h.a, errors.New(first.text()))
	err.ErrStatus.Reason = first.reason
	if first.reason == "" {
		err.ErrStatus.Reason = metav1.StatusReasonInvalid
	}
	err.ErrStatus.Code = codeOf(err.ErrStatus.Reason)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: first.text()})
	return err
}

func codeOf(r metav1.StatusReason) int32 {
	switch r {
	case metav1.StatusReasonForbidden:
		return http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		return http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnprocessableEntity
}

// misconfigured notes that a policy or binding (not "") cannot be used.
func (h *hearing) misconfigured(d *definition, binding string, err error) {
	if d.ignore {
		return
	}
	what := "policy"
	if binding != "" {
		what = "binding"
	}
	h.denied = append(h.denied, verdict{policy: d.name, binding: binding, message: fmt.Sprintf("failed to configure %s: %v", what, err)})
}

func (h *hearing) hear(ctx context.Context, b *bound[*validatingPolicy, *admissionv1.ValidatingAdmissionPolicyBinding]) error {
	d := &b.policy.definition
	found, ok, err := d.criteria.Matches(h.a, h.reader)
	if err != nil {
		h.misconfigured(d, "", err)
		return nil
	}
	if !ok {
		return nil
	}
	kind, gvk, err := h.paramKind(d)
	if err != nil {
		h.misconfigured(d, "", err)
		return nil
	}
	notes := annotations{}
	for _, bind := range b.bindings {
		if bind.criteria != nil {
			_, ok, err := bind.criteria.Matches(h.a, h.reader)
			if err != nil {
				h.misconfigured(d, bind.name, err)
				continue
			}
			if !ok {
				continue
			}
		}
		params, err := h.params(kind, gvk, bind.params, bind.selector, bind.err, h.a.GetNamespace())
		if err != nil {
			h.misconfigured(d, bind.name, err)
			continue
		}
		if len(params) == 0 {
			continue
		}
		attr, err := h.form(found.Kind)
		if err != nil {
			h.misconfigured(d, bind.name, fmt.Errorf("failed to convert object version: %w", err))
			continue
		}
		ns, err := h.namespaceOf(h.a)
		if err != nil {
			return err
		}
		for _, param := range params {
			h.enforce(b.policy, bind, b.policy.evaluate(ctx, found, attr, param, ns, h.authz), notes)
		}
	}
	h.publish(d.name, notes)
	return nil
}

func (h *hearing) form(gvk schema.GroupVersionKind) (*k8s.VersionedAttributes, error) {
	if f := h.forms[gvk]; f != nil {
		return f, nil
	}
	f, err := h.a.Versioned(gvk)
	if err != nil {
		return nil, err
	}
	if h.forms == nil {
		h.forms = map[schema.GroupVersionKind]*k8s.VersionedAttributes{}
	}
	h.forms[gvk] = f
	return f, nil
}

// enforce does what the binding says about the decisions.
func (h *hearing) enforce(p *validatingPolicy, b *binding[*admissionv1.ValidatingAdmissionPolicyBinding], ds decisions, notes annotations) {
	m := h.o.Metrics
	for i := range ds.decisions {
		d := &ds.decisions[i]
		if !d.deny {
			if d.failed {
				m.Validation(p.name, b.name, d.errorType(), "allow", d.took)
			}
			continue
		}
		for _, action := range b.obj.Spec.ValidationActions {
			switch action {
			case admissionv1.Deny:
				h.denied = append(h.denied, verdict{p.name, b.name, d.message, d.reason})
				m.Validation(p.name, b.name, d.errorType(), "deny", d.took)
			case admissionv1.Audit:
				h.audit(p, b.obj, i, d.message)
				m.Validation(p.name, b.name, d.errorType(), "audit", d.took)
			case admissionv1.Warn:
				h.r.Warn(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", p.name, b.name, d.message))
				m.Validation(p.name, b.name, d.errorType(), "warn", d.took)
			}
		}
	}
	for _, n := range ds.notes {
		switch {
		case n.err != "":
			h.denied = append(h.denied, verdict{policy: p.name, binding: b.name, message: n.err})
			m.Validation(p.name, b.name, errorType(true, n.err), "deny", n.took)
		case n.value != "":
			notes.add(n.key, n.value)
		}
	}
}

// failure is what audit is told of a request that breaks a rule.
type failure struct {
	Message           string                         `json:"message"`
	Policy            string                         `json:"policy"`
	Binding           string                         `json:"binding"`
	ExpressionIndex   int                            `json:"expressionIndex"`
	ValidationActions []admissionv1.ValidationAction `json:"validationActions"`
}

func (h *hearing) audit(p *validatingPolicy, b *admissionv1.ValidatingAdmissionPolicyBinding, index int, message string) {
	if h.r.OnAnnotate == nil {
		return
	}
	value, err := json.Marshal([]failure{{message, p.name, b.Name, index, b.Spec.ValidationActions}})
	if err == nil {
		err = h.r.Annotate(admission.AuditAnnotation{Key: "validation.policy.admission.k8s.io/validation_failure", Value: string(value), Level: admission.AuditMetadata})
	}
	if err != nil {
		h.o.Log.Warn("an audit annotation of a policy is left out", "policy", p.name, "err", err)
	}
}

// annotations are a policy's audit annotations, of all its bindings.
type annotations map[string][]string

func (n annotations) add(key, value string) {
	if !slices.Contains(n[key], value) {
		n[key] = append(n[key], value)
	}
}

func (h *hearing) publish(policy string, n annotations) {
	for key, values := range n {
		err := h.r.Annotate(admission.AuditAnnotation{Key: policy + "/" + key, Value: strings.Join(values, ", "), Level: admission.AuditMetadata})
		if err != nil {
			h.o.Log.Warn("an audit annotation of a policy is left out", "policy", policy, "err", err)
		}
	}
}
