// Package access answers the questions about permissions that the API takes as
// objects: SubjectAccessReview in its three forms, and SelfSubjectRulesReview. The
// API server's handlers of these kinds call it with the authorizer that judges
// requests.
package access

import (
	"context"
	"errors"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/auth"
)

// invalid is the kind in Kubernetes' refusals of reviews: it names none there.
var invalid = schema.GroupKind{Group: authorizationv1.GroupName}

// Review answers a SubjectAccessReview in a copy.
func Review(ctx context.Context, az auth.Authorizer, in *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error) {
	errs := validateSpec(&in.Spec)
	errs = append(errs, emptyMeta(in.ObjectMeta, "must be empty")...)
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(invalid, "", errs)
	}
	out := in.DeepCopy()
	out.Status = judge(ctx, az, userOf(&in.Spec), in.Spec.ResourceAttributes, in.Spec.NonResourceAttributes)
	return out, nil
}

// LocalReview answers a LocalSubjectAccessReview, whose namespace is that of the
// request's path, in a copy.
func LocalReview(ctx context.Context, az auth.Authorizer, namespace string, in *authorizationv1.LocalSubjectAccessReview) (*authorizationv1.LocalSubjectAccessReview, error) {
	in = in.DeepCopy()
	if in.Namespace == "" {
		in.Namespace = namespace
	}
	errs := validateSpec(&in.Spec)
	meta := in.ObjectMeta
	meta.Namespace = ""
	errs = append(errs, emptyMeta(meta, "must be empty except for namespace")...)
	if r := in.Spec.ResourceAttributes; r != nil && r.Namespace != in.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), r.Namespace, "must match metadata.namespace"))
	}
	if n := in.Spec.NonResourceAttributes; n != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), unversioned(*n), "disallowed on this kind of request"))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(invalid, "", errs)
	}
	if in.Namespace != namespace {
		return nil, apierrors.NewBadRequest("spec.resourceAttributes.namespace must match namespace: " + namespace)
	}
	in.Status = judge(ctx, az, userOf(&in.Spec), in.Spec.ResourceAttributes, in.Spec.NonResourceAttributes)
	return in, nil
}

// SelfReview answers a SelfSubjectAccessReview of u in a copy.
func SelfReview(ctx context.Context, az auth.Authorizer, u *auth.User, in *authorizationv1.SelfSubjectAccessReview) (*authorizationv1.SelfSubjectAccessReview, error) {
	p := field.NewPath("spec")
	errs := validateAttributes(in.Spec.ResourceAttributes, in.Spec.NonResourceAttributes, p)
	errs = append(errs, validateSelectors(in.Spec.ResourceAttributes)...)
	errs = append(errs, emptyMeta(in.ObjectMeta, "must be empty")...)
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(invalid, "", errs)
	}
	out := in.DeepCopy()
	out.Status = judge(ctx, az, u, in.Spec.ResourceAttributes, in.Spec.NonResourceAttributes)
	return out, nil
}

// Rules lists a user's rules; the index of package rbac does.
type Rules interface {
	RulesFor(u *auth.User, namespace string) ([]rbacv1.PolicyRule, error)
}

// Partial is a Rules that does not know all: Unresolved tells of what else decides.
type Partial interface {
	Unresolved() []error
}

// RulesReview answers a SelfSubjectRulesReview of u.
func RulesReview(r Rules, u *auth.User, in *authorizationv1.SelfSubjectRulesReview) (*authorizationv1.SelfSubjectRulesReview, error) {
	if in.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	out := &authorizationv1.SelfSubjectRulesReview{TypeMeta: in.TypeMeta, Status: authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}}
	s := &out.Status
	for _, g := range u.Groups {
		if g == auth.GroupMasters {
			s.ResourceRules = append(s.ResourceRules, authorizationv1.ResourceRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}})
			s.NonResourceRules = append(s.NonResourceRules, authorizationv1.NonResourceRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}})
		}
		if g == auth.GroupNodes {
			s.Incomplete, s.EvaluationError = true, "node authorizer does not support user rule resolution"
		}
	}
	rules, err := r.RulesFor(u, in.Spec.Namespace)
	for _, p := range rules {
		if len(p.Resources) > 0 {
			s.ResourceRules = append(s.ResourceRules, authorizationv1.ResourceRule{
				Verbs: p.Verbs, APIGroups: p.APIGroups, Resources: p.Resources, ResourceNames: p.ResourceNames})
		}
		if len(p.NonResourceURLs) > 0 {
			s.NonResourceRules = append(s.NonResourceRules, authorizationv1.NonResourceRule{Verbs: p.Verbs, NonResourceURLs: p.NonResourceURLs})
		}
	}
	var errs []error
	if s.EvaluationError != "" {
		errs = append(errs, errors.New(s.EvaluationError))
	}
	if err != nil {
		errs = append(errs, err)
	}
	if p, ok := r.(Partial); ok {
		if more := p.Unresolved(); len(more) > 0 {
			s.Incomplete, errs = true, append(errs, more...)
		}
	}
	if err := utilerrors.NewAggregate(errs); err != nil {
		s.EvaluationError = err.Error()
	}
	return out, nil
}

