// Package all joins the groups into the one table of built-in kinds. A new group
// is one line here.
package all

import (
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/admissionregistration"
	"skiff.dev/skiff/kinds/apiextensions"
	"skiff.dev/skiff/kinds/apiregistration"
	"skiff.dev/skiff/kinds/apps"
	"skiff.dev/skiff/kinds/authentication"
	"skiff.dev/skiff/kinds/authorization"
	"skiff.dev/skiff/kinds/autoscaling"
	"skiff.dev/skiff/kinds/batch"
	"skiff.dev/skiff/kinds/certificates"
	"skiff.dev/skiff/kinds/coordination"
	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/discovery"
	"skiff.dev/skiff/kinds/events"
	"skiff.dev/skiff/kinds/flowcontrol"
	"skiff.dev/skiff/kinds/networking"
	"skiff.dev/skiff/kinds/node"
	"skiff.dev/skiff/kinds/policy"
	"skiff.dev/skiff/kinds/rbac"
	"skiff.dev/skiff/kinds/resource"
	"skiff.dev/skiff/kinds/scheduling"
	"skiff.dev/skiff/kinds/settings"
	"skiff.dev/skiff/kinds/storage"
)

// Table makes the table of every built-in kind.
func Table() *kinds.Table {
	return kinds.NewTable(
		withEvents(core.Kinds()),
		apiregistration.Kinds(),
		apps.Kinds(),
		authentication.Kinds(),
		authorization.Kinds(),
		autoscaling.Kinds(),
		batch.Kinds(),
		certificates.Kinds(),
		networking.Kinds(),
		policy.Kinds(),
		rbac.Kinds(),
		storage.Kinds(),
		admissionregistration.Kinds(),
		apiextensions.Kinds(),
		scheduling.Kinds(),
		coordination.Kinds(),
		node.Kinds(),
		discovery.Kinds(),
		resource.Kinds(),
		flowcontrol.Kinds(),
		settings.Kinds(),
	)
}

// withEvents lets core's Event be served as events.k8s.io's too.
func withEvents(rows []*kinds.Kind) []*kinds.Kind {
	for _, k := range rows {
		if k.Kind == "Event" {
			k.Served = append(k.Served, events.Versions()...)
		}
	}
	return rows
}
