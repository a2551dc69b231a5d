package aggregate_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/aggregate"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
	"skiff.dev/skiff/telemetry"
)

// authority makes certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func (a *authority) issue(t *testing.T, name string, usage x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// extension is a small extension API server: it believes the front proxy alone.
func extension(t *testing.T, serving *tls.Certificate, proxies *authority, down *atomic.Bool) string {
	t.Helper()
	const gv = "wardle.example.com/v1"
	mux := http.NewServeMux()
	reply := func(path, text string) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, text)
		})
	}
	reply("/apis/"+gv, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"`+gv+`","resources":[
		{"name":"flunders","singularName":"flunder","namespaced":true,"kind":"Flunder","verbs":["get","list","watch"],"shortNames":["fl"]},
		{"name":"flunders/status","singularName":"","namespaced":true,"kind":"Flunder","verbs":["get"]}]}`)
	reply("/openapi/v3", `{"paths":{"apis/`+gv+`":{"serverRelativeURL":"/openapi/v3/apis/`+gv+`?hash=ABC"}}}`)
	reply("/openapi/v3/apis/"+gv, `{"openapi":"3.0.0","info":{"title":"wardle"}}`)
	reply("/openapi/v2", `{"swagger":"2.0","paths":{"/apis/`+gv+`/flunders":{"get":{"responses":{"200":{"schema":{"$ref":"#/definitions/Flunder"}}}}},"/apis/other":{}},
		"definitions":{"Flunder":{"properties":{"metadata":{"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}}},"Unused":{},
		"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta":{"type":"object","description":"another one"}}}`)
	mux.HandleFunc("/apis/"+gv+"/namespaces/ns/flunders", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "true" {
			for i := range 2 {
				fmt.Fprintf(w, "event %d\n", i)
				w.(http.Flusher).Flush()
			}
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{"method": r.Method, "query": r.URL.RawQuery, "headers": r.Header, "client": r.TLS.PeerCertificates[0].Subject.CommonName})
	})
	mux.HandleFunc("/apis/"+gv+"/namespaces/ns/flunders/f/connect", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello %s\n", r.Header.Get("X-Remote-User"))
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, strings.ToUpper(line))
		rw.Flush()
	})
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(proxies.pem)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{*serving}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

type believe struct{}

func (believe) Authenticate(r *http.Request) (*auth.User, bool, error) {
	return &auth.User{Name: "ann", UID: "u-1", Groups: []string{"devs", auth.GroupAuthenticated}, Extra: map[string][]string{"example.com/Scope": {"a", "b"}}}, true, nil
}

type world struct {
	t    *testing.T
	url  string
	srv  *apiserver.Server
	down atomic.Bool
}

func (w *world) do(method, path, body string, headers ...string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// make posts objects.
func (w *world) make(path, body string) {
	w.t.Helper()
	if code, text := w.do("POST", path, body); code != http.StatusCreated {
		w.t.Fatalf("%s: %d %s", path, code, text)
	}
}

// until waits for a state of an APIService.
func (w *world) until(name string, ok func(*apiregistrationv1.APIService) bool) *apiregistrationv1.APIService {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	b := w.srv.InProcess(&auth.User{Name: "test"})
	k, _ := b.Kind(apiregistrationv1.SchemeGroupVersion.WithKind("APIService"))
	list, rev, err := b.List(ctx, k, "", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	find := func(o kinds.Object) *apiregistrationv1.APIService {
		if s, is := o.(*apiregistrationv1.APIService); is && s.Name == name && ok(s) {
			return s
		}
		return nil
	}
	for _, o := range list {
		if s := find(o); s != nil {
			return s
		}
	}
	events, err := b.Watch(ctx, k, "", rev)
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		evs, err := events.Next(ctx)
		if err != nil {
			w.t.Fatalf("APIService %s: %v", name, err)
		}
		for _, ev := range evs {
			if ev.New != nil {
				if s := find(ev.New); s != nil {
					return s
				}
			}
		}
	}
}

func condition(reason string) func(*apiregistrationv1.APIService) bool {
	return func(s *apiregistrationv1.APIService) bool {
		return len(s.Status.Conditions) == 1 && s.Status.Conditions[0].Reason == reason
	}
}

func newWorld(t *testing.T) (w *world, servers *authority) {
	t.Helper()
	servers, proxies := newAuthority(t, "servers"), newAuthority(t, "proxies")
	w = &world{t: t}
	addr := extension(t, servers.issue(t, "wardle.ns.svc", x509.ExtKeyUsageServerAuth), proxies, &w.down)
	front := proxies.issue(t, "front-proxy-client", x509.ExtKeyUsageClientAuth)
	tel, table, store := telemetry.Discard(), all.Table(), mem.New()
	var reader atomic.Pointer[admission.Reader]
	groups := discovery.New(discovery.Options{Table: table, HideOld: true})
	schemas := openapi.New(openapi.Options{Table: table, HideOld: true, Version: "v1.36.3"})
	agg, err := aggregate.New(aggregate.Options{
		Clients:   callout.New(fixed(addr), func() (*tls.Certificate, error) { return front, nil }),
		Reader:    func() admission.Reader { return *reader.Load() },
		Discovery: groups.SetRemote, OpenAPI: schemas.SetRemote, Telemetry: tel,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.srv, err = apiserver.New(context.Background(), apiserver.Options{Store: store, Table: table, Scheme: scheme.New(), Authenticator: believe{}, Telemetry: tel,
		Feeds: []apiserver.Feed{{Resources: aggregate.Resources, Apply: agg.Apply}}, Delegate: agg.Route,
		Paths: []apiserver.PathHandler{{Path: "/apis", Handler: groups}, {Path: "/apis/", Handler: groups}, {Path: "/openapi/", Handler: schemas}}})
	if err != nil {
		t.Fatal(err)
	}
	r := w.srv.Reader()
	reader.Store(&r)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := agg.Run(ctx, w.srv.Registrations()); err != nil {
			t.Error(err)
		}
	}()
	h := httptest.NewServer(w.srv.Handler())
	w.url = h.URL
	t.Cleanup(func() { cancel(); <-done; h.Close(); w.srv.Close(); store.Close() })
	return w, servers
}

type fixed string

func (f fixed) Resolve(context.Context, callout.Service) (string, error) { return string(f), nil }

func TestExtensionServer(t *testing.T) {
	w, servers := newWorld(t)
	const name = "v1.wardle.example.com"
	w.make("/api/v1/namespaces", `{"metadata":{"name":"ns"}}`)
	w.make("/apis/apiregistration.k8s.io/v1/apiservices", `{"apiVersion":"apiregistration.k8s.io/v1","kind":"APIService","metadata":{"name":"`+name+`"},
		"spec":{"group":"wardle.example.com","version":"v1","groupPriorityMinimum":200,"versionPriority":20,"service":{"namespace":"ns","name":"wardle"},"caBundle":"`+base64.StdEncoding.EncodeToString(servers.pem)+`"}}`)

	// Step by step the Service comes to be.
	s := w.until(name, condition("ServiceNotFound"))
	if c := s.Status.Conditions[0]; c.Status != "False" || c.Message != `service/wardle in "ns" is not present` {
		t.Errorf("%+v", c)
	}
	if code, text := w.do("GET", "/apis/wardle.example.com/v1/namespaces/ns/flunders", ""); code != http.StatusServiceUnavailable || text != "service unavailable\n" {
		t.Errorf("%d %q", code, text)
	}
	w.make("/api/v1/namespaces/ns/services", `{"metadata":{"name":"wardle"},"spec":{"ports":[{"name":"api","port":444}]}}`)
	s = w.until(name, condition("ServicePortError"))
	if c := s.Status.Conditions[0]; c.Message != `service/wardle in "ns" is not listening on port 443` {
		t.Errorf("%+v", c)
	}
	if code, text := w.do("PATCH", "/api/v1/namespaces/ns/services/wardle", `{"spec":{"ports":[{"name":"api","port":443}]}}`, "Content-Type", "application/merge-patch+json"); code != 200 {
		t.Fatal(text)
	}
	s = w.until(name, condition("EndpointsNotFound"))
	if c := s.Status.Conditions[0]; c.Message != `cannot find endpointslices for service/wardle in "ns"` {
		t.Errorf("%+v", c)
	}
	slice := `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"wardle-1","labels":{"kubernetes.io/service-name":"wardle"}},"addressType":"IPv4","ports":[{"name":"api","port":8443}],"endpoints":[{"addresses":["10.0.0.9"],"conditions":{"ready":false}}]}`
	w.make("/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices", slice)
	s = w.until(name, condition("MissingEndpoints"))
	if c := s.Status.Conditions[0]; c.Message != `endpointslices for service/wardle in "ns" have no addresses with port name "api"` {
		t.Errorf("%+v", c)
	}
	w.down.Store(true)
	if code, text := w.do("PUT", "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices/wardle-1", strings.Replace(slice, "false", "true", 1)); code != 200 {
		t.Fatal(text)
	}
	s = w.until(name, condition("FailedDiscoveryCheck"))
	if c := s.Status.Conditions[0]; !strings.HasPrefix(c.Message, "failing or missing response from https://10.96.") || !strings.HasSuffix(c.Message, ":443/apis/wardle.example.com/v1: 500") {
		t.Errorf("%+v", c)
	}
	w.down.Store(false)
	s = w.until(name, condition("Passed"))
	if c := s.Status.Conditions[0]; c.Status != "True" || c.Message != "all checks passed" {
		t.Errorf("%+v", c)
	}

	// A request arrives with its user and without what the user proved it by.
	code, text := w.do("GET", "/apis/wardle.example.com/v1/namespaces/ns/flunders?a=b", "", "Authorization", "Bearer secret", "X-Remote-User", "root", "X-Remote-Group", "system:masters", "Impersonate-User", "")
	var seen struct {
		Method, Query, Client string
		Headers               http.Header
	}
	if err := json.Unmarshal([]byte(text), &seen); err != nil {
		t.Fatal(code, text)
	}
	h := seen.Headers
	if seen.Query != "a=b" || seen.Client != "front-proxy-client" || h.Get("X-Remote-User") != "ann" || h.Get("X-Remote-Uid") != "u-1" ||
		strings.Join(h["X-Remote-Group"], ",") != "devs,system:authenticated" || strings.Join(h["X-Remote-Extra-Example.com%2fscope"], ",") != "a,b" || h.Get("Authorization") != "" {
		t.Errorf("%+v", seen)
	}
	if _, text = w.do("POST", "/apis/wardle.example.com/v1/namespaces/ns/flunders", `{}`); !strings.Contains(text, `"method":"POST"`) {
		t.Error(text)
	}
	if _, text = w.do("GET", "/apis/wardle.example.com/v1/namespaces/ns/flunders?watch=true", ""); text != "event 0\nevent 1\n" {
		t.Errorf("a stream: %q", text)
	}
	w.upgrade()
	w.documents()

	// It fails, and comes back.
	w.down.Store(true)
	if code, text := w.do("PATCH", "/api/v1/namespaces/ns/services/wardle", `{"metadata":{"labels":{"x":"y"}}}`, "Content-Type", "application/merge-patch+json"); code != 200 {
		t.Fatal(text)
	}
	w.until(name, condition("FailedDiscoveryCheck"))
	if code, _ := w.do("GET", "/apis/wardle.example.com/v1/namespaces/ns/flunders", ""); code != http.StatusServiceUnavailable {
		t.Error(code)
	}
	if code, text := w.do("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/"+name, ""); code != 200 {
		t.Error(text)
	}
	if code, _ := w.do("GET", "/apis/wardle.example.com/v1/namespaces/ns/flunders", ""); code != http.StatusNotFound {
		t.Error(code)
	}
}

// upgrade talks through a connection of another protocol.
func (w *world) upgrade() {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /apis/wardle.example.com/v1/namespaces/ns/flunders/f/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		w.t.Fatal(resp, err)
	}
	line, _ := in.ReadString('\n')
	fmt.Fprint(conn, "and back\n")
	back, _ := in.ReadString('\n')
	if line != "hello ann\n" || back != "AND BACK\n" {
		w.t.Errorf("%q %q", line, back)
	}
}

// documents holds that discovery and OpenAPI tell of the other server's kinds.
func (w *world) documents() {
	t := w.t
	t.Helper()
	for path, want := range map[string][]string{
		"/apis":                                  {`"name":"wardle.example.com"`, `"groupVersion":"wardle.example.com/v1"`},
		"/apis/wardle.example.com":               {`"preferredVersion":{"groupVersion":"wardle.example.com/v1","version":"v1"}`},
		"/apis/wardle.example.com/v1":            {`"name":"flunders"`},
		"/openapi/v3":                            {`"apis/wardle.example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/wardle.example.com/v1?hash=ABC"}`},
		"/openapi/v3/apis/wardle.example.com/v1": {`"title":"wardle"`},
		"/openapi/v2":                            {`"/apis/wardle.example.com/v1/flunders"`, `"Flunder":`, `"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta_v2"`, `"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta_v2"`},
	} {
		// Run publishes after the condition is written.
		deadline := time.Now().Add(20 * time.Second)
		for {
			_, text := w.do("GET", path, "")
			missing := ""
			for _, s := range want {
				if !strings.Contains(text, s) {
					missing = s
				}
			}
			if missing == "" {
				if path == "/openapi/v2" && (strings.Contains(text, `"Unused"`) || strings.Contains(text, `"/apis/other"`)) {
					t.Error("OpenAPI v2 tells of what is not the other server's")
				}
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s lacks %s", path, missing)
			}
		}
	}
	_, text := w.do("GET", "/apis", "", "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	if !strings.Contains(text, `"resource":"flunders","responseKind":{"group":"wardle.example.com","version":"v1","kind":"Flunder"},"scope":"Namespaced","singularResource":"flunder","verbs":["get","list","watch"],"shortNames":["fl"]`) ||
		!strings.Contains(text, `"subresource":"status"`) || !strings.Contains(text, `"freshness":"Current"`) {
		t.Errorf("aggregated discovery: %s", text[max(0, len(text)-1500):])
	}
}

// TestCustomGroupsAreRegistered holds that each served version of custom resources
// has an APIService, while it is served.
func TestCustomGroupsAreRegistered(t *testing.T) {
	w, _ := newWorld(t)
	crd := `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"tabs.example.com"},"spec":{"group":"example.com","scope":"Namespaced",
		"names":{"plural":"tabs","singular":"tab","kind":"Tab","listKind":"TabList"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`
	w.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
	s := w.until("v1.example.com", func(s *apiregistrationv1.APIService) bool { return true })
	if s.Labels["kube-aggregator.kubernetes.io/automanaged"] != "true" || s.Spec.GroupPriorityMinimum != 1000 || s.Spec.VersionPriority != 100 || s.Status.Conditions[0].Reason != "Local" {
		t.Errorf("%+v", s)
	}
	// Somebody deletes it: it comes back.
	uid := s.UID
	w.do("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com", "")
	w.until("v1.example.com", func(s *apiregistrationv1.APIService) bool { return s.UID != uid })
}
