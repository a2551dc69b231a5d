package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
)

func validatingPolicy() *kinds.Kind {
	type T = *admissionv1.ValidatingAdmissionPolicy
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "ValidatingAdmissionPolicy", List: "ValidatingAdmissionPolicyList",
		Resource: "validatingadmissionpolicies", Singular: "validatingadmissionpolicy", Categories: categories,
		RequireRevision: true,
		Served:          append(row.Hub(group, "v1"), oldValidatingPolicy()...),
		New:             row.Make[admissionv1.ValidatingAdmissionPolicy](),
		NewList:         row.MakeAny[admissionv1.ValidatingAdmissionPolicyList](),
		Name:            row.DNSSubdomain,
		Default:         row.Fill(defaultValidatingPolicy),
		PrepareCreate:   row.Fill(func(p T) { p.Status = admissionv1.ValidatingAdmissionPolicyStatus{} }),
		PrepareUpdate:   row.Carry(func(p, old T) { p.Status = old.Status }),
		Generation:      row.Differ(func(p, old T) bool { return !row.Same(p.Spec, old.Spec) }),
		Validate:        row.Judge(validateValidatingPolicy),
		ValidateUpdate:  row.JudgeUpdate(validateValidatingPolicyUpdate),
		Warnings:        row.Warn(func(p, _ T) []string { return warnName(p.Name) }),
		Subresources: row.WithStatus(func(p, old T) {
			p.Spec = old.Spec
			row.ResetMeta(p, old)
		}, nil, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			row.NameColumn(),
			row.Integer("Validations", "Validations indicates the number of validation rules defined in this configuration"),
			row.Column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
			row.AgeColumn(),
		},
		Cells: row.Print(func(p T, now time.Time) []any {
			return []any{p.Name, int64(len(p.Spec.Validations)), paramKind(p.Spec.ParamKind), row.Age(p, now)}
		}),
	}
}

func mutatingPolicy() *kinds.Kind {
	type T = *admissionv1.MutatingAdmissionPolicy
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "MutatingAdmissionPolicy", List: "MutatingAdmissionPolicyList",
		Resource: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy", Categories: categories,
		RequireRevision: true,
		Served:          row.Hub(group, "v1"),
		New:             row.Make[admissionv1.MutatingAdmissionPolicy](),
		NewList:         row.MakeAny[admissionv1.MutatingAdmissionPolicyList](),
		Name:            row.DNSSubdomain,
		Default:         row.Fill(defaultMutatingPolicy),
		Generation:      row.Differ(func(p, old T) bool { return !row.Same(p.Spec, old.Spec) }),
		Validate:        row.Judge(validateMutatingPolicy),
		ValidateUpdate:  row.JudgeUpdate(validateMutatingPolicyUpdate),
		Warnings:        row.Warn(func(p, _ T) []string { return warnName(p.Name) }),
		Columns: []metav1.TableColumnDefinition{
			row.NameColumn(),
			row.Integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
			row.Column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
			row.AgeColumn(),
		},
		Cells: row.Print(func(p T, now time.Time) []any {
			return []any{p.Name, int64(len(p.Spec.Mutations)), paramKind(p.Spec.ParamKind), row.Age(p, now)}
		}),
	}
}

func validatingPolicyBinding() *kinds.Kind {
	type T = *admissionv1.ValidatingAdmissionPolicyBinding
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "ValidatingAdmissionPolicyBinding", List: "ValidatingAdmissionPolicyBindingList",
		Resource: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding", Categories: categories,
		RequireRevision: true,
		Served:          append(row.Hub(group, "v1"), oldValidatingPolicyBinding()...),
		New:             row.Make[admissionv1.ValidatingAdmissionPolicyBinding](),
		NewList:         row.MakeAny[admissionv1.ValidatingAdmissionPolicyBindingList](),
		Name:            row.DNSSubdomain,
		Default:         row.Fill(func(b T) { defaultMatch(b.Spec.MatchResources) }),
		Generation:      row.Differ(func(b, old T) bool { return !row.Same(b.Spec, old.Spec) }),
		Validate:        row.Judge(validateValidatingBinding),
		ValidateUpdate:  row.JudgeUpdate(validateValidatingBindingUpdate),
		Warnings:        row.Warn(func(b, _ T) []string { return warnName(b.Name) }),
		Columns:         bindingColumns(),
		Cells: row.Print(func(b T, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), row.Age(b, now)}
		}),
	}
}

func mutatingPolicyBinding() *kinds.Kind {
	type T = *admissionv1.MutatingAdmissionPolicyBinding
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "MutatingAdmissionPolicyBinding", List: "MutatingAdmissionPolicyBindingList",
		Resource: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding", Categories: categories,
		RequireRevision: true,
		Served:          row.Hub(group, "v1"),
		New:             row.Make[admissionv1.MutatingAdmissionPolicyBinding](),
		NewList:         row.MakeAny[admissionv1.MutatingAdmissionPolicyBindingList](),
		Name:            row.DNSSubdomain,
		Default:         row.Fill(func(b T) { defaultMatch(b.Spec.MatchResources) }),
		Generation:      row.Differ(func(b, old T) bool { return !row.Same(b.Spec, old.Spec) }),
		Validate:        row.Judge(validateMutatingBinding),
		ValidateUpdate:  row.JudgeUpdate(validateMutatingBindingUpdate),
		Warnings:        row.Warn(func(b, _ T) []string { return warnName(b.Name) }),
		Columns:         bindingColumns(),
		Cells: row.Print(func(b T, now time.Time) []any {
			return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), row.Age(b, now)}
		}),
	}
}

func bindingColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		row.NameColumn(),
		row.Column("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
		row.Column("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
		row.AgeColumn(),
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
