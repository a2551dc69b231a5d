package core

import (
	"crypto/tls"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func secret() *kinds.Kind {
	k := newKind[v1.Secret, v1.SecretList]("secrets", true)
	k.Name = rules.DNSSubdomain
	k.Default = rules.Do(defaultSecret)
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.Secret) {
		if obj.Type == "" {
			obj.Type = old.Type
		}
	})
	k.Validate = rules.Check(validateSecret)
	k.ValidateUpdate = rules.Check2(validateSecretUpdate)
	k.Warnings = rules.Warn(func(s, _ *v1.Secret) []string {
		if s.Type != v1.SecretTypeTLS {
			return nil
		}
		if _, err := tls.X509KeyPair(s.Data[v1.TLSCertKey], s.Data[v1.TLSPrivateKeyKey]); err != nil {
			return []string{err.Error()}
		}
		return nil
	})
	k.Columns = []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.Column("Type", v1.Secret{}.SwaggerDoc()["type"]),
		rules.Column("Data", v1.Secret{}.SwaggerDoc()["data"]),
		rules.AgeColumn(),
	}
	k.Cells = rules.Cells(func(s *v1.Secret, now time.Time) []any {
		return []any{s.Name, string(s.Type), int64(len(s.Data)), rules.Age(s.CreationTimestamp, now)}
	})
	k.Fields = map[string]func(kinds.Object) string{
		"type": rules.Field(func(s *v1.Secret) string { return string(s.Type) }),
	}
	return k
}

// defaultSecret gives the type, and writes stringData, which is never kept, over
// data.
func defaultSecret(s *v1.Secret) {
	if s.Type == "" {
		s.Type = v1.SecretTypeOpaque
	}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}
