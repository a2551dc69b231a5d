package apiserver

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"skiff.dev/skiff/kinds"
)

func FuzzContinueToken(f *testing.F) {
	f.Add(token{Revision: 7, After: "default/a"}.String())
	f.Add("e30")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := parseToken(s)
		if err != nil {
			return
		}
		again, err := parseToken(tok.String())
		if err != nil || again != tok {
			t.Errorf("%+v does not survive: %+v, %v", tok, again, err)
		}
	})
}

func FuzzSelection(f *testing.F) {
	f.Add("a=b,c in (d,e),!f", "metadata.name=x,spec.nodeName!=y")
	k := &kinds.Kind{Namespaced: true, Fields: map[string]func(kinds.Object) string{
		"spec.nodeName": func(o kinds.Object) string { return o.(*corev1.Pod).Spec.NodeName },
	}}
	obj := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "n", Labels: map[string]string{"a": "b", "c": "d"}}}
	f.Fuzz(func(t *testing.T, label, field string) {
		ls, err := labels.Parse(label)
		if err != nil {
			return
		}
		fs, err := fields.ParseSelector(field)
		if err != nil {
			return
		}
		s, err := newSelection(k, nil, ls, fs)
		if err != nil {
			return
		}
		set := fields.Set{"metadata.name": "x", "metadata.namespace": "n", "spec.nodeName": ""}
		if got, want := s.matches(obj), ls.Matches(labels.Set(obj.Labels)) && fs.Matches(set); got != want {
			t.Errorf("%q %q: matches %v, want %v", label, field, got, want)
		}
	})
}
