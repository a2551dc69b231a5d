package core

import (
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// mountableSecrets is the annotation that limits the secrets a pod may mount.
const mountableSecrets = "kubernetes.io/enforce-mountable-secrets"

func serviceAccount() *kinds.Kind {
	k := newKind[v1.ServiceAccount, v1.ServiceAccountList]("serviceaccounts", true, "sa")
	k.Name = rules.DNSSubdomain
	k.PrepareCreate = rules.Do(secretNamesOnly)
	k.PrepareUpdate = rules.Do2(func(obj, _ *v1.ServiceAccount) { secretNamesOnly(obj) })
	// Of an account there is only metadata to judge, which the server does.
	k.Validate = rules.Check(func(*v1.ServiceAccount) field.ErrorList { return nil })
	k.ValidateUpdate = rules.Check2(func(_, _ *v1.ServiceAccount) field.ErrorList { return nil })
	k.Warnings = rules.Warn(func(sa, old *v1.ServiceAccount) []string {
		if old != nil {
			if _, had := old.Annotations[mountableSecrets]; had {
				return nil
			}
		}
		if _, has := sa.Annotations[mountableSecrets]; has {
			return []string{"metadata.annotations[" + mountableSecrets + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
		}
		return nil
	})
	k.Subresources = map[string]kinds.Subresource{
		"token": {
			Verbs: []string{"create"},
			Kind:  schema.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"},
		},
	}
	k.Columns = []metav1.TableColumnDefinition{rules.NameColumn(), rules.AgeColumn()}
	k.Cells = rules.Cells(func(sa *v1.ServiceAccount, now time.Time) []any {
		return []any{sa.Name, rules.Age(sa.CreationTimestamp, now)}
	})
	return k
}

// secretNamesOnly drops all of a reference to a secret but its name.
func secretNamesOnly(sa *v1.ServiceAccount) {
	for i := range sa.Secrets {
		sa.Secrets[i] = v1.ObjectReference{Name: sa.Secrets[i].Name}
	}
}
