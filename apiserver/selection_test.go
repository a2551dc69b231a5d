package apiserver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds/all"
)

func TestFieldLabelsAreTheForms(t *testing.T) {
	event := &corev1.Event{InvolvedObject: corev1.ObjectReference{Name: "web"}}
	for _, x := range []struct{ group, version, resource, selector, err string }{
		{"", "v1", "events", "involvedObject.name=web", ""},
		{"events.k8s.io", "v1", "events", "regarding.name=web", ""},
		{"events.k8s.io", "v1", "events", "involvedObject.name=web", "field label not supported: involvedObject.name"},
		{"", "v1", "events", "regarding.name=web", "field label not supported: regarding.name"},
		{"apps", "v1", "replicasets", "status.replicas=0", `"status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"`},
	} {
		gv := schema.GroupVersion{Group: x.group, Version: x.version}
		k, ok := all.Table().ByGVR(gv.WithResource(x.resource))
		if !ok {
			t.Fatal(gv, x.resource)
		}
		v, _ := k.ServedAs(gv)
		s, err := newSelection(k, v, nil, fields.ParseSelectorOrDie(x.selector))
		switch {
		case err != nil && err.Error() != x.err || err == nil && x.err != "":
			t.Errorf("%v %s: %v, want %s", gv, x.selector, err, x.err)
		case err == nil && (!s.matches(event) || s.matches(&corev1.Event{})):
			t.Errorf("%v %s selects the wrong events", gv, x.selector)
		}
	}
}
