package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	criportforward "k8s.io/cri-streaming/pkg/streaming/portforward"
	criremote "k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// fakeNode serves exec and portforward with the libraries that nodes use.
type fakeNode struct{}

// exitCode is how a command ends that does not end well.
type exitCode int

func (e exitCode) Error() string   { return fmt.Sprintf("command terminated with exit code %d", int(e)) }
func (e exitCode) String() string  { return e.Error() }
func (e exitCode) Exited() bool    { return true }
func (e exitCode) ExitStatus() int { return int(e) }

// ExecInContainer knows three commands: cat, fail and size.
func (fakeNode) ExecInContainer(_ context.Context, _, _, container string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan criremote.TerminalSize, _ time.Duration) error {
	switch cmd[0] {
	case "cat":
		n, err := io.Copy(out, in)
		if errOut != nil {
			fmt.Fprintf(errOut, "%s copied %d", container, n)
		}
		return err
	case "size":
		s := <-resize
		fmt.Fprintf(out, "%t %dx%d", tty, s.Width, s.Height)
		return nil
	}
	return exitCode(7)
}

// PortForward echoes in capitals.
func (fakeNode) PortForward(_ context.Context, _, _ string, port int32, s io.ReadWriteCloser) error {
	b := make([]byte, 5)
	if _, err := io.ReadFull(s, b); err != nil {
		return err
	}
	fmt.Fprintf(s, "%d %s", port, bytes.ToUpper(b))
	return s.Close()
}

func (n fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	switch parts[1] {
	case "exec", "attach":
		o, err := criremote.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		criremote.ServeExec(w, r, n, parts[3], "", parts[4], r.URL.Query()["command"], o, time.Minute, time.Minute, criremote.SupportedStreamingProtocols)
	case "portForward":
		o, err := criportforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		criportforward.ServePortForward(w, r, n, parts[3], "", o, time.Minute, time.Minute, criportforward.SupportedProtocols)
	case "containerLogs":
		if parts[4] == "broken" {
			http.Error(w, "container \"broken\" in pod \"p\" is waiting to start", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s?%s", r.URL.Path, r.URL.RawQuery)
	default:
		fmt.Fprintf(w, "node %s", r.URL.RequestURI())
	}
}

// Handler implements Nodes.
func (n fakeNode) Handler(_ context.Context, name string) (http.Handler, error) {
	if name != "n" {
		return nil, errors.New("no such node")
	}
	return n, nil
}

// cluster is a fake of Reader.
type cluster map[string]kinds.Object

func (c cluster) Object(gr schema.GroupResource, namespace, name string) (kinds.Object, bool) {
	o, ok := c[gr.Resource+" "+namespace+"/"+name]
	return o, ok
}

func newPod(name, node string, containers ...string) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: v1.PodSpec{NodeName: node}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, v1.Container{Name: c})
	}
	return p
}

func world() cluster {
	return cluster{
		"pods ns/p":       newPod("p", "n", "main"),
		"pods ns/two":     newPod("two", "n", "a", "b"),
		"pods ns/pending": newPod("pending", "", "main"),
		"pods ns/broken":  newPod("broken", "n", "broken"),
		"pods ns/lost":    newPod("lost", "gone", "main"),
		"nodes /n":        &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: v1.NodeStatus{DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: 10250}}}},
	}
}

func serve(s *Streams) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, _ := parse(r.URL.Path)
		o, _ := s.Reader.Object(schema.GroupResource{Resource: t.resource}, t.namespace, t.name)
		s.Serve(w, r, nil, o, t.sub)
	})
}

func newServer(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(serve(&Streams{Nodes: fakeNode{}, Reader: world()}))
	t.Cleanup(server.Close)
	return server
}

