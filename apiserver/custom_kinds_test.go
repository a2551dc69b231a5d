package apiserver_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/store/mem"
)

// tank is a definition of two versions, of which v1 is stored.
const tank = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tanks.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: tanks, kind: Tank, shortNames: [tk]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, properties: {
      spec: {type: object, properties: {size: {type: integer, default: 2}, common: {type: string}}},
      status: {type: object, properties: {full: {type: boolean}}}}}}
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    schema: {openAPIV3Schema: {type: object, properties: {
      spec: {type: object, properties: {old: {type: string}, common: {type: string, maxLength: 3}}}}}}
`

const tanks = "/apis/example.com/v1/namespaces/default/tanks"

func define(t testing.TB, text string) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func object(version, name string, spec map[string]any) map[string]any {
	return map[string]any{"apiVersion": "example.com/" + version, "kind": "Tank", "metadata": map[string]any{"name": name}, "spec": spec}
}

func at(m map[string]any, path ...string) any {
	var v any = m
	for _, p := range path {
		n, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = n[p]
	}
	return v
}

// condition is the status of a definition's condition, "" if it has none.
func (a *api) condition(name, kind string) (status, reason string) {
	a.Helper()
	d := &apiextensionsv1.CustomResourceDefinition{}
	b, err := json.Marshal(a.must(200, "GET", crds+"/"+name, nil))
	if err == nil {
		err = json.Unmarshal(b, d)
	}
	if err != nil {
		a.Fatal(err)
	}
	for _, c := range d.Status.Conditions {
		if string(c.Type) == kind {
			return string(c.Status), c.Reason
		}
	}
	return "", ""
}

// TestServedAtOnce: whoever has the answer to a write of a definition finds its kind.
func TestServedAtOnce(t *testing.T) {
	a := newMemAPI(t)
	if code, _, _ := a.send("GET", tanks, nil, ""); code != 404 {
		t.Fatal(code)
	}
	a.must(201, "POST", crds, define(t, tank))
	a.must(201, "POST", tanks, object("v1", "a", nil))
	a.must(201, "POST", tanks, object("v1", "early", map[string]any{}))
	if got := fmt.Sprint(a.must(200, "GET", "/apis/example.com/v1", nil)); !strings.Contains(got, "tanks/status") || !strings.Contains(got, "tk") {
		t.Error(got)
	}
	if got := a.must(200, "GET", "/openapi/v3/apis/example.com/v1", nil); at(got, "components", "schemas", "com.example.v1.Tank", "properties", "spec", "properties", "size") == nil {
		t.Error(got)
	}
	if status, reason := a.condition("tanks.example.com", "Established"); status != "True" || reason != "InitialNamesAccepted" {
		t.Error(status, reason)
	}
	// A change of the schema counts for the next request, and for what is stored.
	_, _, _ = a.send("PATCH", crds+"/tanks.example.com", `[{"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/colour","value":{"type":"string","default":"red"}}]`, "application/json-patch+json")
	if got := a.must(200, "GET", tanks+"/a", nil); at(got, "spec") != nil {
		t.Errorf("there was no spec to have defaults in: %v", got)
	}
	if got := at(a.must(200, "GET", tanks+"/early", nil), "spec", "colour"); got != "red" {
		t.Errorf("a default that came later: %v", got)
	}
	a.must(201, "POST", tanks, object("v1", "b", map[string]any{}))
	if got := at(a.must(200, "GET", tanks+"/b", nil), "spec", "colour"); got != "red" {
		t.Error(got)
	}
}

// TestVersions: an object is seen in every version, with what the version knows.
func TestVersions(t *testing.T) {
	a := newMemAPI(t)
	a.must(201, "POST", crds, define(t, tank))
	beta := strings.Replace(tanks, "v1", "v1beta1", 1)
	code, out, head := a.send("POST", beta, object("v1beta1", "a", map[string]any{"common": "abc", "old": "x", "size": 3}), "application/json")
	if code != 201 || at(out, "apiVersion") != "example.com/v1beta1" || at(out, "spec", "common") != "abc" {
		t.Fatal(code, out)
	}
	if w := head.Values("Warning"); !slices.ContainsFunc(w, func(s string) bool {
		return strings.Contains(s, "example.com/v1beta1 Tank is deprecated; use example.com/v1 Tank")
	}) || !slices.ContainsFunc(w, func(s string) bool { return strings.Contains(s, `unknown field \"spec.size\"`) }) {
		t.Error(w)
	}
	got := a.must(200, "GET", tanks+"/a", nil)
	if at(got, "apiVersion") != "example.com/v1" || at(got, "spec", "common") != "abc" || at(got, "spec", "old") != nil || at(got, "spec", "size") != 2.0 {
		t.Errorf("v1: %v", got)
	}
	a.must(422, "POST", beta, object("v1beta1", "b", map[string]any{"common": "abcd"})) // by v1beta1's schema
	a.must(201, "POST", tanks, object("v1", "b", map[string]any{"common": "abcd"}))
	list := a.must(200, "GET", beta, nil)
	items, _ := list["items"].([]any)
	if len(items) != 2 || at(items[1].(map[string]any), "apiVersion") != "example.com/v1beta1" || at(items[1].(map[string]any), "spec", "size") != nil {
		t.Errorf("list: %v", list)
	}
	// Apply through one version what is owned through the other.
	_, out, _ = a.send("PATCH", beta+"/a?fieldManager=me&force=true", `{"apiVersion":"example.com/v1beta1","kind":"Tank","spec":{"common":"xyz"}}`, "application/apply-patch+yaml")
	if at(out, "spec", "common") != "xyz" {
		t.Error(out)
	}
}

