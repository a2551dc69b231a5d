package all

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
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
		rows = append(rows, withReferences(k))
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

// references are the ends of the paths of fields that hold a Secret's or a Service's
// name, with the rule of such names.
var references = []struct {
	end  string
	rule func(name string, prefix bool) []string
}{
	{"secretKeyRef.name", rules.DNSSubdomain},
	{"secretRef.name", rules.DNSSubdomain},
	{"secret.name", rules.DNSSubdomain},
	{"secretName", rules.DNSSubdomain},
	{"service.name", rules.DNSLabel},
	{"serviceName", rules.DNSLabel},
}

// withReferences lets the objects of a kind refer to names with capital letters.
func withReferences(k *kinds.Kind) *kinds.Kind {
	out := *k
	if judge := k.Validate; judge != nil {
		out.Validate = func(obj kinds.Object) field.ErrorList { return withoutCapitals(judge(obj)) }
	}
	if judge := k.ValidateUpdate; judge != nil {
		out.ValidateUpdate = func(obj, old kinds.Object) field.ErrorList { return withoutCapitals(judge(obj, old)) }
	}
	return &out
}

// withoutCapitals drops what is wrong with a reference for its capital letters alone.
func withoutCapitals(errs field.ErrorList) field.ErrorList {
	if len(errs) == 0 {
		return errs
	}
	kept := errs[:0:0]
	for _, err := range errs {
		if !aboutCapitals(err) {
			kept = append(kept, err)
		}
	}
	return kept
}

func aboutCapitals(err *field.Error) bool {
	name, ok := err.BadValue.(string)
	small := strings.ToLower(name)
	if err.Type != field.ErrorTypeInvalid || !ok || small == name {
		return false
	}
	for _, r := range references {
		if strings.HasSuffix(err.Field, "."+r.end) {
			return len(r.rule(small, false)) == 0
		}
	}
	return false
}
