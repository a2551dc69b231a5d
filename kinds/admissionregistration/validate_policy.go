package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/admissionregistration/expression"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

const (
	maxAuditAnnotations = 20
	maxAuditExpression  = 5 * 1024
)

// judgeScope judges what both sorts of policies say of when they apply.
func judgeScope(l *rules.List, failure *admissionv1.FailurePolicyType, kind *admissionv1.ParamKind,
	match *admissionv1.MatchResources, path *field.Path) {
	if failure == nil {
		l.Required(path.Child("failurePolicy"), "")
	} else {
		rules.Supported(l, path.Child("failurePolicy"), *failure, admissionv1.Fail, admissionv1.Ignore)
	}
	if kind != nil {
		judgeParamKind(l, kind, path.Child("paramKind"))
	}
	if match == nil {
		l.Required(path.Child("matchConstraints"), "")
		return
	}
	judgeMatch(l, match, path.Child("matchConstraints"))
	if len(match.ResourceRules) == 0 {
		l.Required(path.Child("matchConstraints", "resourceRules"), "")
	}
}

func judgeParamKind(l *rules.List, k *admissionv1.ParamKind, path *field.Path) {
	at := path.Child("apiVersion")
	switch group, version, found := strings.Cut(k.APIVersion, "/"); {
	case k.APIVersion == "":
		l.Required(at, "")
	case strings.Count(k.APIVersion, "/") > 1:
		l.Invalid(at, k.APIVersion, "unexpected GroupVersion string: "+k.APIVersion)
	default:
		if !found {
			group, version = "", group
		}
		if group != "" {
			if msgs := utilvalidation.IsDNS1123Subdomain(group); len(msgs) > 0 {
				l.Invalid(at, group, strings.Join(msgs, ","))
			}
		}
		if version == "" {
			l.Invalid(at, k.APIVersion, "version must be specified")
		} else if msgs := utilvalidation.IsDNS1035Label(version); len(msgs) > 0 {
			l.Invalid(at, version, strings.Join(msgs, ","))
		}
	}
	if k.Kind == "" {
		l.Required(path.Child("kind"), "")
	} else if msgs := utilvalidation.IsDNS1035Label(strings.ToLower(k.Kind)); len(msgs) > 0 {
		l.Invalid(path.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ","))
	}
}

func judgeMatch(l *rules.List, m *admissionv1.MatchResources, path *field.Path) {
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		l.Required(path.Child("matchPolicy"), "")
	} else {
		rules.Supported(l, path.Child("matchPolicy"), *m.MatchPolicy, admissionv1.Equivalent, admissionv1.Exact)
	}
	selector := func(s *metav1.LabelSelector, at *field.Path) {
		if s == nil {
			l.Required(at, "")
			return
		}
		l.Add(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, at)...)
	}
	selector(m.NamespaceSelector, path.Child("namespaceSelector"))
	selector(m.ObjectSelector, path.Child("objectSelector"))
	for i := range m.ResourceRules {
		judgeNamed(l, &m.ResourceRules[i], path.Child("resourceRules").Index(i))
	}
	for i := range m.ExcludeResourceRules {
		judgeNamed(l, &m.ExcludeResourceRules[i], path.Child("excludeResourceRules").Index(i))
	}
}

func judgeNamed(l *rules.List, r *admissionv1.NamedRuleWithOperations, path *field.Path) {
	seen := map[string]bool{}
	for i, name := range r.ResourceNames {
		at := path.Child("resourceNames").Index(i)
		l.Messages(at, name, row.PathSegment(name, false))
		if seen[name] {
			l.Duplicate(at, name)
		}
		seen[name] = true
	}
	judgeOperations(l, &r.RuleWithOperations, path)
}

// judgeMutating refuses rules for deletions, which nothing can be changed in.
func judgeMutating(l *rules.List, m *admissionv1.MatchResources, path *field.Path) {
	if m == nil {
		return
	}
	for _, r := range m.ResourceRules {
		for _, o := range r.Operations {
			rules.Supported(l, path.Child("resourceRules", "operations"), o,
				admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update)
		}
	}
}

var reserved = []string{"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
	"import", "let", "loop", "package", "namespace", "return", "var", "void", "while"}

