// Package coordination holds the kinds of the group coordination.k8s.io: who leads
// and who is alive. See package kinds for the table that this is a part of.
package coordination

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind { return []*kinds.Kind{lease()} }

func lease() *kinds.Kind {
	type T = *coordinationv1.Lease
	return row.Fill[coordinationv1.Lease, coordinationv1.LeaseList](coordinationv1.SchemeGroupVersion, &kinds.Kind{
		Resource:            "leases",
		Namespaced:          true,
		AllowCreateOnUpdate: true,
		RequireRevision:     true,
		Name:                rules.DNSSubdomain,
		// Coordinated leader election is off by default in 1.36.
		PrepareCreate: rules.Do(func(l T) { l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil }),
		PrepareUpdate: rules.Do2(func(l, old T) {
			if old.Spec.Strategy == nil {
				l.Spec.Strategy = nil
			}
			if old.Spec.PreferredHolder == nil {
				l.Spec.PreferredHolder = nil
			}
		}),
		Validate:       rules.Check(validateLease),
		ValidateUpdate: rules.Check2(validateLeaseUpdate),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Holder", coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(l T, now time.Time) []any {
			return []any{l.Name, ptr.Deref(l.Spec.HolderIdentity, ""), rules.Age(l.CreationTimestamp, now)}
		}),
	}, oldLease()...)
}
