package apiserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestListSemantics is the table of "Semantics for list" in Kubernetes' API concepts,
// with what its validation refuses. a was made at the revision from, b after it.
func TestListSemantics(t *testing.T) {
	h := flowServer(t, nil)
	create := func(name string) string {
		w := answer(h, as("admin", "POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"`+name+`"}}`))
		var o struct {
			Metadata struct{ ResourceVersion string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil || w.Code != http.StatusCreated {
			t.Fatal(w.Code, w.Body)
		}
		return o.Metadata.ResourceVersion
	}
	from := create("a")
	create("b")
	list := func(query string) (int, string, string) {
		w := answer(h, as("admin", "GET", "/api/v1/namespaces/default/configmaps?"+query, ""))
		var l struct {
			Message  string
			Metadata struct{ Continue string }
			Items    []struct{ Metadata struct{ Name string } }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil {
			t.Fatal(query, w.Body)
		}
		names := ""
		for _, i := range l.Items {
			if i.Metadata.Name != "kube-root-ca.crt" {
				names += i.Metadata.Name
			}
		}
		if l.Message != "" {
			names = l.Message
		}
		return w.Code, names, l.Metadata.Continue
	}
	const invalid = "ListOptions.meta.k8s.io \"\" is invalid: "
	for _, c := range []struct {
		query string
		code  int
		want  string
	}{
		{"", 200, "ab"},
		{"resourceVersion=0", 200, "ab"},
		{"resourceVersion=" + from, 200, "ab"},
		{"resourceVersion=" + from + "&resourceVersionMatch=NotOlderThan", 200, "ab"},
		{"resourceVersion=0&resourceVersionMatch=NotOlderThan", 200, "ab"},
		{"resourceVersion=" + from + "&resourceVersionMatch=Exact", 200, "a"},
		{"limit=5", 200, "ab"},
		{"limit=1", 200, "a"},
		{"limit=1&resourceVersion=0", 200, "ab"},
		{"limit=5&resourceVersion=" + from, 200, "a"},
		{"limit=5&resourceVersion=" + from + "&resourceVersionMatch=NotOlderThan", 200, "ab"},
		{"limit=1&resourceVersion=" + from + "&resourceVersionMatch=Exact", 200, "a"},
		{"resourceVersionMatch=Exact", 422, invalid + "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"},
		{"resourceVersionMatch=Exact&resourceVersion=0", 422, invalid + "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""},
		{"resourceVersionMatch=Maybe&resourceVersion=1", 422, invalid + "resourceVersionMatch: Unsupported value: \"Maybe\": supported values: \"Exact\", \"NotOlderThan\", \"\""},
		{"sendInitialEvents=true", 422, invalid + "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"},
		{"resourceVersion=x", 400, `invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax`},
		{"resourceVersion=999999999", 504, "Timeout: Too large resource version: 999999999, current: "},
	} {
		code, got, _ := list(c.query)
		if code != c.code || got != c.want && !(code == 504 && strings.HasPrefix(got, c.want)) {
			t.Errorf("%q: %d %q, want %d %q", c.query, code, got, c.code, c.want)
		}
	}
	// Pages go on at the revision of the first, whatever is written meanwhile.
	_, _, next := list("limit=1")
	create("aa")
	if code, got, _ := list("limit=5&continue=" + next); code != 200 || got != "b" {
		t.Errorf("the second page: %d %q", code, got)
	}
	for query, want := range map[string]string{
		"continue=" + next + "&resourceVersion=1":                            "specifying resource version is not allowed when using continue",
		"continue=" + next + "&resourceVersion=1&resourceVersionMatch=Exact": invalid + "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided",
	} {
		if code, got, _ := list(query); code < 400 || got != want {
			t.Errorf("%.60q: %d %q, want %q", query, code, got, want)
		}
	}
}

// TestWatchRules: which combinations a watch takes (watch lists).
func TestWatchRules(t *testing.T) {
	h := flowServer(t, nil)
	const invalid = "ListOptions.meta.k8s.io \"\" is invalid: "
	for query, want := range map[string]string{
		"sendInitialEvents=true":                              invalid + "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
		"sendInitialEvents=true&resourceVersionMatch=Exact":   invalid + `[resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, resourceVersionMatch: Unsupported value: "Exact": supported values: "NotOlderThan"]`,
		"resourceVersionMatch=NotOlderThan&resourceVersion=1": invalid + "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
	} {
		w := answer(h, as("admin", "GET", "/api/v1/namespaces/default/configmaps?watch=true&"+query, ""))
		var s struct{ Message string }
		if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || w.Code != 422 || s.Message != want {
			t.Errorf("%s: %d %q, want %q", query, w.Code, s.Message, want)
		}
	}
	w := answer(h, as("admin", "POST", "/api/v1/namespaces/default/configmaps", `{"metadata":{"name":"a"}}`))
	if w.Code != http.StatusCreated {
		t.Fatal(w.Body)
	}
	srv := httptest.NewServer(h)
	defer srv.Close()
	r, err := http.NewRequest("GET", srv.URL+"/api/v1/namespaces/default/configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=30", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Test-User", "admin")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	d, got := json.NewDecoder(resp.Body), ""
	for !strings.HasSuffix(got, "BOOKMARK true ") {
		var ev struct {
			Type   string
			Object struct {
				Metadata struct{ Annotations map[string]string }
			}
		}
		if err := d.Decode(&ev); err != nil {
			t.Fatal(got, err)
		}
		got += fmt.Sprintf("%s %s ", ev.Type, ev.Object.Metadata.Annotations["k8s.io/initial-events-end"])
	}
	if got != "ADDED  BOOKMARK true " {
		t.Errorf("%q", got)
	}
	text := answer(h, as("admin", "GET", "/metrics", "")).Body.String()
	for _, want := range []string{
		`apiserver_longrunning_requests{component="apiserver",group="",resource="configmaps",scope="namespace",subresource="",verb="WATCH",version="v1"} 1`,
		`apiserver_watch_events_total{group="",resource="configmaps",version="v1"} 2`,
		`apiserver_storage_objects{resource="configmaps"} 1`,
		`apiserver_resource_objects{group="apps",resource="deployments"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
}
