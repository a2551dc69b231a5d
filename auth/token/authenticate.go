package token

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/recent"
)

// leeway is how far clocks may differ, and how long a deleted object's tokens live
// on.
const leeway = time.Minute

// Authenticator reads tokens of one issuer. A signature is checked once and
// remembered; the times and the bound objects are looked at on every request.
type Authenticator struct {
	issuer    *Issuer
	audiences []string
	objects   Objects
	now       func() time.Time
	verified  *recent.Map[[32]byte, *Claims]

	// OnUse is told of the use of a Secret's token on a day on which its label does not
	// say so yet; it must not block. May be nil.
	OnUse func(namespace, secret, date string)
	told  *recent.Map[string, struct{}]
}

// NewAuthenticator accepts tokens for the API server's audiences, unless asked for
// others. now may be nil.
func NewAuthenticator(i *Issuer, audiences []string, o Objects, now func() time.Time) *Authenticator {
	if now == nil {
		now = time.Now
	}
	return &Authenticator{issuer: i, audiences: audiences, objects: o, now: now, verified: recent.New[[32]byte, *Claims](2048), told: newTold()}
}

// AuthenticateToken finds the user of token. audiences are those that the caller
// wants to see, nil for the API server's; matched are those that the token has of
// them. ok is false without an error for what is no token of this issuer at all.
func (a *Authenticator) AuthenticateToken(token string, audiences []string) (u *auth.User, matched []string, ok bool, err error) {
	sum := sha256.Sum256([]byte(token))
	c, known := a.verified.Get(sum)
	if !known {
		p, err := parse(token)
		if err != nil || p.claims.Issuer != a.issuer.name && p.claims.Issuer != legacyIssuer {
			return nil, nil, false, nil
		}
		if err := a.issuer.check(p); err != nil {
			return nil, nil, false, err
		}
		c = &p.claims
		if c.Issuer == legacyIssuer {
			if c.legacy, err = readLegacy(p.raw); err != nil {
				return nil, nil, false, err
			}
		}
		a.verified.Put(sum, c)
	}
	has := []string(c.Audiences)
	if len(has) == 0 {
		has = a.audiences // tokens of old carry none
	}
	if audiences == nil {
		audiences = a.audiences
	}
	for _, x := range has {
		if slices.Contains(audiences, x) {
			matched = append(matched, x)
		}
	}
	if len(matched) == 0 && len(a.audiences) != 0 {
		return nil, nil, false, fmt.Errorf("token audiences %q is invalid for the target audiences %q", has, audiences)
	}
	if c.legacy != nil {
		if u, err = a.validateLegacy(c.legacy, token); err != nil {
			return nil, nil, false, err
		}
		return u, matched, true, nil
	}
	if err := a.validate(c); err != nil {
		return nil, nil, false, err
	}
	return userOf(c), matched, true, nil
}

func (a *Authenticator) validate(c *Claims) error {
	now := a.now()
	switch {
	case c.NotBefore != 0 && now.Add(leeway).Before(c.NotBefore.Time()):
		return errors.New("service account token is not valid yet")
	case c.Expiry != 0 && now.Add(-leeway).After(c.Expiry.Time()):
		return errors.New("service account token has expired")
	case c.IssuedAt != 0 && now.Add(leeway).Before(c.IssuedAt.Time()):
		return errors.New("service account token is issued in the future")
	}
	gone := func(m *metav1.ObjectMeta) bool {
		return m.DeletionTimestamp != nil && m.DeletionTimestamp.Time.Before(now.Add(-leeway))
	}
	p := &c.Private
	sa, ok := a.objects.ServiceAccount(p.Namespace, p.ServiceAccount.Name)
	if !ok {
		return apierrors.NewNotFound(v1.Resource("serviceaccounts"), p.ServiceAccount.Name)
	}
	if string(sa.UID) != p.ServiceAccount.UID {
		return fmt.Errorf("service account UID (%s) does not match claim (%s)", sa.UID, p.ServiceAccount.UID)
	}
	if gone(&sa.ObjectMeta) {
		return fmt.Errorf("service account %s/%s has been deleted", p.Namespace, p.ServiceAccount.Name)
	}
	check := func(what string, ref *Ref, m *metav1.ObjectMeta) error {
		switch {
		case string(m.UID) != ref.UID:
			return fmt.Errorf("%s UID (%s) does not match service account %s ref claim (%s)", what, m.UID, what, ref.UID)
		case gone(m):
			return errInvalidated
		}
		return nil
	}
	switch {
	case p.Secret != nil:
		o, ok := a.objects.Secret(p.Namespace, p.Secret.Name)
		if !ok {
			return errInvalidated
		}
		return check("secret", p.Secret, &o.ObjectMeta)
	case p.Pod != nil:
		o, ok := a.objects.Pod(p.Namespace, p.Pod.Name)
		if !ok {
			return errInvalidated
		}
		return check("pod", p.Pod, &o.ObjectMeta)
	case p.Node != nil:
		o, ok := a.objects.Node(p.Node.Name)
		if !ok {
			return errInvalidated
		}
		return check("node", p.Node, &o.ObjectMeta)
	}
	return nil
}

var errInvalidated = errors.New("service account token has been invalidated")

// userOf is the identity that claims give.
func userOf(c *Claims) *auth.User {
	p := &c.Private
	u := &auth.User{
		Name:   auth.PrefixServiceAccount + p.Namespace + ":" + p.ServiceAccount.Name,
		UID:    p.ServiceAccount.UID,
		Groups: []string{auth.GroupServiceAccounts, auth.GroupServiceAccounts + ":" + p.Namespace},
		Extra:  map[string][]string{},
	}
	const prefix = "authentication.kubernetes.io/"
	if p.Pod != nil && p.Pod.Name != "" && p.Pod.UID != "" {
		u.Extra[prefix+"pod-name"] = []string{p.Pod.Name}
		u.Extra[prefix+"pod-uid"] = []string{p.Pod.UID}
	}
	if c.ID != "" {
		u.Extra[prefix+"credential-id"] = []string{"JTI=" + c.ID}
	}
	if p.Node != nil && p.Node.Name != "" {
		u.Extra[prefix+"node-name"] = []string{p.Node.Name}
		if p.Node.UID != "" {
			u.Extra[prefix+"node-uid"] = []string{p.Node.UID}
		}
	}
	return u
}