func userOf(s *authorizationv1.SubjectAccessReviewSpec) *auth.User {
	u := &auth.User{Name: s.User, UID: s.UID, Groups: s.Groups}
	if s.Extra != nil {
		u.Extra = make(map[string][]string, len(s.Extra))
		for k, v := range s.Extra {
			u.Extra[k] = v
		}
	}
	return u
}

func judge(ctx context.Context, az auth.Authorizer, u *auth.User, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	a := &auth.Attributes{User: u}
	if r != nil {
		a.IsResource, a.Verb, a.Namespace = true, r.Verb, r.Namespace
		a.Group, a.Version, a.Resource, a.Subresource, a.Name = r.Group, r.Version, r.Resource, r.Subresource, r.Name
		if a.Version == "" {
			a.Version = "*"
		}
		a.FieldSelector, a.LabelSelector = selectors(r)
	} else {
		a.Verb, a.Path = n.Verb, n.Path
	}
	d, reason, err := az.Authorize(ctx, a)
	s := authorizationv1.SubjectAccessReviewStatus{Allowed: d == auth.Allow, Denied: d == auth.Deny, Reason: reason}
	s.EvaluationError = evaluationError(err, r)
	return s
}

// selectors writes the selectors of attributes as a request's query has them.
// Requirements that cannot be expressed there are left out: that asks for more.
func selectors(r *authorizationv1.ResourceAttributes) (fields, labels string) {
	if f := r.FieldSelector; f != nil {
		fields = f.RawSelector
		for _, q := range f.Requirements {
			if len(q.Values) != 1 {
				continue
			}
			switch q.Operator {
			case metav1.FieldSelectorOpIn:
				fields = join(fields, q.Key+"="+q.Values[0])
			case metav1.FieldSelectorOpNotIn:
				fields = join(fields, q.Key+"!="+q.Values[0])
			}
		}
	}
	if l := r.LabelSelector; l != nil {
		labels = l.RawSelector
		if len(l.Requirements) > 0 {
			if sel, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: l.Requirements}); err == nil {
				labels = sel.String()
			}
		}
	}
	return fields, labels
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

// emptyMeta refuses metadata; managed fields are the server's own.
func emptyMeta(m metav1.ObjectMeta, msg string) field.ErrorList {
	rest := m
	rest.ManagedFields = nil
	if equality.Semantic.DeepEqual(metav1.ObjectMeta{}, rest) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), m, msg)}
}

func validateSpec(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateAttributes(s.ResourceAttributes, s.NonResourceAttributes, p)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(p.Child("user"), s.User, "at least one of user or group must be specified"))
	}
	return append(errs, validateSelectors(s.ResourceAttributes)...)
}

// unversioned is how Kubernetes shows the attributes in a refusal: its type inside
// the server has no names of its own for JSON.
type unversioned struct{ Path, Verb string }

func validateAttributes(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes, p *field.Path) field.ErrorList {
	if r != nil && n != nil {
		return field.ErrorList{field.Invalid(p.Child("nonResourceAttributes"), unversioned(*n), "cannot be specified in combination with resourceAttributes")}
	}
	if r == nil && n == nil {
		return field.ErrorList{field.Invalid(p.Child("resourceAttributes"), n, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return nil
}

func validateSelectors(r *authorizationv1.ResourceAttributes) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	p := field.NewPath("spec.resourceAttributes")
	form := func(p *field.Path, raw string, n int) {
		if raw != "" && n > 0 {
			errs = append(errs, field.Invalid(p.Child("rawSelector"), raw, "may not specified at the same time as requirements"))
		}
		if raw == "" && n == 0 {
			errs = append(errs, field.Required(p.Child("requirements"), "when "+p.String()+" is specified, requirements or rawSelector is required"))
		}
	}
	if f := r.FieldSelector; f != nil {
		p := p.Child("fieldSelector")
		form(p, f.RawSelector, len(f.Requirements))
		o := validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
		for i, q := range f.Requirements {
			errs = append(errs, validation.ValidateFieldSelectorRequirement(q, o, p.Child("requirements").Index(i))...)
		}
	}
	if l := r.LabelSelector; l != nil {
		p := p.Child("labelSelector")
		form(p, l.RawSelector, len(l.Requirements))
		o := validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
		for i, q := range l.Requirements {
			errs = append(errs, validation.ValidateLabelSelectorRequirement(q, o, p.Child("requirements").Index(i))...)
		}
	}
	return errs
}
