package client

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/kinds"
)

// A continue token may be anything: it is refused or names a place in the list.
func FuzzPage(f *testing.F) {
	var objs []kinds.Object
	for _, ns := range []string{"a", "b"} {
		for i := range 3 {
			cm := &corev1.ConfigMap{}
			cm.Namespace, cm.Name = ns, fmt.Sprint("n", i)
			objs = append(objs, cm)
		}
	}
	_, next, err := page(objs, 2, "")
	if err != nil || next == "" {
		f.Fatal(next, err)
	}
	for _, seed := range []string{next, "", "not base64!", "YQ", "YS8", "Ly8v"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		out, next, err := page(objs, 2, token)
		if err != nil {
			return
		}
		if len(out) > 2 || next != "" && len(out) != 2 {
			t.Fatalf("%q: %d objects, next %q", token, len(out), next)
		}
	})
}
