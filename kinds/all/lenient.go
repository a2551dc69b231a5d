package all

import (
	"fmt"
	"strings"

	"skiff.dev/skiff/kinds"
)

// capitals are the kinds whose names may have capital letters in old course
// material: Secrets and Services, and what the controllers name after a Service.
var capitals = map[string]bool{"Secret": true, "Service": true, "Endpoints": true, "EndpointSlice": true}

// Lenient is table for a server that welcomes old material. No Kubernetes takes a
// Secret named "Example-secret", but courses were printed with it; here it is
// accepted with a warning. DNS answers a service's name without regard to case.
func Lenient(table *kinds.Table) *kinds.Table {
	rows := make([]*kinds.Kind, 0, len(table.All()))
	for _, k := range table.All() {
		if capitals[k.Kind] && (k.Group == "" || k.Group == "discovery.k8s.io") {
			k = withCapitals(k)
		}
		rows = append(rows, k)
	}
	return kinds.NewTable(rows)
}

func withCapitals(k *kinds.Kind) *kinds.Kind {
	out, name, warnings := *k, k.Name, k.Warnings
	out.Name = func(s string, prefix bool) []string {
		if len(name(strings.ToLower(s), prefix)) == 0 {
			return nil
		}
		return name(s, prefix) // words what is wrong with the name as it was given
	}
	out.Warnings = func(obj, old kinds.Object) []string {
		var list []string
		if s := obj.GetName(); old == nil && len(name(s, false)) > 0 {
			list = append(list, fmt.Sprintf("metadata.name: %q has capital letters, which Kubernetes refuses; it is accepted for the sake of old manifests unless the server runs with --old-api-versions=false", s))
		}
		if warnings != nil {
			list = append(list, warnings(obj, old)...)
		}
		return list
	}
	return &out
}