// TestNames: two definitions cannot have one name; it is free when the first is gone.
func TestNames(t *testing.T) {
	a := newMemAPI(t)
	a.must(201, "POST", crds, define(t, tank))
	second := define(t, strings.NewReplacer("tanks", "pots", "kind: Tank", "kind: Pot").Replace(tank))
	a.must(201, "POST", crds, second)
	if status, reason := a.condition("pots.example.com", "NamesAccepted"); status != "False" || reason != "ShortNamesConflict" {
		t.Fatal(status, reason)
	}
	if code, _, _ := a.send("GET", strings.Replace(tanks, "tanks", "pots", 1), nil, ""); code != 404 {
		t.Error(code)
	}
	w := a.follow(crds)
	a.must(200, "DELETE", crds+"/tanks.example.com", nil)
	w.until(func(typ string, o map[string]any) bool {
		return at(o, "metadata", "name") == "pots.example.com" && strings.Contains(fmt.Sprint(at(o, "status", "conditions")), "InitialNamesAccepted")
	})
	a.must(200, "GET", strings.Replace(tanks, "tanks", "pots", 1), nil)
}

// following is a watch over a real connection.
type following struct {
	a   *api
	dec *json.Decoder
}

func (a *api) follow(path string) *following {
	a.Helper()
	srv := httptest.NewServer(a.Handler())
	a.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(context.Background())
	a.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+path+"?watch=true", nil)
	if err != nil {
		a.Fatal(err)
	}
	res, err := srv.Client().Do(req)
	if err != nil || res.StatusCode != 200 {
		a.Fatal(res, err)
	}
	a.Cleanup(func() { res.Body.Close() })
	return &following{a, json.NewDecoder(res.Body)}
}

func (f *following) until(good func(typ string, o map[string]any) bool) {
	f.a.Helper()
	for {
		var ev struct {
			Type   string
			Object map[string]any
		}
		if err := f.dec.Decode(&ev); err != nil {
			f.a.Fatal("the watch ended: ", err)
		}
		if good(ev.Type, ev.Object) {
			return
		}
	}
}

