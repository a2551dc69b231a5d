package all

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestCapitalLettersInNames(t *testing.T) {
	exact := Table()
	lenient := Lenient(exact)
	for _, c := range []struct {
		resource, name          string
		prefix, exact, accepted bool
	}{
		{"secrets", "Example-secret", false, false, true},
		{"secrets", "example.secret", false, true, true},
		{"secrets", "Example_secret", false, false, false},
		{"secrets", "-Example", false, false, false},
		{"services", "externalName-service", false, false, true},
		{"services", "external.Name", false, false, false},
		{"endpoints", "externalName-service", false, false, true},
		{"endpointslices", "externalName-service-", true, false, true},
		{"configmaps", "Config", false, false, false},
		{"pods", "Web", false, false, false},
	} {
		gr := schema.GroupResource{Resource: c.resource}
		if c.resource == "endpointslices" {
			gr.Group = "discovery.k8s.io"
		}
		strict, _ := exact.ByResource(gr)
		if got := len(strict.Name(c.name, c.prefix)) == 0; got != c.exact {
			t.Errorf("%s %s, as Kubernetes: %v", c.resource, c.name, got)
		}
		k, _ := lenient.ByResource(gr)
		errs := k.Name(c.name, c.prefix)
		if got := len(errs) == 0; got != c.accepted {
			t.Errorf("%s %s, for old manifests: %v", c.resource, c.name, got)
		}
		if !c.accepted && errs[0] != strict.Name(c.name, c.prefix)[0] {
			t.Errorf("%s %s: worded %q", c.resource, c.name, errs[0])
		}
	}
}

func TestCapitalLettersAreRemarked(t *testing.T) {
	table := Lenient(Table())
	k, _ := table.ByResource(schema.GroupResource{Resource: "secrets"})
	s := &v1.Secret{}
	s.Name = "Example-secret"
	if w := k.Warnings(s, nil); len(w) != 1 || !strings.Contains(w[0], `"Example-secret" has capital letters`) {
		t.Errorf("%q", w)
	}
	if w := k.Warnings(s, s); len(w) != 0 {
		t.Errorf("an update is remarked: %q", w)
	}
	s.Name, s.Type = "small", v1.SecretTypeTLS
	if w := k.Warnings(s, nil); len(w) != 1 {
		t.Errorf("the kind's own warnings: %q", w)
	}
	e, _ := table.ByResource(schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"})
	if w := e.Warnings(&discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSlice{}); len(w) != 0 {
		t.Errorf("%q", w)
	}
}

func TestReferencesWithCapitalLetters(t *testing.T) {
	table := Lenient(Table())
	pod := func(secret string) string {
		return `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {volumes: [{name: v, secret: {secretName: ` + secret + `}}], containers: [{name: c, image: i,
		  env: [{name: A, valueFrom: {secretKeyRef: {name: ` + secret + `, key: k}}}], envFrom: [{secretRef: {name: ` + secret + `}}]}]}}`
	}
	ingress := func(service string) string {
		return `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {tls: [{secretName: My-Tls}], defaultBackend: {service: {name: ` + service + `, port: {number: 80}}}}}`
	}
	for _, c := range []struct {
		manifest string
		accepted bool
	}{
		{pod("Example-Secret"), true},
		{pod("Example_Secret"), false},
		{ingress("My-Service"), true},
		{ingress("My.Service"), false},
		{`{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: Big, image: i}]}}`, false},
	} {
		_, errs, err := accept(table, []byte(c.manifest))
		if err != nil || (len(errs) == 0) != c.accepted {
			t.Errorf("%s: %v %v", c.manifest, err, errs)
		}
	}
}