// executors are the two that kubectl has.
func executors(t *testing.T, server *httptest.Server, path string) map[string]remotecommand.Executor {
	t.Helper()
	u, err := url.Parse(server.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	c := &rest.Config{Host: server.URL}
	ws, err := remotecommand.NewWebSocketExecutor(c, "GET", u.String())
	if err != nil {
		t.Fatal(err)
	}
	sp, err := remotecommand.NewSPDYExecutor(c, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"websocket": ws, "spdy": sp}
}

func TestExec(t *testing.T) {
	server := newServer(t)
	for name, e := range executors(t, server, "/api/v1/namespaces/ns/pods/p/exec?command=cat&stdin=true&stdout=true&stderr=true") {
		t.Run(name+" half closed", func(t *testing.T) {
			var out, errOut bytes.Buffer
			// The input ends: cat ends by itself, and its last words arrive.
			text := strings.Repeat("hello ", 50000)
			err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader(text), Stdout: &out, Stderr: &errOut})
			if err != nil || out.String() != text || errOut.String() != "main copied 300000" {
				t.Errorf("%v: %d bytes, %q", err, out.Len(), errOut.String())
			}
		})
	}
	for name, e := range executors(t, server, "/api/v1/namespaces/ns/pods/p/exec?command=fail&stdout=true") {
		t.Run(name+" exit code", func(t *testing.T) {
			var code exec.CodeExitError
			err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard})
			if !errors.As(err, &code) || code.ExitStatus() != 7 {
				t.Errorf("%v", err)
			}
		})
	}
	for name, e := range executors(t, server, "/api/v1/namespaces/ns/pods/p/exec?command=size&stdout=true&tty=true") {
		t.Run(name+" terminal", func(t *testing.T) {
			var out bytes.Buffer
			sizes := make(queue, 1)
			sizes <- remotecommand.TerminalSize{Width: 80, Height: 25}
			err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Tty: true, TerminalSizeQueue: sizes})
			if err != nil || out.String() != "true 80x25" {
				t.Errorf("%v: %q", err, out.String())
			}
		})
	}
}

type queue chan remotecommand.TerminalSize

func (q queue) Next() *remotecommand.TerminalSize {
	s, ok := <-q
	if !ok {
		return nil
	}
	return &s
}