func isIdentifier(name string) bool {
	for i, c := range name {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && !slices.Contains(reserved, name)
}

func validateValidatingPolicy(p *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	return judgeValidatingPolicy(p, old{})
}

func validateValidatingPolicyUpdate(p, was *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	return judgeValidatingPolicy(p, oldPolicy(p, was))
}

func judgeValidatingPolicy(p *admissionv1.ValidatingAdmissionPolicy, was old) field.ErrorList {
	var l rules.List
	path, s := field.NewPath("spec"), &p.Spec
	params, c := s.ParamKind != nil, policyCompiler(s.Variables)
	judgeScope(&l, s.FailurePolicy, s.ParamKind, s.MatchConstraints, path)
	judgeConditions(&l, s.MatchConditions, params, was, path.Child("matchConditions"))
	judgeVariables(&l, c, s.Variables, params, was, path)
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		const why = "validations or auditAnnotations must contain at least one item"
		l.Required(path.Child("validations"), why)
		l.Required(path.Child("auditAnnotations"), why)
		return l.Errors()
	}
	for i := range s.Validations {
		judgeValidation(&l, c, &s.Validations[i], params, was, path.Child("validations").Index(i))
	}
	if len(s.AuditAnnotations) > maxAuditAnnotations {
		l.Invalid(path.Child("auditAnnotations"), rules.Internal(s.AuditAnnotations), fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations))
	}
	seen := map[string]bool{}
	for i, a := range s.AuditAnnotations {
		at := path.Child("auditAnnotations").Index(i)
		if p.Name != "" {
			l.Add(rules.QualifiedName(p.Name+"/"+a.Key, at.Child("key"))...)
		} else {
			l.Invalid(at.Child("key"), a.Key, "requires metadata.name be non-empty")
		}
		judgeAnnotation(&l, c, &a, params, was, at)
		if seen[a.Key] {
			l.Duplicate(at.Child("key"), a.Key)
		}
		seen[a.Key] = true
	}
	return l.Errors()
}

func judgeValidation(l *rules.List, c *expression.Compiler, v *admissionv1.Validation, params bool, was old, path *field.Path) {
	if strings.TrimSpace(v.Expression) == "" {
		l.Required(path.Child("expression"), "expression is not specified")
	} else {
		compile(l, c, &expression.Validation{Expression: v.Expression}, expression.Scope{HasParams: params, HasAuthorizer: true},
			was.validations.mode(v.Expression), path.Child("expression"))
	}
	switch at := path.Child("messageExpression"); {
	case v.MessageExpression == "":
	case strings.TrimSpace(v.MessageExpression) == "":
		l.Invalid(at, v.MessageExpression, "must be non-empty if specified")
	default:
		compile(l, c, &expression.Message{Expression: v.MessageExpression}, expression.Scope{HasParams: params},
			was.messages.mode(v.MessageExpression), at)
	}
	message := strings.TrimSpace(v.Message)
	if v.Message != "" && message == "" {
		l.Invalid(path.Child("message"), v.Message, "must be non-empty if specified")
	} else if strings.ContainsAny(message, "\n\r") {
		l.Invalid(path.Child("message"), v.Message, "must not contain line breaks")
	}
	if v.Reason != nil {
		rules.Supported(l, path.Child("reason"), *v.Reason,
			metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)
	}
}

func validateMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	return judgeMutatingPolicy(p, old{})
}

func validateMutatingPolicyUpdate(p, was *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	return judgeMutatingPolicy(p, oldMutatingPolicy(p, was))
}

func judgeMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy, was old) field.ErrorList {
	var l rules.List
	path, s := field.NewPath("spec"), &p.Spec
	params, c := s.ParamKind != nil, expression.Composing()
	judgeScope(&l, s.FailurePolicy, s.ParamKind, s.MatchConstraints, path)
	judgeMutating(&l, s.MatchConstraints, path.Child("matchConstraints"))
	judgeConditions(&l, s.MatchConditions, params, was, path.Child("matchConditions"))
	judgeVariables(&l, c, s.Variables, params, was, path)
	if len(s.Mutations) == 0 {
		l.Required(path.Child("mutations"), "mutations must contain at least one item")
	}
	for i := range s.Mutations {
		judgeMutation(&l, c, &s.Mutations[i], params, was, path.Child("mutations").Index(i))
	}
	rules.SupportedOrRequired(&l, path.Child("reinvocationPolicy"), s.ReinvocationPolicy, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	return l.Errors()
}

func judgeMutation(l *rules.List, c *expression.Compiler, m *admissionv1.Mutation, params bool, was old, path *field.Path) {
	apply, patch := path.Child("applyConfiguration"), path.Child("jsonPatch")
	switch m.PatchType {
	case admissionv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			l.Required(patch, "must be specified when patchType is JSONPatch")
		} else if text := strings.TrimSpace(m.JSONPatch.Expression); text == "" {
			l.Required(patch.Child("expression"), "")
		} else {
			judgePatch(l, c, &expression.JSONPatch{Expression: text}, params, was, patch.Child("expression"))
		}
		if m.ApplyConfiguration != nil {
			l.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch")
		}
	case admissionv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			l.Required(apply, "must be specified when patchType is ApplyConfiguration")
		} else if text := strings.TrimSpace(m.ApplyConfiguration.Expression); text == "" {
			l.Required(apply.Child("expression"), "")
		} else {
			judgePatch(l, c, &expression.ApplyConfiguration{Expression: text}, params, was, apply.Child("expression"))
		}
		if m.JSONPatch != nil {
			l.Invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration")
		}
	default:
		rules.SupportedOrRequired(l, path.Child("patchType"), m.PatchType, admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
	}
}

// judgeBinding judges what both sorts of bindings have in common.
func judgeBinding(l *rules.List, policy string, ref *admissionv1.ParamRef, match *admissionv1.MatchResources, path *field.Path) {
	if policy == "" {
		l.Required(path.Child("policyName"), "")
	} else {
		l.Name(path.Child("policyName"), policy, rules.DNSSubdomain)
	}
	if ref != nil {
		judgeParamRef(l, ref, path.Child("paramRef"))
	}
	judgeMatch(l, match, path.Child("matchResources"))
}

func judgeParamRef(l *rules.List, r *admissionv1.ParamRef, path *field.Path) {
	if r.Name != "" {
		l.Messages(path.Child("name"), r.Name, row.PathSegment(r.Name, false))
		if r.Selector != nil {
			l.Forbidden(path.Child("name"), "name and selector are mutually exclusive")
		}
	}
	if r.Selector != nil {
		l.Add(metavalidation.ValidateLabelSelector(r.Selector, metavalidation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
		if r.Name != "" {
			l.Forbidden(path.Child("selector"), "name and selector are mutually exclusive")
		}
	}
	if r.Name == "" && r.Selector == nil {
		l.Required(path, "one of name or selector must be specified")
	}
	if r.ParameterNotFoundAction == nil || *r.ParameterNotFoundAction == "" {
		l.Required(path.Child("parameterNotFoundAction"), "")
	} else if a := *r.ParameterNotFoundAction; a != admissionv1.DenyAction && a != admissionv1.AllowAction {
		l.Add(field.NotSupported(path.Child("parameterNotFoundAction"), a, []admissionv1.ParameterNotFoundActionType{admissionv1.DenyAction, admissionv1.AllowAction}))
	}
}

func validateValidatingBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	var l rules.List
	path, s := field.NewPath("spec"), &b.Spec
	judgeBinding(&l, s.PolicyName, s.ParamRef, s.MatchResources, path)
	at := path.Child("validationActions")
	seen := map[admissionv1.ValidationAction]bool{}
	for i, a := range s.ValidationActions {
		rules.Supported(&l, at.Index(i), a, admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)
		if seen[a] {
			l.Duplicate(at.Index(i), a)
		}
		seen[a] = true
	}
	if seen[admissionv1.Deny] && seen[admissionv1.Warn] {
		l.Invalid(at, s.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(seen) == 0 {
		l.Required(at, "at least one validation action is required")
	}
	return l.Errors()
}

func validateValidatingBindingUpdate(b, _ *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	return validateValidatingBinding(b)
}

func validateMutatingBinding(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	judgeBinding(&l, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, path)
	judgeMutating(&l, b.Spec.MatchResources, path.Child("matchResources"))
	return l.Errors()
}

func validateMutatingBindingUpdate(b, _ *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	return validateMutatingBinding(b)
}
