// Package authentication holds the kinds of the group authentication.k8s.io:
// questions about who someone is. They are answered, never stored; the API server
// has the handlers. TokenRequest is a subresource of service accounts, in group
// core's rows. See package kinds for the table that this is a part of.
package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"

	"skiff.dev/skiff/kinds"
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
			Served: row.Hub(group, "v1"), New: row.Make[authenticationv1.SelfSubjectReview](),
		},
		{
			Group: group, Version: "v1", Kind: "TokenReview",
			Resource: "tokenreviews", Singular: "tokenreview",
			Virtual: true, Verbs: []string{"create"},
			Served: row.Hub(group, "v1"), New: row.Make[authenticationv1.TokenReview](),
		},
	}
}
