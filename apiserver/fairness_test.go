package apiserver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
)

// byHeader believes who a request says it is.
type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (*auth.User, bool, error) {
	name := r.Header.Get("Test-User")
	groups := []string{auth.GroupAuthenticated}
	if strings.HasPrefix(name, auth.PrefixNode) {
		groups = append(groups, auth.GroupNodes)
	}
	if name == "admin" {
		groups = append(groups, auth.GroupMasters)
	}
	return &auth.User{Name: name, Groups: groups}, name != "", nil
}

func flowServer(t *testing.T, change func(*apiserver.Options)) http.Handler {
	t.Helper()
	s := mem.New()
	o := apiserver.Options{Store: s, Table: all.Table(), Scheme: scheme.New(), Authenticator: byHeader{}}
	if change != nil {
		change(&o)
	}
	srv, err := apiserver.New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close(); s.Close() })
	return srv.Handler()
}

// slow is the connection of a client that does not read what it asked for: a write
// to it waits until the client goes on. Refusals it reads at once.
type slow struct {
	http.ResponseWriter
	begun, goOn chan struct{}
	once        sync.Once
	refused     bool
}

func (s *slow) WriteHeader(code int) {
	s.refused = code >= 400
	s.ResponseWriter.WriteHeader(code)
}

func (s *slow) Write(b []byte) (int, error) {
	if s.refused {
		return s.ResponseWriter.Write(b)
	}
	s.once.Do(func() {
		s.begun <- struct{}{}
		<-s.goOn
	})
	return s.ResponseWriter.Write(b)
}

func as(user, method, path string, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Test-User", user)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func answer(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestOverload: one client sends hundreds of lists at once and reads none of the
// answers. It is told to come back later; nodes, masters and another user of the
// same level are served.
func TestOverload(t *testing.T) {
	h := flowServer(t, nil)
	const lists = 900
	begun, goOn := make(chan struct{}, lists), make(chan struct{})
	answers := make(chan *httptest.ResponseRecorder, lists)
	for range lists {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(&slow{ResponseWriter: w, begun: begun, goOn: goOn}, as("greedy", "GET", "/api/v1/namespaces/default/configmaps", ""))
			answers <- w
		}()
	}
	const queued = 6 * 50 // the level's hand of queues, filled
	served, refused := 0, 0
	for served+refused < lists-queued {
		select {
		case <-begun:
			served++
		case w := <-answers:
			refused++
			if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || w.Body.String() != "Too many requests, please try again later.\n" {
				t.Fatalf("%d %v %q", w.Code, w.Header(), w.Body)
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	node := "system:node:n"
	lease := `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"n","namespace":"kube-node-lease"},"spec":{"holderIdentity":"n","leaseDurationSeconds":40}}`
	if w := answer(h, as(node, "POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease)); w.Code != http.StatusCreated {
		t.Errorf("a node's lease: %d %s", w.Code, w.Body)
	}
	if w := answer(h, as(node, "GET", "/api/v1/pods", "")); w.Code != http.StatusOK {
		t.Errorf("a node's pods: %d %s", w.Code, w.Body)
	}
	w := answer(h, as("admin", "GET", "/api/v1/namespaces/default/configmaps", ""))
	if w.Code != http.StatusOK || w.Header().Get("X-Kubernetes-Pf-Flowschema-Uid") == "" || w.Header().Get("X-Kubernetes-Pf-Prioritylevel-Uid") == "" {
		t.Errorf("an administrator: %d %v", w.Code, w.Header())
	}
	text := answer(h, as("admin", "GET", "/metrics", "")).Body.String()
	for _, want := range []string{
		`apiserver_flowcontrol_current_inqueue_requests{flow_schema="global-default",priority_level="global-default"} 300`,
		`apiserver_flowcontrol_rejected_requests_total{flow_schema="global-default",priority_level="global-default",reason="queue-full"} `,
		`apiserver_flowcontrol_nominal_limit_seats{priority_level="global-default"} 49`,
		`apiserver_flowcontrol_current_limit_seats{priority_level="workload-low"} `,
		`apiserver_request_terminations_total{code="429",component="apiserver",group="",resource="",scope="",subresource="",verb="LIST",version=""} `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	// Another user of the same level comes after all of them. Each seat that comes
	// free is given to one who waits: to this user before long, whose queue is one of
	// seven.
	other := make(chan *httptest.ResponseRecorder, 1)
	go func() { other <- answer(h, as("other", "GET", "/api/v1/namespaces/default/configmaps", "")) }()
	for !strings.Contains(answer(h, as("admin", "GET", "/metrics", "")).Body.String(), `inqueue_requests{flow_schema="global-default",priority_level="global-default"} 301`) {
		runtime.Gosched()
	}
	for turns := 1; ; turns++ {
		goOn <- struct{}{} // one of the greedy client's answers is read
		<-answers
		select {
		case w := <-other:
			if w.Code != http.StatusOK {
				t.Errorf("another user: %d %s", w.Code, w.Body)
			}
		case <-begun:
			if turns > 20 {
				t.Fatal("another user waits behind the greedy one")
			}
			continue
		}
		break
	}
	close(goOn)
	for range queued {
		if w := <-answers; w.Code != http.StatusOK {
			t.Fatalf("a list that was queued: %d", w.Code)
		}
	}
}

// TestWithoutPriority bounds the number of requests alone.
func TestWithoutPriority(t *testing.T) {
	h := flowServer(t, func(o *apiserver.Options) { o.NoPriority, o.MaxInflight, o.MaxMutating = true, 2, 1 })
	begun, goOn, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	for range 2 {
		go func() {
			h.ServeHTTP(&slow{ResponseWriter: httptest.NewRecorder(), begun: begun, goOn: goOn}, as("ann", "GET", "/api/v1/namespaces/default/configmaps", ""))
			done <- struct{}{}
		}()
		<-begun
	}
	w := answer(h, as("ann", "GET", "/api/v1/namespaces/default/configmaps", ""))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" || w.Header().Get("X-Kubernetes-Pf-Flowschema-Uid") != "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := answer(h, as("admin", "GET", "/api/v1/namespaces/default/configmaps", "")); w.Code != http.StatusOK {
		t.Errorf("an administrator: %d", w.Code)
	}
	if w := answer(h, as("ann", "POST", "/api/v1/namespaces/default/configmaps?dryRun=All", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`)); w.Code != http.StatusCreated {
		t.Errorf("a write: %d", w.Code)
	}
	close(goOn)
	<-done
	<-done
	if w := answer(h, as("ann", "GET", "/api/v1/namespaces/default/configmaps", "")); w.Code != http.StatusOK {
		t.Errorf("after the others: %d", w.Code)
	}
}
