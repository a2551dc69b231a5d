package callout

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

type fixed string

func (f fixed) Resolve(context.Context, Service) (string, error) { return string(f), nil }

func TestServiceIsReachedUnderItsName(t *testing.T) {
	var host string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host = r.Host }))
	defer srv.Close()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	c := New(fixed(srv.Listener.Addr().String()), nil)
	defer c.Close()

	// The test server's certificate is for example.com: under the service's name it
	// must be refused, insecurely accepted.
	client, u, err := c.Client(Target{Service: &Service{Namespace: "ns", Name: "hook"}, Path: "/a?b=c", CABundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := u.String(), "https://hook.ns.svc:443/a?b=c"; got != want {
		t.Errorf("URL %s, want %s", got, want)
	}
	if _, err := client.Get(u.String()); err == nil || !strings.Contains(err.Error(), "not hook.ns.svc") {
		t.Errorf("a certificate for another name gave %v", err)
	}
	client, u, err = c.Client(Target{Service: &Service{Namespace: "ns", Name: "hook"}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if host != "hook.ns.svc:443" {
		t.Errorf("the server was asked as %q", host)
	}
}

func TestBadTargets(t *testing.T) {
	c := New(fixed(""), nil)
	for name, target := range map[string]Target{
		"plain http": {URL: "http://example.org/"},
		"no host":    {URL: "https:///x"},
		"not a URL":  {URL: "://"},
		"bundle":     {URL: "https://example.org/", CABundle: []byte("nothing")},
	} {
		if _, _, err := c.Client(target); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	srv := httptest.NewTLSServer(http.RedirectHandler("https://elsewhere.invalid/", http.StatusFound))
	defer srv.Close()
	c := New(nil, nil)
	client, u, err := c.Client(Target{URL: srv.URL, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(u.String())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestReadLimited(t *testing.T) {
	if b, err := ReadLimited(strings.NewReader("1234"), 4); err != nil || string(b) != "1234" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := ReadLimited(strings.NewReader("12345"), 4); err == nil {
		t.Error("too long an answer was read")
	}
}

func TestPoolsAreBounded(t *testing.T) {
	c := New(fixed("127.0.0.1:1"), nil)
	for i := range int32(idlePools + 50) {
		if _, _, err := c.Client(Target{Service: &Service{Namespace: "ns", Name: "hook", Port: i + 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.pools); n != idlePools {
		t.Errorf("%d pools, want %d", n, idlePools)
	}
}

// objects is a Reader over a few objects.
type objects map[schema.GroupResource][]kinds.Object

func (o objects) Object(gr schema.GroupResource, ns, name string) (kinds.Object, bool) {
	for _, x := range o[gr] {
		if x.GetNamespace() == ns && x.GetName() == name {
			return x, true
		}
	}
	return nil, false
}

func (o objects) Each(gr schema.GroupResource, ns string, f func(kinds.Object) bool) {
	for _, x := range o[gr] {
		if x.GetNamespace() == ns && !f(x) {
			return
		}
	}
}

func TestResolve(t *testing.T) {
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }
	port, other := int32(8443), int32(9000)
	web, metrics, no := "web", "metrics", false
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  meta("hook-1"),
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &metrics, Port: &other}, {Name: &web, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
			{Addresses: []string{"10.0.0.2"}},
		},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "hook"}
	var r admission.Reader = objects{
		services: {
			&corev1.Service{ObjectMeta: meta("hook"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "web", Port: 443}}}},
			&corev1.Service{ObjectMeta: meta("lonely"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}},
			&corev1.Service{ObjectMeta: meta("far"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}},
		},
		endpointSlices: {slice},
	}
	e := Endpoints{Reader: func() admission.Reader { return r }}
	for _, c := range []struct {
		name string
		port int32
		want string
		err  string
	}{
		{"hook", 443, "10.0.0.2:8443", ""},
		{"hook", 80, "", `no service port 80 found for service "hook"`},
		{"lonely", 443, "", `no endpoints available for service "lonely"`},
		{"far", 443, "example.org:443", ""},
		{"none", 443, "", `service "none" not found`},
	} {
		got, err := e.Resolve(context.Background(), Service{Namespace: "ns", Name: c.name, Port: c.port})
		if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s:%d gave %q, %v", c.name, c.port, got, err)
		}
	}
}
