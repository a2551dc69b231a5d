package initial

import (
	"net/netip"
	"testing"

	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
)

// Every object is valid, and there is one of each name.
func TestObjects(t *testing.T) {
	table, seen := all.Table(), map[string]kinds.Object{}
	for _, obj := range append(Objects(table, netip.MustParsePrefix("10.96.0.0/16")), Address(netip.MustParseAddr("10.96.0.1"), "default", "kubernetes")) {
		gvks, _, err := scheme.New().ObjectKinds(obj)
		if err != nil {
			t.Fatal(err)
		}
		k, ok := table.ByGVK(gvks[0])
		if !ok {
			t.Fatal(gvks[0])
		}
		key := k.Kind + " " + obj.GetName()
		if seen[key] != nil {
			t.Error(key, "is there twice")
		}
		seen[key] = obj
		if k.Default != nil {
			k.Default(obj)
		}
		if errs := k.Validate(obj); len(errs) > 0 {
			t.Error(key, errs.ToAggregate())
		}
	}
	apps, ok := seen["APIService v1.apps"].(*apiregistrationv1.APIService)
	if !ok || apps.Spec.GroupPriorityMinimum != 17800 || apps.Spec.VersionPriority != 15 {
		t.Errorf("%+v", apps)
	}
	for _, want := range []string{"APIService v1.", "ServiceCIDR kubernetes", "IPAddress 10.96.0.1"} {
		if seen[want] == nil {
			t.Error("no", want)
		}
	}
	if seen["APIService v1.apiregistration.k8s.io"] != nil || seen["APIService v1beta1.extensions"] != nil {
		t.Error("an APIService too many")
	}
}
