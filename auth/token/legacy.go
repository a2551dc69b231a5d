package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/authn"
	"skiff.dev/skiff/auth/recent"
)

// legacyIssuer is the name in tokens of old, which are kept in Secrets and never
// expire.
const legacyIssuer = "kubernetes/serviceaccount"

// Labels by which such Secrets are followed until nobody needs them.
const (
	LabelLastUsed     = "kubernetes.io/legacy-token-last-used"
	LabelInvalidSince = "kubernetes.io/legacy-token-invalid-since"
	// DateFormat is of their values.
	DateFormat = "2006-01-02"
)

// legacyClaims are what a token of old says.
type legacyClaims struct {
	Issuer     string `json:"iss"`
	Namespace  string `json:"kubernetes.io/serviceaccount/namespace"`
	SecretName string `json:"kubernetes.io/serviceaccount/secret.name"`
	Name       string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID        string `json:"kubernetes.io/serviceaccount/service-account.uid"`
	Subject    string `json:"sub"`
}

// Legacy makes the token that the Secret of a service account holds.
func (i *Issuer) Legacy(namespace, account, uid, secret string) (string, error) {
	t, err := sign(i.key, i.alg, i.kid, &legacyClaims{legacyIssuer, namespace, secret, account, uid, auth.PrefixServiceAccount + namespace + ":" + account})
	if err != nil {
		return "", fmt.Errorf("token: sign: %w", err)
	}
	return t, nil
}

// readLegacy reads the claims of a token whose signature is good.
func readLegacy(payload []byte) (*legacyClaims, error) {
	c := &legacyClaims{}
	if err := json.Unmarshal(payload, c); err != nil {
		return nil, fmt.Errorf("token: claims: %w", err)
	}
	for _, x := range []struct{ name, value string }{
		{"sub", c.Subject}, {"namespace", c.Namespace}, {"secretName", c.SecretName}, {"serviceAccountName", c.Name}, {"serviceAccountUID", c.UID},
	} {
		if x.value == "" {
			return nil, fmt.Errorf("%s claim is missing", x.name)
		}
	}
	ns, name, ok := authn.SplitServiceAccount(c.Subject)
	if !ok || ns != c.Namespace || name != c.Name {
		return nil, errors.New("sub claim is invalid")
	}
	return c, nil
}

// validateLegacy looks at the Secret that holds the token and at its service account
// (pkg/serviceaccount, legacyValidator).
func (a *Authenticator) validateLegacy(c *legacyClaims, token string) (*auth.User, error) {
	secret, ok := a.objects.Secret(c.Namespace, c.SecretName)
	if !ok || secret.DeletionTimestamp != nil {
		return nil, errors.New("Token has been invalidated") //lint:ignore ST1005 Kubernetes' words
	}
	if !bytes.Equal(secret.Data[v1.ServiceAccountTokenKey], []byte(token)) {
		return nil, errors.New("Token does not match server's copy") //lint:ignore ST1005 Kubernetes' words
	}
	sa, ok := a.objects.ServiceAccount(c.Namespace, c.Name)
	if !ok {
		return nil, apierrors.NewNotFound(v1.Resource("serviceaccounts"), c.Name)
	}
	if sa.DeletionTimestamp != nil {
		return nil, fmt.Errorf("ServiceAccount %s/%s has been deleted", c.Namespace, c.Name)
	}
	if string(sa.UID) != c.UID {
		return nil, fmt.Errorf("ServiceAccount UID (%s) does not match claim (%s)", sa.UID, c.UID)
	}
	a.use(secret)
	if secret.Labels[LabelInvalidSince] != "" {
		return nil, fmt.Errorf("the token in secret %s/%s for service account %s/%s has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '%s' label from the secret to temporarily allow use of this token",
			c.Namespace, c.SecretName, c.Namespace, c.Name, LabelInvalidSince)
	}
	return &auth.User{
		Name:   auth.PrefixServiceAccount + c.Namespace + ":" + c.Name,
		UID:    c.UID,
		Groups: []string{auth.GroupServiceAccounts, auth.GroupServiceAccounts + ":" + c.Namespace},
	}, nil
}

// use tells OnUse once a day of a Secret whose token is used.
func (a *Authenticator) use(s *v1.Secret) {
	if a.OnUse == nil {
		return
	}
	today := a.now().UTC().Format(DateFormat)
	if last := s.Labels[LabelLastUsed]; last != "" {
		if t, err := time.Parse(DateFormat, last); err == nil && !t.Before(a.now().UTC().Truncate(24*time.Hour)) {
			return
		}
	}
	key := s.Namespace + "/" + s.Name + "/" + today
	if _, told := a.told.Get(key); told {
		return
	}
	a.told.Put(key, struct{}{})
	a.OnUse(s.Namespace, s.Name, today)
}

func newTold() *recent.Map[string, struct{}] { return recent.New[string, struct{}](256) }