func TestPortForward(t *testing.T) {
	server := newServer(t)
	u, err := url.Parse(server.URL + "/api/v1/namespaces/ns/pods/p/portforward")
	if err != nil {
		t.Fatal(err)
	}
	c := &rest.Config{Host: server.URL}
	rt, up, err := spdy.RoundTripperFor(c)
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(u, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("spdy", func(t *testing.T) {
		stop, ready := make(chan struct{}), make(chan struct{})
		f, err := portforward.New(spdy.NewDialer(up, &http.Client{Transport: rt}, "POST", u), []string{"0:80"}, stop, ready, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		forward(t, f, stop, ready)
	})
	t.Run("websocket", func(t *testing.T) {
		stop, ready := make(chan struct{}), make(chan struct{})
		f, err := portforward.New(tunnel, []string{"0:80"}, stop, ready, io.Discard, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		forward(t, f, stop, ready)
	})
}

func forward(t *testing.T, f *portforward.PortForwarder, stop, ready chan struct{}) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got, err := talk(fmt.Sprintf("127.0.0.1:%d", ports[0].Local), "hello")
		if err != nil || got != "80 HELLO" {
			t.Errorf("%q %v", got, err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func talk(address, text string) (string, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestRefusals(t *testing.T) {
	s := &Streams{Nodes: fakeNode{}, Reader: world()}
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"pods/p/exec?command=x&stdout=true", 400, "Upgrade request required"},
		{"pods/p/exec?container=other&stdout=true", 400, "container other is not valid for pod p"},
		{"pods/two/exec?stdout=true", 400, "a container name must be specified for pod two, choose one of: [a b]"},
		{"pods/pending/exec?stdout=true", 400, "pod pending does not have a host assigned"},
		{"pods/pending/portforward", 400, "pod pending does not have a host assigned"},
		{"pods/absent/attach?stdout=true", 404, `pods "absent" not found`},
		{"pods/lost/attach?stdout=true", 500, "Internal error occurred: no such node"},
		{"pods/two/log", 400, "a container name must be specified for pod two, choose one of: [a b]"},
		{"pods/two/log?container=c", 400, "container c is not valid for pod two"},
		{"pods/absent/log", 404, `pods "absent" not found`},
		{"pods/broken/log", 400, "container \"broken\" in pod \"p\" is waiting to start\n"},
		{"pods/p/log?tailLines=-1", 422, `PodLogOptions "p" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0`},
		{"pods/p/log?sinceSeconds=0", 422, `PodLogOptions "p" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0`},
		{"pods/p/log?limitBytes=0", 422, `PodLogOptions "p" is invalid: limitBytes: Invalid value: 0: must be greater than 0`},
		{"pods/p/log?tailLines=x", 400, `strconv.ParseInt: parsing "x": invalid syntax`},
		{"pods/p/proxy/", 400, "address not allowed"},
		{"services/s/proxy/", 404, `services "s" not found`},
	} {
		t.Run(c.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			serve(s).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/namespaces/ns/"+c.path, nil))
			var status metav1.Status
			if err := json.Unmarshal(w.Body.Bytes(), &status); err != nil {
				t.Fatal(err, w.Body)
			}
			if w.Code != c.code || status.Message != c.want {
				t.Errorf("%d %q", w.Code, status.Message)
			}
		})
	}
}

func TestLog(t *testing.T) {
	s := &Streams{Nodes: fakeNode{}, Reader: world()}
	for path, want := range map[string]string{
		"pods/p/log": "/containerLogs/ns/p/main?stream=All",
		"pods/two/log?container=b&follow=true&tailLines=3&timestamps=true&previous=true": "/containerLogs/ns/two/b?follow=true&previous=true&stream=All&tailLines=3&timestamps=true",
	} {
		w := httptest.NewRecorder()
		serve(s).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/namespaces/ns/"+path, nil))
		if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != "text/plain" {
			t.Errorf("%s: %d %q", path, w.Code, w.Body)
		}
	}

	w := httptest.NewRecorder()
	serve(s).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/namespaces/ns/pods/pending/log", nil))
	if w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("a pod without a node: %d %q", w.Code, w.Body)
	}
}

type readOnly struct{}

func (readOnly) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	if a.Verb == "get" {
		return auth.Allow, "", nil
	}
	return auth.NoOpinion, "not " + a.Subresource, nil
}

func TestGetNeedsCreate(t *testing.T) {
	s := &Streams{Nodes: fakeNode{}, Reader: world(), Authorizer: readOnly{}}
	w := httptest.NewRecorder()
	serve(s).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/namespaces/ns/pods/p/exec?command=x&stdout=true", nil))
	if w.Code != 403 || !strings.Contains(w.Body.String(), `pods \"p\" is forbidden: not exec`) {
		t.Error(w.Code, w.Body)
	}
}

func TestProxies(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "pod %s", r.URL.RequestURI()) }))
	t.Cleanup(backend.Close)
	reader := world()
	pod := newPod("web", "n", "main")
	pod.Status.PodIPs = []v1.PodIP{{IP: "10.1.2.3"}}
	pod.Spec.Containers[0].Ports = []v1.ContainerPort{{ContainerPort: 8080}}
	reader["pods ns/web"] = pod
	reader["services ns/svc"] = &v1.Service{Spec: v1.ServiceSpec{Ports: []v1.ServicePort{{Name: "http", Port: 80}}}}
	//lint:ignore SA1019 Kubernetes' own proxy reads the old kind
	reader["endpoints ns/svc"] = &v1.Endpoints{Subsets: []v1.EndpointSubset{{Ports: []v1.EndpointPort{{Name: "http", Port: 8080}},
		Addresses: []v1.EndpointAddress{{IP: "10.1.2.3", TargetRef: &v1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "web"}}, {IP: "169.254.169.254"}}}}}
	var dialed string
	s := &Streams{Nodes: fakeNode{}, Reader: reader, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		dialed = r.URL.Scheme + "://" + r.URL.Host
		u, _ := url.Parse(backend.URL)
		r.URL.Scheme, r.URL.Host = u.Scheme, u.Host
		return http.DefaultTransport.RoundTrip(r)
	})}
	for _, c := range []struct{ path, body, dialed string }{
		{"namespaces/ns/pods/web/proxy/a/b?c=d", "pod /a/b?c=d", "http://10.1.2.3:8080"},
		{"namespaces/ns/pods/https:web:8443/proxy/", "pod /", "https://10.1.2.3:8443"},
		{"namespaces/ns/services/svc:80/proxy/x", "pod /x", "http://10.1.2.3:8080"},
		{"namespaces/ns/services/svc:http/proxy/x/", "pod /x/", "http://10.1.2.3:8080"},
		{"nodes/n/proxy/stats/summary?x=y", "node /stats/summary?x=y", ""},
		{"nodes/n:10250/proxy/healthz", "node /healthz", ""},
	} {
		dialed = ""
		w := httptest.NewRecorder()
		serve(s).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/"+c.path, nil))
		if w.Code != 200 || w.Body.String() != c.body || dialed != c.dialed {
			t.Errorf("%s: %d %q from %s", c.path, w.Code, w.Body, dialed)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func FuzzParse(f *testing.F) {
	f.Add("/api/v1/namespaces/ns/pods/p/exec", "command=x&stdin=1&tty=maybe")
	f.Add("/api/v1/nodes/https:n:10250/proxy/a//b", "ports=80&ports=x")
	s := &Streams{Nodes: fakeNode{}, Reader: world()}
	f.Fuzz(func(t *testing.T, path, query string) {
		got, ok := parse(path)
		if ok && got.prefix+got.rest != path {
			t.Errorf("%q: %+v", path, got)
		}
		if !strings.HasPrefix(path, "/") || got.resource != "pods" || got.sub == "proxy" {
			return
		}
		r := &http.Request{Method: "GET", Header: http.Header{}, URL: &url.URL{Path: path, RawQuery: query}}
		serve(s).ServeHTTP(httptest.NewRecorder(), r.WithContext(context.Background()))
	})
}
