// Package networking holds the kinds of the group networking.k8s.io: ways into
// the cluster, rules between pods, and the addresses of services. See package
// kinds for the table that this is a part of.
package networking

import "skiff.dev/skiff/kinds"

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{ingressClass(), ingress(), ipAddress(), networkPolicy(), serviceCIDR()}
}