// TestEnd: a definition goes after its objects, which keep it while they have
// finalizers; nothing new is made meanwhile.
func TestEnd(t *testing.T) {
	a := newMemAPI(t)
	a.must(201, "POST", crds, define(t, tank))
	kept := object("v1", "kept", nil)
	kept["metadata"].(map[string]any)["finalizers"] = []string{"example.com/mine"}
	a.must(201, "POST", tanks, kept)
	a.must(201, "POST", tanks, object("v1", "other", nil))
	objs := a.follow(tanks)
	defs := a.follow(crds)
	a.must(200, "DELETE", crds+"/tanks.example.com", nil)
	objs.until(func(typ string, o map[string]any) bool {
		return typ == "DELETED" && at(o, "metadata", "name") == "other"
	})
	code, out, _ := a.send("POST", tanks, object("v1", "late", nil), "application/json")
	if code != 403 || !strings.Contains(fmt.Sprint(out["message"]), "create not allowed while custom resource definition is terminating") {
		t.Error(code, out)
	}
	if got := fmt.Sprint(a.must(200, "GET", "/apis/example.com/v1", nil)); strings.Contains(got, "create") {
		t.Errorf("discovery still offers to create: %s", got)
	}
	if status, reason := a.condition("tanks.example.com", "Terminating"); status != "True" || reason != "InstanceDeletionInProgress" {
		t.Error(status, reason)
	}
	a.send("PATCH", tanks+"/kept", `{"metadata":{"finalizers":null}}`, "application/merge-patch+json")
	defs.until(func(typ string, o map[string]any) bool { return typ == "DELETED" })
	// Who writes a definition is answered when all before it has been dealt with.
	a.must(201, "POST", crds, define(t, strings.NewReplacer("tanks", "pots", "kind: Tank", "kind: Pot").Replace(tank)))
	if code, out, _ := a.send("GET", tanks, nil, ""); code != 404 {
		t.Error(code, out)
	}
}

// TestKindsAfterRestart: definitions and objects are there again, also those written before the
// storage version changed.
func TestKindsAfterRestart(t *testing.T) {
	s := mem.New()
	defer s.Close()
	a := newAPI(t, s, nil)
	a.must(201, "POST", crds, define(t, tank))
	a.must(201, "POST", tanks, object("v1", "a", map[string]any{"common": "abc"}))
	a.must(200, "PUT", crds+"/tanks.example.com", func() any {
		d := a.must(200, "GET", crds+"/tanks.example.com", nil)
		vs := at(d, "spec").(map[string]any)["versions"].([]any)
		vs[0].(map[string]any)["storage"], vs[1].(map[string]any)["storage"] = false, true
		return d
	}())
	if got := fmt.Sprint(at(a.must(200, "GET", crds+"/tanks.example.com", nil), "status", "storedVersions")); got != "[v1 v1beta1]" {
		t.Error(got)
	}
	a.Close()
	b := newAPI(t, s, nil)
	if got := b.must(200, "GET", tanks+"/a", nil); at(got, "spec", "common") != "abc" || at(got, "spec", "size") != 2.0 {
		t.Error(got)
	}
	b.must(201, "POST", tanks, object("v1", "b", nil))
}

// TestOldDefinition: a definition of v1beta1 is served too.
func TestOldDefinition(t *testing.T) {
	a := newMemAPI(t)
	old := map[string]any{"apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "pans.example.com"},
		"spec": map[string]any{"group": "example.com", "version": "v1", "scope": "Namespaced",
			"names": map[string]any{"plural": "pans", "kind": "Pan"}}}
	code, out, _ := a.send("POST", "/apis/apiextensions.k8s.io/v1beta1/customresourcedefinitions", old, "application/json")
	if code != 201 {
		t.Fatal(code, out)
	}
	got := a.must(201, "POST", "/apis/example.com/v1/namespaces/default/pans", map[string]any{"apiVersion": "example.com/v1", "kind": "Pan", "metadata": map[string]any{"name": "a"}, "anything": 1})
	if at(got, "anything") != 1.0 {
		t.Error(got)
	}
	if got := a.must(200, "GET", "/apis/apiextensions.k8s.io/v1beta1/customresourcedefinitions/pans.example.com", nil); at(got, "spec", "version") != "v1" {
		t.Error(got)
	}
}

