// Package bootstrap knows bootstrap tokens: short secrets by which a machine that is not
// part of the cluster yet asks for more (Secrets of the type bootstrap.kubernetes.io/token
// in kube-system; plugin/pkg/auth/authenticator/token/bootstrap in Kubernetes).
package bootstrap

import (
	"crypto/subtle"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/auth"
)

// Names of the keys of a token's Secret, and what begins its name.
const (
	SecretPrefix      = "bootstrap-token-"
	KeyID             = "token-id"
	KeySecret         = "token-secret"
	KeyExpiration     = "expiration"
	KeyGroups         = "auth-extra-groups"
	KeyAuthentication = "usage-bootstrap-authentication"

	userPrefix  = "system:bootstrap:"
	groupAll    = "system:bootstrappers"
	systemSpace = "kube-system"
)

var (
	tokenForm = regexp.MustCompile(`\A([a-z0-9]{6})\.([a-z0-9]{16})\z`)
	groupForm = regexp.MustCompile(`\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`)
)

// Secrets reads Secrets; ok is false for what does not exist.
type Secrets interface {
	Secret(namespace, name string) (*v1.Secret, bool)
}

// Tokens knows bootstrap tokens by their Secrets.
type Tokens struct {
	Secrets Secrets
	Now     func() time.Time
}

// AuthenticatePlainToken finds the machine that a token is. A token that is not good is
// nobody's, without an error: another kind of token may look the same.
func (t Tokens) AuthenticatePlainToken(token string) (*auth.User, bool, error) {
	m := tokenForm.FindStringSubmatch(token)
	if m == nil {
		return nil, false, nil
	}
	id, secret := m[1], m[2]
	s, ok := t.Secrets.Secret(systemSpace, SecretPrefix+id)
	if !ok || s.DeletionTimestamp != nil || s.Type != v1.SecretTypeBootstrapToken ||
		subtle.ConstantTimeCompare(s.Data[KeySecret], []byte(secret)) != 1 || string(s.Data[KeyID]) != id ||
		Expired(s, t.Now()) || string(s.Data[KeyAuthentication]) != "true" {
		return nil, false, nil
	}
	groups, err := groupsOf(s)
	if err != nil {
		return nil, false, nil
	}
	return &auth.User{Name: userPrefix + id, Groups: groups}, true, nil
}

// Expired tells whether a token's time is over; one whose end cannot be read is.
func Expired(s *v1.Secret, now time.Time) bool {
	text := string(s.Data[KeyExpiration])
	if text == "" {
		return false
	}
	end, err := time.Parse(time.RFC3339, text)
	return err != nil || !now.Before(end)
}

func groupsOf(s *v1.Secret) ([]string, error) {
	groups := []string{groupAll}
	for _, g := range strings.Split(string(s.Data[KeyGroups]), ",") {
		if g == "" && len(s.Data[KeyGroups]) == 0 {
			continue
		}
		if !groupForm.MatchString(g) {
			return nil, fmt.Errorf("bootstrap group %q is invalid (must match %s)", g, groupForm)
		}
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	slices.Sort(groups)
	return groups, nil
}
