package all

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

// shared finds a file beside the repository, or skips the test.
func shared(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("SKIFF_SHARED"); dir != "" {
		return filepath.Join(dir, name)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		at := filepath.Join(dir, "shared", name)
		if _, err := os.Stat(at); err == nil {
			return at
		}
	}
	t.Skipf("needs %s beside the repository", name)
	return ""
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// resourcesOf is what discovery says of a group and version.
func resourcesOf(table *kinds.Table, gv schema.GroupVersion) []metav1.APIResource {
	var out []metav1.APIResource
	for _, k := range table.All() {
		v, ok := k.ServedAs(gv)
		if !ok {
			continue
		}
		verbs := k.Verbs
		if verbs == nil {
			verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
		}
		kind := k.Kind
		if v.Kind != "" {
			kind = v.Kind
		}
		if k.Resource != "" && kind != "" {
			out = append(out, metav1.APIResource{
				Name: k.Resource, SingularName: k.Singular, Kind: kind, Namespaced: k.Namespaced,
				Verbs: verbs, ShortNames: k.ShortNames, Categories: k.Categories,
			})
		}
		for name, sub := range k.Subresources {
			r := metav1.APIResource{Name: k.Resource + "/" + name, Kind: kind, Namespaced: k.Namespaced, Verbs: sub.Verbs}
			if sub.Kind.Kind != "" {
				r.Kind = sub.Kind.Kind
				if sub.Kind.GroupVersion() != gv {
					r.Group, r.Version = sub.Kind.Group, sub.Kind.Version
				}
			}
			out = append(out, r)
		}
	}
	for i := range out {
		out[i].StorageVersionHash = ""
		sort.Strings(out[i].Verbs)
	}
	sort.Slice(out, func(i, k int) bool { return out[i].Name < out[k].Name })
	return out
}

// TestDiscoveryAsRecorded compares the table with what Kubernetes 1.36 says of
// itself.
func TestDiscoveryAsRecorded(t *testing.T) {
	var rec struct {
		Steps []struct {
			Method, Path string
			Status       int
			Response     json.RawMessage
		}
	}
	readJSON(t, shared(t, "recorded/d-discovery.json"), &rec)
	table := Table()
	compared := 0
	for _, s := range rec.Steps {
		if s.Method != "GET" || s.Status != 200 || strings.HasSuffix(s.Path, "/") || !(s.Path == "/api/v1" || strings.Count(s.Path, "/") == 3) {
			continue
		}
		var want metav1.APIResourceList
		if err := json.Unmarshal(s.Response, &want); err != nil {
			t.Fatal(err)
		}
		gv, err := schema.ParseGroupVersion(want.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]metav1.APIResource{}
		for _, r := range resourcesOf(table, gv) {
			have[r.Name] = r
		}
		for _, w := range want.APIResources {
			compared++
			w.StorageVersionHash = ""
			sort.Strings(w.Verbs)
			h, ok := have[w.Name]
			if !ok {
				t.Errorf("%s: %s is not in the table", gv, w.Name)
			} else if !reflect.DeepEqual(h, w) {
				t.Errorf("%s: %s is\n  %+v, want\n  %+v", gv, w.Name, h, w)
			}
			delete(have, w.Name)
		}
		for name := range have {
			t.Errorf("%s: %s is in the table and not in Kubernetes", gv, name)
		}
	}
	t.Logf("%d resources compared", compared)
}
