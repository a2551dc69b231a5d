package intercept_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionreview "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/intercept"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
	"skiff.dev/skiff/telemetry"
)

// cluster is an API server with webhooks and policies, and no other admission.
type cluster struct {
	*testing.T
	*apiserver.Backend
	http *httptest.Server
	tel  *telemetry.Telemetry
}

func newCluster(t *testing.T, chain ...admission.Plugin) *cluster {
	t.Helper()
	s := mem.New()
	table := all.Table()
	var reader admission.Reader
	tel := telemetry.Discard()
	judges, err := intercept.New(intercept.Options{
		Clients:     callout.New(callout.Endpoints{Reader: func() admission.Reader { return reader }}, nil),
		OldVersions: true, Telemetry: tel, Authorizer: onlyRoot{},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := apiserver.New(context.Background(), apiserver.Options{
		Store: s, Table: table, Scheme: scheme.New(), OldVersions: true, Telemetry: tel,
		Admission:    slices.Concat(admission.Chain(chain), judges.Chain()),
		Feeds:        []apiserver.Feed{{Resources: judges.Resources(), Apply: judges.Apply}},
		Subresources: map[string]apiserver.SubresourceHandler{"exec": echo, "log": echo},
	})
	if err != nil {
		t.Fatal(err)
	}
	reader = srv.Reader()
	h := httptest.NewServer(srv.Handler())
	t.Cleanup(func() {
		h.Close()
		srv.Close()
		s.Close()
	})
	return &cluster{t, srv.InProcess(&auth.User{Name: "root", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}}), h, tel}
}

// echo stands for a node's streams: it answers with the query that it was asked with.
func echo(w http.ResponseWriter, r *http.Request, _ *kinds.Kind, _ kinds.Object, _ string) {
	_, _ = io.WriteString(w, r.URL.RawQuery)
}

// onlyRoot lets root do everything and others nothing.
type onlyRoot struct{}

func (onlyRoot) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	if a.User.Name == "root" {
		return auth.Allow, "", nil
	}
	return auth.NoOpinion, "", nil
}

func (c *cluster) kind(obj kinds.Object) *kinds.Kind {
	c.Helper()
	gvks, _, err := scheme.New().ObjectKinds(obj)
	if err != nil {
		c.Fatal(err)
	}
	k, ok := c.Kind(gvks[0])
	if !ok {
		c.Fatalf("no kind %v", gvks[0])
	}
	return k
}

func (c *cluster) make(obj kinds.Object) kinds.Object {
	c.Helper()
	out, err := c.create(obj)
	if err != nil {
		c.Fatal(err)
	}
	return out
}

func (c *cluster) create(obj kinds.Object, dryRun ...string) (kinds.Object, error) {
	return c.Create(context.Background(), c.kind(obj), obj, &metav1.CreateOptions{DryRun: dryRun})
}

func configMap(name string, data ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	for i := 0; i+1 < len(data); i += 2 {
		if m.Data == nil {
			m.Data = map[string]string{}
		}
		m.Data[data[i]] = data[i+1]
	}
	return m
}

// server is a webhook server. Each path has a handler; what came is kept.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	seen     []*admissionreview.AdmissionRequest
	raw      []string
	handlers map[string]http.HandlerFunc
}

func newServer(t *testing.T) *server {
	s := &server{handlers: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		h := s.handlers[r.URL.Path]
		s.mu.Unlock()
		if h == nil {
			http.NotFound(w, r)
			return
		}
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// handle sets a path's handler, also while an earlier one still answers.
func (s *server) handle(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[path] = h
}

// review makes a handler of a decision over a review.
func (s *server) review(f func(in *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in map[string]json.RawMessage
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var req admissionreview.AdmissionRequest
		if err := json.Unmarshal(in["request"], &req); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		s.seen = append(s.seen, &req)
		s.raw = append(s.raw, string(in["request"]))
		s.mu.Unlock()
		out := &admissionreview.AdmissionResponse{UID: req.UID, Allowed: true}
		f(&req, out)
		body, err := json.Marshal(map[string]any{"apiVersion": json.RawMessage(in["apiVersion"]), "kind": "AdmissionReview", "response": out})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}
}

func (s *server) take() []*admissionreview.AdmissionRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.seen
	s.seen, s.raw = nil, nil
	return out
}

func (s *server) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func rule(group, version, resource string, ops ...admissionv1.OperationType) []admissionv1.RuleWithOperations {
	if len(ops) == 0 {
		ops = []admissionv1.OperationType{admissionv1.OperationAll}
	}
	return []admissionv1.RuleWithOperations{{Operations: ops, Rule: admissionv1.Rule{
		APIGroups: []string{group}, APIVersions: []string{version}, Resources: []string{resource}}}}
}

func (s *server) validating(name, path string, rules []admissionv1.RuleWithOperations) admissionv1.ValidatingWebhook {
	url := s.URL + path
	return admissionv1.ValidatingWebhook{
		Name: name, ClientConfig: admissionv1.WebhookClientConfig{URL: &url, CABundle: s.bundle()}, Rules: rules,
		SideEffects: ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
}

func (s *server) mutating(name, path string, rules []admissionv1.RuleWithOperations) admissionv1.MutatingWebhook {
	url := s.URL + path
	return admissionv1.MutatingWebhook{
		Name: name, ClientConfig: admissionv1.WebhookClientConfig{URL: &url, CABundle: s.bundle()}, Rules: rules,
		SideEffects: ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
}

func (c *cluster) validate(name string, hooks ...admissionv1.ValidatingWebhook) {
	c.Helper()
	c.make(&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: hooks})
}

func (c *cluster) mutate(name string, hooks ...admissionv1.MutatingWebhook) {
	c.Helper()
	c.make(&admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: hooks})
}

func patch(ops string) func(*admissionreview.AdmissionRequest, *admissionreview.AdmissionResponse) {
	return func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) {
		out.Patch, out.PatchType = []byte(ops), ptr.To(admissionreview.PatchTypeJSONPatch)
	}
}

// message is an error's text, with port numbers and uids left out.
func message(err error, s *server) string {
	if err == nil {
		return ""
	}
	text := strings.ReplaceAll(err.Error(), s.URL, "https://HOOK")
	return strings.ReplaceAll(text, strings.TrimPrefix(s.URL, "https://"), "HOOK")
}

func code(err error) int32 {
	if s, ok := err.(apierrors.APIStatus); ok {
		return s.Status().Code
	}
	return 0
}

// ask sends a request over HTTP as a client does, and returns the answer's code,
// warnings and body.
func (c *cluster) ask(method, path, contentType, body string) (int, []string, string) {
	c.Helper()
	r, err := http.NewRequest(method, c.http.URL+path, strings.NewReader(body))
	if err != nil {
		c.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Values("Warning"), string(b)
}
