// Package authorization holds the kinds of the group authorization.k8s.io:
// questions about who may do what. They are answered, never stored; the API server
// has the handlers. See package kinds for the table that this is a part of.
package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	authorizationv1beta1 "k8s.io/api/authorization/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
	"skiff.dev/skiff/kinds/row"
)

const group = authorizationv1.GroupName

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		review("LocalSubjectAccessReview", "localsubjectaccessreview", true, row.Make[authorizationv1.LocalSubjectAccessReview](), convert.Review[authorizationv1.LocalSubjectAccessReview, authorizationv1beta1.LocalSubjectAccessReview](authorizationv1beta1.SchemeGroupVersion, "LocalSubjectAccessReview")...),
		review("SelfSubjectAccessReview", "selfsubjectaccessreview", false, row.Make[authorizationv1.SelfSubjectAccessReview](), convert.Review[authorizationv1.SelfSubjectAccessReview, authorizationv1beta1.SelfSubjectAccessReview](authorizationv1beta1.SchemeGroupVersion, "SelfSubjectAccessReview")...),
		review("SelfSubjectRulesReview", "selfsubjectrulesreview", false, row.Make[authorizationv1.SelfSubjectRulesReview](), convert.Review[authorizationv1.SelfSubjectRulesReview, authorizationv1beta1.SelfSubjectRulesReview](authorizationv1beta1.SchemeGroupVersion, "SelfSubjectRulesReview")...),
		review("SubjectAccessReview", "subjectaccessreview", false, row.Make[authorizationv1.SubjectAccessReview](), convert.Review[authorizationv1.SubjectAccessReview, authorizationv1beta1.SubjectAccessReview](authorizationv1beta1.SchemeGroupVersion, "SubjectAccessReview")...),
	}
}

func review(kind, singular string, namespaced bool, make func() kinds.Object, old ...kinds.Version) *kinds.Kind {
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: kind,
		Resource: singular + "s", Singular: singular, Namespaced: namespaced,
		Virtual: true, Verbs: []string{"create"},
		Served: append(row.Hub(group, "v1"), old...), New: make,
	}
}
