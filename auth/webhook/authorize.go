package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"skiff.dev/skiff/auth"
)

// Options of an Authorizer.
type Options struct {
	Version      string        // v1 or v1beta1
	Authorized   time.Duration // how long an answer that allows holds
	Unauthorized time.Duration // how long any other does
	// OnError is the decision where there is no answer: NoOpinion or Deny.
	OnError auth.Decision
	// Match tells whether the server is to be asked; nil asks it always.
	Match func(context.Context, *authorizationv1.SubjectAccessReview) (bool, error)
	Now   func() time.Time // may be nil
}

// Authorizer asks a server with SubjectAccessReviews (authorizer/webhook).
type Authorizer struct {
	caller *Caller
	o      Options
	known  *answers[authorizationv1.SubjectAccessReviewStatus]
}

var _ auth.Authorizer = (*Authorizer)(nil)

// NewAuthorizer asks caller.
func NewAuthorizer(caller *Caller, o Options) (*Authorizer, error) {
	if o.Version != "v1" && o.Version != "v1beta1" {
		return nil, fmt.Errorf("unsupported authorization webhook version %q, supported versions are %q, %q", o.Version, "v1", "v1beta1")
	}
	return &Authorizer{caller, o, newAnswers[authorizationv1.SubjectAccessReviewStatus](o.Now)}, nil
}

// maxRemembered is up to which size of what a client controls an answer is remembered.
const maxRemembered = 10000

// Authorize implements auth.Authorizer.
func (z *Authorizer) Authorize(ctx context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: spec(a)}
	if z.o.Match != nil {
		switch ok, err := z.o.Match(ctx, review); {
		case err != nil:
			return z.o.OnError, "", err
		case !ok:
			return auth.NoOpinion, "", nil
		}
	}
	key, err := json.Marshal(&review.Spec)
	if err != nil {
		return z.o.OnError, "", err
	}
	status, err := z.known.get(key, func() (authorizationv1.SubjectAccessReviewStatus, time.Duration, error) {
		review.TypeMeta = metav1.TypeMeta{APIVersion: authorizationv1.GroupName + "/" + z.o.Version, Kind: "SubjectAccessReview"}
		var out authorizationv1.SubjectAccessReview
		// Others wait for the same answer: that this client goes is no reason to stop.
		err := z.caller.Review(context.WithoutCancel(ctx), z.wire(review), &out)
		ttl := z.o.Unauthorized
		if out.Status.Allowed {
			ttl = z.o.Authorized
		}
		if controlled(a) >= maxRemembered {
			ttl = 0
		}
		return out.Status, ttl, err
	})
	switch {
	case err != nil:
		return z.o.OnError, "", err
	case status.Denied && status.Allowed:
		return auth.Deny, status.Reason, errors.New("webhook subject access review returned both allow and deny response")
	case status.Denied:
		return auth.Deny, status.Reason, nil
	case status.Allowed:
		return auth.Allow, status.Reason, nil
	}
	return auth.NoOpinion, status.Reason, nil
}

// wire is the review as the version writes it: v1beta1 calls the groups group.
func (z *Authorizer) wire(r *authorizationv1.SubjectAccessReview) any {
	if z.o.Version == "v1" {
		return r
	}
	return &oldReview{TypeMeta: r.TypeMeta, Spec: oldSpec{r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes, r.Spec.User, r.Spec.Groups, r.Spec.Extra, r.Spec.UID}}
}

type oldReview struct {
	metav1.TypeMeta
	Metadata struct{}                                  `json:"metadata"`
	Spec     oldSpec                                   `json:"spec"`
	Status   authorizationv1.SubjectAccessReviewStatus `json:"status"`
}

type oldSpec struct {
	ResourceAttributes    *authorizationv1.ResourceAttributes    `json:"resourceAttributes,omitempty"`
	NonResourceAttributes *authorizationv1.NonResourceAttributes `json:"nonResourceAttributes,omitempty"`
	User                  string                                 `json:"user,omitempty"`
	Groups                []string                               `json:"group,omitempty"`
	Extra                 map[string]authorizationv1.ExtraValue  `json:"extra,omitempty"`
	UID                   string                                 `json:"uid,omitempty"`
}

func controlled(a *auth.Attributes) int {
	return len(a.Namespace) + len(a.Verb) + len(a.Group) + len(a.Version) + len(a.Resource) + len(a.Subresource) + len(a.Name) + len(a.Path) +
		len(a.FieldSelector) + len(a.LabelSelector)
}

func spec(a *auth.Attributes) authorizationv1.SubjectAccessReviewSpec {
	var s authorizationv1.SubjectAccessReviewSpec
	if u := a.User; u != nil {
		s.User, s.UID, s.Groups = u.Name, u.UID, u.Groups
		if u.Extra != nil {
			s.Extra = make(map[string]authorizationv1.ExtraValue, len(u.Extra))
			for k, v := range u.Extra {
				s.Extra[k] = v
			}
		}
	}
	if !a.IsResource {
		s.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: a.Path, Verb: a.Verb}
		return s
	}
	s.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: a.Namespace, Verb: a.Verb, Group: a.Group, Version: a.Version,
		Resource: a.Resource, Subresource: a.Subresource, Name: a.Name}
	if a.Verb == "list" || a.Verb == "watch" || a.Verb == "deletecollection" {
		if f := fieldRequirements(a.FieldSelector); len(f) > 0 {
			s.ResourceAttributes.FieldSelector = &authorizationv1.FieldSelectorAttributes{Requirements: f}
		}
		if l := labelRequirements(a.LabelSelector); len(l) > 0 {
			s.ResourceAttributes.LabelSelector = &authorizationv1.LabelSelectorAttributes{Requirements: l}
		}
	}
	return s
}

// fieldRequirements are what a selector requires, as far as it can be told: leaving one
// out asks for more.
func fieldRequirements(text string) []metav1.FieldSelectorRequirement {
	if text == "" {
		return nil
	}
	sel, err := fields.ParseSelector(text)
	if err != nil {
		return nil
	}
	var out []metav1.FieldSelectorRequirement
	for _, r := range sel.Requirements() {
		q := metav1.FieldSelectorRequirement{Key: r.Field, Values: []string{r.Value}}
		switch r.Operator {
		case selection.Equals, selection.DoubleEquals, selection.In:
			q.Operator = metav1.FieldSelectorOpIn
		case selection.NotEquals, selection.NotIn:
			q.Operator = metav1.FieldSelectorOpNotIn
		default:
			continue
		}
		out = append(out, q)
	}
	return out
}

func labelRequirements(text string) []metav1.LabelSelectorRequirement {
	if text == "" {
		return nil
	}
	list, err := labels.ParseToRequirements(text)
	if err != nil {
		return nil
	}
	var out []metav1.LabelSelectorRequirement
	for _, r := range list {
		q := metav1.LabelSelectorRequirement{Key: r.Key(), Values: r.ValuesUnsorted()}
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			q.Operator = metav1.LabelSelectorOpIn
		case selection.NotEquals, selection.NotIn:
			q.Operator = metav1.LabelSelectorOpNotIn
		case selection.Exists:
			q.Operator, q.Values = metav1.LabelSelectorOpExists, nil
		case selection.DoesNotExist:
			q.Operator, q.Values = metav1.LabelSelectorOpDoesNotExist, nil
		default:
			continue
		}
		out = append(out, q)
	}
	return out
}