// hook is a conversion webhook: v1's spec.size is v1beta1's spec.old as text.
func hook(t *testing.T, answer func(req, res map[string]any)) (*httptest.Server, string) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		review := map[string]any{}
		if json.Unmarshal(b, &review) != nil {
			w.WriteHeader(400)
			return
		}
		req := review["request"].(map[string]any)
		res := map[string]any{"uid": req["uid"], "result": map[string]any{"status": "Success"}}
		var out []any
		for _, o := range req["objects"].([]any) {
			m := o.(map[string]any)
			spec, _ := m["spec"].(map[string]any)
			if req["desiredAPIVersion"] == "example.com/v1" {
				var n int
				fmt.Sscan(fmt.Sprint(spec["old"]), &n)
				m["spec"] = map[string]any{"size": n}
			} else {
				m["spec"] = map[string]any{"old": fmt.Sprint(spec["size"])}
			}
			m["apiVersion"] = req["desiredAPIVersion"]
			m["metadata"].(map[string]any)["labels"] = map[string]any{"converted": "yes"}
			out = append(out, m)
		}
		res["convertedObjects"] = out
		if answer != nil {
			answer(req, res)
		}
		json.NewEncoder(w).Encode(map[string]any{"apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": res})
	}))
	srv.Config.ErrorLog = nil
	t.Cleanup(srv.Close)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	return srv, string(bundle)
}

func withHook(t *testing.T, url, bundle string) map[string]any {
	d := define(t, tank)
	d["spec"].(map[string]any)["conversion"] = map[string]any{"strategy": "Webhook", "webhook": map[string]any{
		"conversionReviewVersions": []string{"v2", "v1"}, "clientConfig": map[string]any{"url": url, "caBundle": []byte(bundle)}}}
	return d
}

