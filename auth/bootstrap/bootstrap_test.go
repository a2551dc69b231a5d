package bootstrap

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type secrets map[string]*v1.Secret

func (m secrets) Secret(ns, name string) (*v1.Secret, bool) {
	s, ok := m[ns+"/"+name]
	return s, ok
}

func token(data ...string) *v1.Secret {
	s := &v1.Secret{Type: v1.SecretTypeBootstrapToken, Data: map[string][]byte{KeyID: []byte("abcdef"), KeySecret: []byte("0123456789abcdef"), KeyAuthentication: []byte("true")}}
	for i := 0; i < len(data); i += 2 {
		s.Data[data[i]] = []byte(data[i+1])
	}
	return s
}

func TestTokens(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	typed, deleted := token(), token()
	typed.Type = v1.SecretTypeOpaque
	deleted.DeletionTimestamp = &metav1.Time{Time: now}
	const good = "abcdef.0123456789abcdef"
	for _, c := range []struct {
		name, token string
		secret      *v1.Secret
		want        string
	}{
		{"good", good, token(), "system:bootstrap:abcdef [system:bootstrappers]"},
		{"with groups", good, token(KeyGroups, "system:bootstrappers:b,system:bootstrappers:a"), "system:bootstrap:abcdef [system:bootstrappers system:bootstrappers:a system:bootstrappers:b]"},
		{"another group", good, token(KeyGroups, "system:masters"), ""},
		{"an empty group", good, token(KeyGroups, "system:bootstrappers:a,"), ""},
		{"wrong secret", "abcdef.0123456789abcdee", token(), ""},
		{"not its id", good, token(KeyID, "abcdee"), ""},
		{"not ended", good, token(KeyExpiration, "2026-05-01T00:00:01Z"), "system:bootstrap:abcdef [system:bootstrappers]"},
		{"ended", good, token(KeyExpiration, "2026-05-01T00:00:00Z"), ""},
		{"ends some day", good, token(KeyExpiration, "tomorrow"), ""},
		{"for signing", good, token(KeyAuthentication, "false"), ""},
		{"another type", good, typed, ""},
		{"deleted", good, deleted, ""},
		{"form", good + "\n", token(), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			u, ok, err := Tokens{secrets{"kube-system/bootstrap-token-abcdef": c.secret}, func() time.Time { return now }}.AuthenticatePlainToken(c.token)
			got := ""
			if ok {
				got = u.Name + " [" + strings.Join(u.Groups, " ") + "]"
			}
			if err != nil || got != c.want {
				t.Errorf("%q %v, want %q", got, err, c.want)
			}
		})
	}
}

func FuzzToken(f *testing.F) {
	f.Add("abcdef.0123456789abcdef", "system:bootstrappers:a", "2026-05-01T00:00:00Z")
	f.Fuzz(func(t *testing.T, s, groups, end string) {
		x := Tokens{secrets{"kube-system/bootstrap-token-abcdef": token(KeyGroups, groups, KeyExpiration, end)}, time.Now}
		if u, ok, _ := x.AuthenticatePlainToken(s); ok {
			for _, g := range u.Groups {
				if !strings.HasPrefix(g, "system:bootstrappers") {
					t.Errorf("group %q", g)
				}
			}
		}
	})
}
