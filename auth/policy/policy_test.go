package policy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
)

// recorded returns what a Kubernetes API server answered to the GETs of a file of
// recordings, by path; the test is skipped where there are none.
func recorded(t *testing.T, name string) map[string]json.RawMessage {
	t.Helper()
	shared := os.Getenv("SKIFF_SHARED")
	for dir, _ := os.Getwd(); shared == "" && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "recorded")); err == nil {
			shared = filepath.Join(dir, "shared")
		}
	}
	b, err := os.ReadFile(filepath.Join(shared, "recorded", name))
	if err != nil {
		t.Skipf("needs recorded answers: %v", err)
	}
	var file struct {
		Steps []struct {
			Method, Path string
			Response     json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	out := map[string]json.RawMessage{}
	for _, s := range file.Steps {
		if s.Method == "GET" {
			out[s.Path] = s.Response
		}
	}
	return out
}

func TestRecordedPolicy(t *testing.T) {
	answers := recorded(t, "f-bootstrap-rbac.json")
	mine := map[string]any{}
	for _, o := range Default().Objects() {
		var kind string
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			kind = "clusterroles"
			if o.AggregationRule != nil {
				o.Rules = nil // a controller's
			}
		case *rbacv1.ClusterRoleBinding:
			kind = "clusterrolebindings"
		case *rbacv1.Role:
			kind = "roles"
		case *rbacv1.RoleBinding:
			kind = "rolebindings"
		}
		o.SetAnnotations(nil)
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(b, &plain); err != nil {
			t.Fatal(err)
		}
		if plain["rules"] == nil {
			delete(plain, "rules")
		}
		mine[kind+" "+o.GetNamespace()+"/"+o.GetName()] = plain
	}
	theirs := map[string]any{}
	for path, raw := range answers {
		var o map[string]any
		if json.Unmarshal(raw, &o) != nil || !strings.Contains(path, "rbac.authorization.k8s.io") {
			continue
		}
		path, _, _ = strings.Cut(path, "?")
		parts := strings.Split(strings.TrimPrefix(path, "/apis/rbac.authorization.k8s.io/v1/"), "/")
		items, list := o["items"].([]any)
		if !list {
			items = []any{o}
			parts = parts[:len(parts)-1]
		}
		kind := parts[len(parts)-1]
		for _, i := range items {
			i := i.(map[string]any)
			delete(i, "kind")
			delete(i, "apiVersion")
			m := i["metadata"].(map[string]any)
			ns, _ := m["namespace"].(string)
			theirs[kind+" "+ns+"/"+m["name"].(string)] = i
		}
	}
	if len(theirs) < 130 {
		t.Fatalf("only %d objects recorded", len(theirs))
	}
	var names []string
	for n := range mine {
		names = append(names, n)
	}
	for n := range theirs {
		if mine[n] == nil {
			t.Errorf("missing: %s", n)
		}
	}
	sort.Strings(names)
	for _, n := range names {
		if !reflect.DeepEqual(mine[n], theirs[n]) {
			t.Errorf("%s:\n got %v\nwant %v", n, mine[n], theirs[n])
		}
	}
}

func TestAggregatedRolesAreFilled(t *testing.T) {
	n := map[string]int{}
	for _, r := range Default().ClusterRoles {
		n[r.Name] = len(r.Rules)
	}
	if !(n["view"] == n["system:aggregate-to-view"] && n["edit"] >= n["view"]+n["system:aggregate-to-edit"] && n["admin"] >= n["edit"]+n["system:aggregate-to-admin"]) {
		t.Errorf("view %d, edit %d, admin %d rules", n["view"], n["edit"], n["admin"])
	}
}

func TestReconcile(t *testing.T) {
	role := func(annotation string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r", Annotations: map[string]string{autoupdate: annotation}}, Rules: rules}
	}
	rule := func(verb, resource string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}}
	}
	binding := func(to string, subjects ...string) *rbacv1.ClusterRoleBinding {
		b := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "b"}, RoleRef: rbacv1.RoleRef{Name: to}}
		for _, s := range subjects {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", Name: s})
		}
		return b
	}
	for _, c := range []struct {
		name       string
		want, have kinds.Object
		write      kinds.Object
		recreate   bool
	}{
		{name: "absent", want: role("true", rule("get", "pods")), write: role("true", rule("get", "pods"))},
		{name: "same", want: role("true", rule("get", "pods")), have: role("true", rule("get", "pods"))},
		{name: "more is kept", want: role("true", rule("get", "pods")), have: role("true", rule("get", "pods"), rule("get", "nodes"))},
		{name: "missing is added", want: role("true", rule("get", "pods"), rule("list", "pods")), have: role("true", rule("get", "nodes"), rule("get", "pods")),
			write: role("true", rule("get", "nodes"), rule("get", "pods"), rule("list", "pods"))},
		{name: "not wanted", want: role("true", rule("get", "pods")), have: role("false")},
		{name: "subject missing", want: binding("x", "a", "b"), have: binding("x", "b", "c"), write: binding("x", "b", "c", "a")},
		{name: "another role", want: binding("x", "a"), have: binding("y", "a"), write: binding("x", "a"), recreate: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			write, recreate := Reconcile(c.want, c.have)
			if recreate != c.recreate || (write == nil) != (c.write == nil) {
				t.Fatalf("got %v, %v", write, recreate)
			}
			if write != nil && !equality.Semantic.DeepEqual(write, c.write) {
				t.Errorf("got %v\nwant %v", write, c.write)
			}
		})
	}
}

func BenchmarkDefault(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Default()
	}
}
