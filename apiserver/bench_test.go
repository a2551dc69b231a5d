package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/custom/customtest"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
)

// cpu reports the processor time of an operation, which other work on the machine
// does not change; call it when the loop begins, and what it returns at the end.
func cpu(b *testing.B) func() {
	b.Helper()
	b.ReportAllocs()
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

// discard is a ResponseWriter that counts.
type discard struct {
	h    http.Header
	code int
	n    int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(code int)        { d.code = code }
func (d *discard) Write(b []byte) (int, error) { d.n += len(b); return len(b), nil }
func (d *discard) Flush()                      {}

func benchServer(b testing.TB) *apiserver.Server {
	b.Helper()
	s := mem.New()
	srv, err := apiserver.New(context.Background(), apiserver.Options{Store: s, Table: all.Table(), Scheme: scheme.New(), OldVersions: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { srv.Close(); s.Close() })
	return srv
}

// benchPod is a pod as a client posts it.
func benchPod(name string) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "bench", "pod": name},
			Annotations: map[string]string{"example.com/note": "some text that belongs to the pod"}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "main", Image: "registry.local/app:v1", Command: []string{"/app", "--serve"},
				Env:   []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}},
			}},
			Volumes: []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}
}

func mustJSON(b testing.TB, v any) []byte {
	b.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

func do(b testing.TB, h http.Handler, method, path, contentType, accept string, body []byte) *discard {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("Accept", accept)
	r.Header.Set("User-Agent", "bench/1")
	w := &discard{h: http.Header{}, code: 200}
	h.ServeHTTP(w, r)
	if w.code >= 300 {
		b.Fatalf("%s %s: status %d", method, path, w.code)
	}
	return w
}

func fill(b testing.TB, h http.Handler, n int) {
	b.Helper()
	for i := range n {
		p := benchPod(fmt.Sprintf("pod-%05d", i))
		p.Labels["part"] = fmt.Sprint(i % 50)
		do(b, h, "POST", "/api/v1/namespaces/default/pods", "application/json", "application/json", mustJSON(b, p))
	}
}

func BenchmarkGet(b *testing.B) {
	h := benchServer(b).Handler()
	fill(b, h, 1)
	defer cpu(b)()
	for b.Loop() {
		do(b, h, "GET", "/api/v1/namespaces/default/pods/pod-00000", "", "application/json", nil)
	}
}

func BenchmarkList5000(b *testing.B) {
	h := benchServer(b).Handler()
	fill(b, h, 5000)
	for _, accept := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		b.Run(accept[strings.LastIndexAny(accept, "./")+1:], func(b *testing.B) {
			defer cpu(b)()
			for b.Loop() {
				do(b, h, "GET", "/api/v1/pods", "", accept, nil)
			}
		})
	}
	b.Run("label", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			do(b, h, "GET", "/api/v1/pods?labelSelector=part%3D7", "", "application/vnd.kubernetes.protobuf", nil)
		}
	})
}

func BenchmarkCreate(b *testing.B) {
	h := benchServer(b).Handler()
	defer cpu(b)()
	i := 0
	for b.Loop() {
		i++
		b.StopTimer()
		body := mustJSON(b, benchPod(fmt.Sprintf("pod-%d", i)))
		b.StartTimer()
		do(b, h, "POST", "/api/v1/namespaces/default/pods", "application/json", "application/json", body)
	}
}

func BenchmarkCreateParallel(b *testing.B) {
	h := benchServer(b).Handler()
	defer cpu(b)()
	var mu sync.Mutex
	i := 0
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			mu.Lock()
			i++
			name := fmt.Sprintf("pod-%d", i)
			mu.Unlock()
			do(b, h, "POST", "/api/v1/namespaces/default/pods", "application/json", "application/json", mustJSON(b, benchPod(name)))
		}
	})
}

func BenchmarkUpdateStatus(b *testing.B) {
	h := benchServer(b).Handler()
	fill(b, h, 1)
	defer cpu(b)()
	i := 0
	for b.Loop() {
		i++
		patch := fmt.Sprintf(`{"status":{"podIP":"10.0.%d.%d","podIPs":[{"ip":"10.0.%d.%d"}]}}`, i/250%250, i%250, i/250%250, i%250)
		do(b, h, "PATCH", "/api/v1/namespaces/default/pods/pod-00000/status", "application/merge-patch+json", "application/json", []byte(patch))
	}
}

