package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

func validatingPolicy() *kinds.Kind {
	type T = *admissionv1.ValidatingAdmissionPolicy
	return row.Fill[admissionv1.ValidatingAdmissionPolicy, admissionv1.ValidatingAdmissionPolicyList](admissionv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "validatingadmissionpolicies", Categories: categories,
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(defaultValidatingPolicy),
		PrepareCreate:   rules.Do(func(p T) { p.Status = admissionv1.ValidatingAdmissionPolicyStatus{} }),
		PrepareUpdate:   rules.Do2(func(p, old T) { p.Status = old.Status }),
		Generation:      rules.Differ(func(p, old T) bool { return !row.Same(p.Spec, old.Spec) }),
		Validate:        rules.Check(validateValidatingPolicy),
		ValidateUpdate:  rules.Check2(validateValidatingPolicyUpdate),
		Warnings:        rules.Warn(func(p, _ T) []string { return warnName(p.Name) }),
		Subresources: row.WithStatus(func(p, old T) {
			p.Spec = old.Spec
			row.ResetMeta(p, old)
		}, validatePolicyStatus, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.IntColumn("Validations", "Validations indicates the number of validation rules defined in this configuration"),
			rules.Column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(p T, now time.Time) []any {
			return []any{p.Name, int64(len(p.Spec.Validations)), paramKind(p.Spec.ParamKind), rules.Age(p.CreationTimestamp, now)}
		}),
	}, oldValidatingPolicy()...)
}

func mutatingPolicy() *kinds.Kind {
	type T = *admissionv1.MutatingAdmissionPolicy
	return row.Fill[admissionv1.MutatingAdmissionPolicy, admissionv1.MutatingAdmissionPolicyList](admissionv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "mutatingadmissionpolicies", Categories: categories,
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(defaultMutatingPolicy),
		Generation:      rules.Differ(func(p, old T) bool { return !row.Same(p.Spec, old.Spec) }),
		Validate:        rules.Check(validateMutatingPolicy),
		ValidateUpdate:  rules.Check2(validateMutatingPolicyUpdate),
		Warnings:        rules.Warn(func(p, _ T) []string { return warnName(p.Name) }),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.IntColumn("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
			rules.Column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(p T, now time.Time) []any {
			return []any{p.Name, int64(len(p.Spec.Mutations)), paramKind(p.Spec.ParamKind), rules.Age(p.CreationTimestamp, now)}
		}),
	}, servedMutatingPolicy()...)
}

func validatingPolicyBinding() *kinds.Kind {
	type T = *admissionv1.ValidatingAdmissionPolicyBinding
	return row.Fill[admissionv1.ValidatingAdmissionPolicyBinding, admissionv1.ValidatingAdmissionPolicyBindingList](admissionv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "validatingadmissionpolicybindings", Categories: categories,
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(func(b T) { defaultMatch(b.Spec.MatchResources) }),
		Generation:      rules.Differ(func(b, old T) bool { return !row.Same(b.Spec, old.Spec) }),
		Validate:        rules.Check(validateValidatingBinding),
		ValidateUpdate:  rules.Check2(validateValidatingBindingUpdate),
		Warnings:        rules.Warn(func(b, _ T) []string { return warnName(b.Name) }),
		Columns:         bindingColumns(),
		Cells: rules.Cells(func(b T, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), rules.Age(b.CreationTimestamp, now)}
		}),
	}, oldValidatingPolicyBinding()...)
}

func mutatingPolicyBinding() *kinds.Kind {
	type T = *admissionv1.MutatingAdmissionPolicyBinding
	return row.Fill[admissionv1.MutatingAdmissionPolicyBinding, admissionv1.MutatingAdmissionPolicyBindingList](admissionv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "mutatingadmissionpolicybindings", Categories: categories,
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(func(b T) { defaultMatch(b.Spec.MatchResources) }),
		Generation:      rules.Differ(func(b, old T) bool { return !row.Same(b.Spec, old.Spec) }),
		Validate:        rules.Check(validateMutatingBinding),
		ValidateUpdate:  rules.Check2(validateMutatingBindingUpdate),
		Warnings:        rules.Warn(func(b, _ T) []string { return warnName(b.Name) }),
		Columns:         bindingColumns(),
		Cells: rules.Cells(func(b T, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), rules.Age(b.CreationTimestamp, now)}
		}),
	}, servedMutatingPolicyBinding()...)
}

func bindingColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
		rules.Column("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
		rules.AgeColumn(),
	}
}

func paramKind(k *admissionv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

func paramRef(r *admissionv1.ParamRef) string {
	switch {
	case r != nil && r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r != nil && r.Name != "":
		return "*/" + r.Name
	case r != nil && r.Selector != nil:
		return r.Selector.String()
	}
	return "<unset>"
}
