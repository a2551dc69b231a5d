// Package auth decides who is asking and what they may do: client certificates,
// service account tokens, RBAC, the node authorizer; and it keeps the cluster's
// certificates. It reads API objects through interfaces that it declares; the API
// server calls it on every request.
package auth

import (
	"context"
	"net/http"
)

// Well-known names.
const (
	GroupMasters         = "system:masters"
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	GroupServiceAccounts = "system:serviceaccounts"
	GroupNodes           = "system:nodes"
	UserAnonymous        = "system:anonymous"
	PrefixServiceAccount = "system:serviceaccount:"
	PrefixNode           = "system:node:"
)

// User is an authenticated identity. It is immutable.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Attributes is a request as authorizers see it.
type Attributes struct {
	User        *User
	Verb        string // get, list, ...; for paths that are no resources the lower-case HTTP method
	Namespace   string
	Group       string
	Version     string
	Resource    string
	Subresource string
	Name        string
	Path        string // the URL path, where IsResource is false
	IsResource  bool

	FieldSelector, LabelSelector string
}

// Decision of one authorizer.
type Decision int

// NoOpinion passes the question on; the last NoOpinion is a denial.
const (
	NoOpinion Decision = iota
	Allow
	Deny
)

// Authenticator finds the user of a request. ok is false when the request
// carries nothing that this authenticator knows; an error means that it carries
// something invalid.
type Authenticator interface {
	Authenticate(r *http.Request) (u *User, ok bool, err error)
}

// Authorizer answers whether attributes are allowed. reason is told to the user.
type Authorizer interface {
	Authorize(ctx context.Context, a *Attributes) (d Decision, reason string, err error)
}

type userKey struct{}

// WithUser returns a context that carries u.
func WithUser(ctx context.Context, u *User) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// UserFrom returns the context's user, nil if there is none.
func UserFrom(ctx context.Context) *User {
	u, _ := ctx.Value(userKey{}).(*User)
	return u
}