// BenchmarkPatchNodeStatus is what a kubelet sends now and then: the time in a condition
// of its node's status. One node of many writes at a time.
func BenchmarkPatchNodeStatus(b *testing.B) {
	const nodes = 1000
	h := benchServer(b).Handler()
	name := func(i int) string { return fmt.Sprintf("node-%04d", i%nodes) }
	for i := range nodes {
		do(b, h, "POST", "/api/v1/nodes", "application/json", "application/json", mustJSON(b, benchNode(name(i))))
	}
	defer cpu(b)()
	for i := 0; b.Loop(); i++ {
		patch := fmt.Appendf(nil, `{"status":{"conditions":[{"type":"Ready","lastHeartbeatTime":"2026-11-27T10:%02d:%02dZ"}]}}`, i/nodes/60%60, i/nodes%60)
		do(b, h, "PATCH", "/api/v1/nodes/"+name(i)+"/status", "application/strategic-merge-patch+json", "application/json", patch)
	}
}

// benchNode is a node as a kubelet registers it.
func benchNode(name string) *corev1.Node {
	n := &corev1.Node{TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/hostname": name}}}
	for _, t := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure, corev1.NodeReady} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: t, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"})
	}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeHostName, Address: name}}
	n.Status.NodeInfo = corev1.NodeSystemInfo{MachineID: name, KernelVersion: "6.1", OSImage: "Debian", ContainerRuntimeVersion: "skiff://1", KubeletVersion: "v1.36.3", OperatingSystem: "linux", Architecture: "amd64"}
	return n
}

func BenchmarkApply(b *testing.B) {
	h := benchServer(b).Handler()
	defer cpu(b)()
	i := 0
	for b.Loop() {
		i++
		doc := fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c%d","labels":{"app":"bench"}},"data":{"a":"%d","b":"two","c":"three"}}`, i%100, i)
		do(b, h, "PATCH", fmt.Sprintf("/api/v1/namespaces/default/configmaps/c%d?fieldManager=bench&force=true", i%100), "application/apply-patch+yaml", "application/json", []byte(doc))
	}
}

func BenchmarkApplyDeployment(b *testing.B) {
	h := benchServer(b).Handler()
	defer cpu(b)()
	i := 0
	for b.Loop() {
		i++
		doc := fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d%d","labels":{"app":"bench"}},"spec":{"replicas":%d,"selector":{"matchLabels":{"app":"bench"}},"template":{"metadata":{"labels":{"app":"bench"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"A","value":"1"}]}]}}}}`, i%100, i%7)
		do(b, h, "PATCH", fmt.Sprintf("/apis/apps/v1/namespaces/default/deployments/d%d?fieldManager=bench&force=true", i%100), "application/apply-patch+yaml", "application/json", []byte(doc))
	}
}

func BenchmarkDeleteCollection5000(b *testing.B) {
	h := benchServer(b).Handler()
	for b.Loop() {
		b.StopTimer()
		fill(b, h, 5000)
		b.StartTimer()
		do(b, h, "DELETE", "/api/v1/namespaces/default/pods?gracePeriodSeconds=0", "", "application/json", nil)
	}
}

// BenchmarkWatch500 is one event to 500 watchers.
func BenchmarkWatch500(b *testing.B) {
	srv := benchServer(b)
	h := srv.Handler()
	fill(b, h, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	got := make(chan struct{}, 1<<16)
	for range 500 {
		ready := make(chan struct{})
		wg.Go(func() {
			r := httptest.NewRequest("GET", "/api/v1/pods?watch=true&resourceVersion=0&labelSelector=app%3Dbench", nil).WithContext(ctx)
			r.Header.Set("Accept", "application/json")
			h.ServeHTTP(&counter{h: http.Header{}, ready: ready, got: got}, r)
		})
		<-ready
	}
	defer cpu(b)()
	i := 0
	for b.Loop() {
		i++
		patch := fmt.Sprintf(`{"metadata":{"labels":{"n":"%d"}}}`, i)
		do(b, h, "PATCH", "/api/v1/namespaces/default/pods/pod-00000", "application/merge-patch+json", "application/json", []byte(patch))
		for range 500 {
			<-got
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/event")
	cancel()
	wg.Wait()
}

// counter tells of each write after the first, the initial state.
type counter struct {
	h     http.Header
	ready chan struct{}
	got   chan struct{}
	n     int
}

func (c *counter) Header() http.Header { return c.h }
func (c *counter) WriteHeader(int)     {}
func (c *counter) Flush()              {}
func (c *counter) Write(b []byte) (int, error) {
	c.n++
	if c.n == 1 {
		close(c.ready)
	} else {
		c.got <- struct{}{}
	}
	return len(b), nil
}

var _ io.Writer = (*counter)(nil)

// BenchmarkInstallDefinition installs definitions of custom resources beside 200 others.
func BenchmarkInstallDefinition(b *testing.B) {
	h := benchServer(b).Handler()
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	n := 0
	install := func() {
		n++
		do(b, h, "POST", path, "application/json", "application/json", mustJSON(b, customtest.Definition(n)))
	}
	for range 200 {
		install()
	}
	defer cpu(b)()
	for b.Loop() {
		install()
	}
}
