package match

import (
	"context"
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"skiff.dev/skiff/auth"
)

// Authorizer answers CEL's authorizer within one request: the same question is asked
// once. It belongs to one goroutine.
type Authorizer struct {
	of    auth.Authorizer // nil allows everything
	known map[string]answer
}

type answer struct {
	decision authorizer.Decision
	reason   string
	err      error
}

// NewAuthorizer asks a.
func NewAuthorizer(a auth.Authorizer) *Authorizer {
	return &Authorizer{of: a, known: map[string]answer{}}
}

// Authorize implements apiserver's Authorizer.
func (a *Authorizer) Authorize(ctx context.Context, in authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.of == nil {
		return authorizer.DecisionAllow, "", nil
	}
	q := question(in)
	key, err := json.Marshal(q)
	if err != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	if found, ok := a.known[string(key)]; ok {
		return found.decision, found.reason, found.err
	}
	d, reason, err := a.of.Authorize(ctx, q)
	out := answer{authorizer.DecisionNoOpinion, reason, err}
	switch d {
	case auth.Allow:
		out.decision = authorizer.DecisionAllow
	case auth.Deny:
		out.decision = authorizer.DecisionDeny
	}
	a.known[string(key)] = out
	return out.decision, out.reason, out.err
}

func question(in authorizer.Attributes) *auth.Attributes {
	q := &auth.Attributes{
		Verb: in.GetVerb(), Namespace: in.GetNamespace(), Group: in.GetAPIGroup(), Version: in.GetAPIVersion(),
		Resource: in.GetResource(), Subresource: in.GetSubresource(), Name: in.GetName(), Path: in.GetPath(), IsResource: in.IsResourceRequest(),
	}
	if u := in.GetUser(); u != nil {
		q.User = &auth.User{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()}
	}
	// A selector that cannot be read narrows nothing.
	if rs, err := in.GetFieldSelector(); err == nil && len(rs) > 0 {
		parts := make([]string, len(rs))
		for i, r := range rs {
			parts[i] = r.Field + string(r.Operator) + r.Value
		}
		q.FieldSelector = strings.Join(parts, ",")
	}
	if rs, err := in.GetLabelSelector(); err == nil && len(rs) > 0 {
		q.LabelSelector = labels.NewSelector().Add(rs...).String()
	}
	return q
}
