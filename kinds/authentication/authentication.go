// Package authentication holds the kinds of the group authentication.k8s.io:
// questions about who someone is. They are answered, never stored; the API server
// has the handlers. TokenRequest is a subresource of service accounts, in group
// core's rows. See package kinds for the table that this is a part of.
package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authenticationv1beta1 "k8s.io/api/authentication/v1beta1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
	"skiff.dev/skiff/kinds/row"
)

const group = authenticationv1.GroupName

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		{
			Group: group, Version: "v1", Kind: "SelfSubjectReview",
			Resource: "selfsubjectreviews", Singular: "selfsubjectreview",
			Virtual: true, Verbs: []string{"create"},
			Served: append(row.Hub(group, "v1"), convert.Review[authenticationv1.SelfSubjectReview, authenticationv1beta1.SelfSubjectReview](authenticationv1beta1.SchemeGroupVersion, "SelfSubjectReview")...), New: row.Make[authenticationv1.SelfSubjectReview](),
		},
		{
			Group: group, Version: "v1", Kind: "TokenReview",
			Resource: "tokenreviews", Singular: "tokenreview",
			Virtual: true, Verbs: []string{"create"},
			Served: append(row.Hub(group, "v1"), convert.Review[authenticationv1.TokenReview, authenticationv1beta1.TokenReview](authenticationv1beta1.SchemeGroupVersion, "TokenReview")...), New: row.Make[authenticationv1.TokenReview](),
		},
	}
}
