package apiserver_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/audit"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
)

// lines is a sink in memory.
type lines struct {
	mu     sync.Mutex
	events []auditv1.Event
	refuse error
}

func (l *lines) Write(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var e auditv1.Event
	if err := json.Unmarshal(b, &e); err != nil {
		return err
	}
	l.events = append(l.events, e)
	return l.refuse
}

func (l *lines) Required() bool { return true }
func (l *lines) Close()         {}

// take returns what was recorded since, one line an event.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.events {
		s := fmt.Sprintf("%s %s %s", e.Stage, e.User.Username, e.Verb)
		if e.ImpersonatedUser != nil {
			s += " as " + e.ImpersonatedUser.Username
		}
		if r := e.ObjectRef; r != nil {
			s += fmt.Sprintf(" %s/%s/%s", r.Resource, r.Namespace, r.Name)
		} else {
			s += " " + e.RequestURI
		}
		if e.ResponseStatus != nil {
			s += fmt.Sprintf(" %d %s", e.ResponseStatus.Code, e.ResponseStatus.Message)
		}
		if d := e.Annotations["authorization.k8s.io/decision"]; d != "" {
			s += " " + d
		}
		if e.RequestObject != nil {
			s += " sent " + string(e.RequestObject.Raw)
		}
		if e.ResponseObject != nil {
			s += " got " + string(e.ResponseObject.Raw)
		}
		out = append(out, strings.TrimSpace(s))
	}
	l.events = nil
	return strings.Join(out, "\n")
}

// named authenticates by the header User: "bad" is invalid, none is nobody.
type named struct{}

func (named) Authenticate(r *http.Request) (*auth.User, bool, error) {
	switch u := r.Header.Get("User"); u {
	case "":
		return nil, false, nil
	case "bad":
		return nil, false, errors.New("bad")
	default:
		return &auth.User{Name: u}, true, nil
	}
}

type allBut string

func (n allBut) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	if a.User.Name == string(n) {
		return auth.NoOpinion, "no reason", nil
	}
	return auth.Allow, "rules", nil
}

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: None
  nonResourceURLs: ["/healthz*"]
- level: Metadata
  resources: [{group: "", resources: ["secrets"]}]
- level: RequestResponse
  omitStages: ["RequestReceived"]
  resources: [{group: "", resources: ["configmaps"]}]
- level: Request
  omitStages: ["RequestReceived"]
  verbs: [delete]
- level: Metadata
`

func TestAudit(t *testing.T) {
	policy, err := audit.ParsePolicy([]byte(auditPolicy))
	if err != nil {
		t.Fatal(err)
	}
	sink := &lines{}
	s := mem.New()
	srv, err := apiserver.New(t.Context(), apiserver.Options{
		Store: s, Table: all.Table(), Scheme: scheme.New(), Authenticator: named{}, Authorizer: allBut("joe"),
		Audit: &audit.Log{Policy: policy, Sinks: []audit.Sink{sink}, Now: time.Now, Errors: slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer srv.Close()
	ask := func(method, path, body string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("User", "jane")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, r)
		return w
	}
	const cms = "/api/v1/namespaces/default/configmaps"
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		want                     string
	}{
		{name: "left out", method: "GET", path: "/healthz"},
		{name: "a path", method: "GET", path: "/version", want: "RequestReceived jane get /version\nResponseComplete jane get /version 200  allow"},
		{name: "a secret's body is never there", method: "POST", path: "/api/v1/namespaces/default/secrets", body: `{"metadata":{"name":"s"},"stringData":{"p":"hidden"}}`,
			want: "RequestReceived jane create secrets/default/\nResponseComplete jane create secrets/default/s 201  allow"},
		{name: "a patch", method: "PATCH", path: cms + "/kube", body: `{"a":1}`, headers: []string{"Content-Type", "application/merge-patch+json"},
			want: `ResponseComplete jane patch configmaps/default/kube 404 configmaps "kube" not found allow sent {"a":1} got {"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"configmaps \"kube\" not found","reason":"NotFound","details":{"name":"kube","kind":"configmaps"},"code":404}`},
		{name: "options", method: "DELETE", path: "/api/v1/namespaces/default/pods/p", body: `{"gracePeriodSeconds":1}`,
			want: `ResponseComplete jane delete pods/default/p 404 pods "p" not found allow sent {"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":1}`},
		{name: "refused", method: "GET", path: "/api/v1/pods", headers: []string{"User", "joe"},
			want: `RequestReceived joe list pods//` + "\n" + `ResponseComplete joe list pods// 403 pods is forbidden: User "joe" cannot list resource "pods" in API group "" at the cluster scope: no reason forbid`},
		{name: "for another", method: "GET", path: "/version", headers: []string{"Impersonate-User", "max"},
			want: "RequestReceived jane get /version\nResponseComplete jane get as max /version 200  allow"},
		{name: "no credentials that are good", method: "GET", path: "/version", headers: []string{"User", "bad", "Authorization", "Bearer x"},
			want: "ResponseStarted  get /version 401 Authentication failed, attempted: bearer"},
		{name: "a watch", method: "GET", path: "/api/v1/pods?watch=1&timeoutSeconds=1",
			want: "RequestReceived jane watch pods//\nResponseStarted jane watch pods// 200  allow\nResponseComplete jane watch pods// 200  allow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := ask(c.method, c.path, c.body, append(c.headers, "Audit-Id", "id-1")...)
			if id := w.Header().Get("Audit-Id"); id != "id-1" {
				t.Errorf("id %q", id)
			}
			if got := sink.take(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	ask("POST", cms, `{"metadata":{"name":"c"},"data":{"k":"v"}}`)
	got := sink.take()
	if strings.Contains(got, "managedFields") || !strings.Contains(got, `sent {"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"},"data":{"k":"v"}}`) || !strings.Contains(got, `configmaps/default/c 201  allow`) || !strings.Contains(got, `"uid":`) {
		t.Errorf("a body and its answer: %s", got)
	}
	ask("GET", cms, "", "Accept", "application/vnd.kubernetes.protobuf")
	if got := sink.take(); !strings.Contains(got, `"items":[{`) || !strings.Contains(got, `"data":{"k":"v"}`) {
		t.Errorf("a list: %s", got)
	}
	sink.refuse = errors.New("disk full")
	w := ask("DELETE", "/api/v1/namespaces/default/secrets/s", "")
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "failed to store audit event") {
		t.Errorf("a request that could not be recorded: %d %s", w.Code, w.Body)
	}
	sink.refuse = nil
	if w := ask("GET", "/api/v1/namespaces/default/secrets/s", ""); w.Code != http.StatusOK {
		t.Errorf("it went on: %d", w.Code)
	}
}

func TestEveryAnswerHasAnID(t *testing.T) {
	srv := benchServer(t)
	seen := map[string]bool{}
	for range 100 {
		d := do(t, srv.Handler(), "GET", "/version", "", "", nil)
		id := d.h["Audit-Id"][0]
		if len(id) != 36 || id[14] != '4' || seen[id] || !strings.ContainsRune("89ab", rune(id[19])) {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}
