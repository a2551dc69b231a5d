// Package networking holds the kinds of the group networking.k8s.io: ways into
// the cluster, rules between pods, and the addresses of services. See package
// kinds for the table that this is a part of.
package networking

import (
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(ingressClass(), rules.MetaUpdate|rules.MetaFull),
		rules.WithMeta(ingress(), rules.MetaUpdate|rules.MetaFull|rules.MetaStatus),
		rules.WithMeta(ipAddress(), rules.MetaUpdate|rules.MetaFull),
		rules.WithMeta(networkPolicy(), rules.MetaUpdate),
		rules.WithMeta(serviceCIDR(), rules.MetaUpdate|rules.MetaStatus),
	}
}
