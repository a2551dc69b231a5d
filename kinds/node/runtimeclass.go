// Package node holds the kinds of the group node.k8s.io: how containers are run.
// See package kinds for the table that this is a part of.
package node

import (
	"time"

	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(runtimeClass(), rules.MetaUpdate|rules.MetaFull|rules.MetaGeneral),
	}
}

func runtimeClass() *kinds.Kind {
	type T = *nodev1.RuntimeClass
	return row.Fill[nodev1.RuntimeClass, nodev1.RuntimeClassList](nodev1.SchemeGroupVersion, &kinds.Kind{
		Resource:            "runtimeclasses",
		AllowCreateOnUpdate: true,
		RequireRevision:     true,
		Name:                rules.DNSSubdomain,
		Validate:            rules.Check(validateRuntimeClass),
		ValidateUpdate:      rules.Check2(validateRuntimeClassUpdate),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			// metav1.ObjectMeta has no such field, so Kubernetes has no words here.
			rules.Column("Handler", ""),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(func(c T, now time.Time) []any { return []any{c.Name, c.Handler, rules.Age(c.CreationTimestamp, now)} }),
	}, oldRuntimeClass()...)
}