// TestWebhook: versions with other fields are converted by a server outside.
func TestWebhook(t *testing.T) {
	var fault func(req, res map[string]any)
	srv, bundle := hook(t, func(req, res map[string]any) {
		if fault != nil {
			fault(req, res)
		}
	})
	s := mem.New()
	defer s.Close()
	hooks := callout.New(nil, func() (*tls.Certificate, error) { return &tls.Certificate{}, nil })
	defer hooks.Close()
	a := newAPI(t, s, hooks)
	a.must(201, "POST", crds, withHook(t, srv.URL, bundle))
	beta := strings.Replace(tanks, "v1", "v1beta1", 1)
	got := a.must(201, "POST", beta, object("v1beta1", "a", map[string]any{"old": "7"}))
	if at(got, "spec", "old") != "7" || at(got, "metadata", "labels", "converted") != "yes" {
		t.Error(got)
	}
	if got := at(a.must(200, "GET", tanks+"/a", nil), "spec", "size"); got != 7.0 {
		t.Error(got)
	}
	a.must(201, "POST", tanks, object("v1", "b", map[string]any{"size": 9}))
	if got := at(a.must(200, "GET", beta+"/b", nil), "spec", "old"); got != "9" {
		t.Error(got)
	}
	for _, c := range []struct {
		name, want string
		fault      func(req, res map[string]any)
	}{
		{"refuses", "conversion webhook for example.com/v1, Kind=Tank failed: no", func(_, res map[string]any) {
			res["result"] = map[string]any{"status": "Failure", "message": "no"}
		}},
		{"forgets", "returned 0 objects, expected 1", func(_, res map[string]any) { res["convertedObjects"] = []any{} }},
		{"lies about the request", "expected response.uid=", func(_, res map[string]any) { res["uid"] = "other" }},
		{"renames", "must have the same name: c != x", func(_, res map[string]any) {
			res["convertedObjects"].([]any)[0].(map[string]any)["metadata"].(map[string]any)["name"] = "x"
		}},
		{"answers in another version", "invalid groupVersion (expected example.com/v1beta1, received example.com/v3)", func(_, res map[string]any) {
			res["convertedObjects"].([]any)[0].(map[string]any)["apiVersion"] = "example.com/v3"
		}},
		{"makes bad labels", "returned invalid metadata", func(_, res map[string]any) {
			res["convertedObjects"].([]any)[0].(map[string]any)["metadata"].(map[string]any)["labels"] = map[string]any{"a": "b c"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fault = nil
			a.send("DELETE", tanks+"/c", nil, "")
			a.must(201, "POST", tanks, object("v1", "c", map[string]any{"size": 1}))
			fault = c.fault
			code, out, _ := a.send("GET", beta+"/c", nil, "")
			if code != 500 || !strings.Contains(fmt.Sprint(out["message"]), c.want) {
				t.Errorf("%d %v\nwant %s", code, out["message"], c.want)
			}
		})
	}
	// A server that is gone takes nothing with it: the stored version is there.
	srv.Close()
	if code, _, _ := a.send("GET", beta+"/c", nil, ""); code != 500 {
		t.Error(code)
	}
	a.must(200, "GET", tanks+"/c", nil)
}

// TestInProcessKinds: callers of this process see custom kinds as others.
func TestInProcessKinds(t *testing.T) {
	a := newMemAPI(t)
	b := a.InProcess(&auth.User{Name: "me"})
	gvk := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Tank"}
	if _, ok := b.Kind(gvk); ok {
		t.Fatal("there is no such kind yet")
	}
	before := len(b.Kinds())
	a.must(201, "POST", crds, define(t, tank))
	k, ok := b.Kind(gvk)
	if !ok || len(b.Kinds()) != before+1 {
		t.Fatal("the kind is missing")
	}
	objs, rev, err := b.List(t.Context(), k, "", nil)
	if err != nil || len(objs) != 0 {
		t.Fatal(objs, err)
	}
	stream, err := b.Watch(t.Context(), k, "", rev)
	if err != nil {
		t.Fatal(err)
	}
	a.must(201, "POST", tanks, object("v1", "a", nil))
	if evs, err := stream.Next(t.Context()); err != nil || len(evs) != 1 || evs[0].New.GetName() != "a" {
		t.Fatal(evs, err)
	}
	// The stream of a kind that goes ends.
	if err := b.DeleteCollection(t.Context(), k, "default", nil, &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.must(200, "DELETE", crds+"/tanks.example.com", nil)
	for {
		if _, err := stream.Next(t.Context()); err != nil {
			break
		}
	}
}

// FuzzCustomResource sends objects and definitions of any contents: none may make the
// server fail.
func FuzzCustomResource(f *testing.F) {
	a := newMemAPI(f)
	a.must(201, "POST", crds, define(f, tank))
	for _, s := range []string{
		`{"apiVersion":"example.com/v1","kind":"Tank","metadata":{"name":"a","labels":{"a":"b"}},"spec":{"size":1.5,"x":null},"status":{}}`,
		`{"apiVersion":5,"kind":"Tank","metadata":[]}`, `{"kind":"Tank","apiVersion":"example.com/v1","metadata":{"name":"a","managedFields":[{}]},"spec":[{}]}`,
		`[]`, `null`, "apiVersion: example.com/v1\nkind: Tank\nmetadata: {name: b}\nspec: {size: 1, size: 2}\n",
	} {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(s), uint8(1))
		f.Add([]byte(s), uint8(2))
	}
	f.Add([]byte(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"xs.example.com"},"spec":{"group":"example.com","scope":"Cluster","names":{"plural":"xs","kind":"X"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-validations":[{"rule":"self.metadata.name == 'a'"}],"properties":{"a":{"type":"array","items":{"type":"string"},"default":["x"],"x-kubernetes-list-type":"set"}}}}}]}}`), uint8(3))
	a.must(201, "POST", tanks, object("v1", "base", map[string]any{"size": 1}))
	f.Fuzz(func(t *testing.T, body []byte, how uint8) {
		b := &api{TB: t, Server: a.Server}
		var code int
		var out map[string]any
		switch how % 6 {
		case 0:
			code, out, _ = b.send("POST", tanks+"?fieldValidation=Strict&dryRun=All", string(body), "application/json")
		case 1:
			code, out, _ = b.send("POST", tanks+"?dryRun=All", string(body), "application/yaml")
		case 2:
			code, out, _ = b.send("PATCH", tanks+"/base?fieldManager=f&force=true&dryRun=All", string(body), "application/apply-patch+yaml")
		case 3:
			code, out, _ = b.send("POST", crds+"?dryRun=All", string(body), "application/json")
		case 4:
			code, out, _ = b.send("PATCH", tanks+"/base?dryRun=All", string(body), "application/merge-patch+json")
		case 5:
			code, out, _ = b.send("PATCH", tanks+"/base/status?dryRun=All", string(body), "application/json-patch+json")
		}
		if strings.Contains(fmt.Sprint(out), "caused apiserver to panic") {
			t.Fatalf("%d %v", code, out)
		}
	})
}
