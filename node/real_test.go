package node

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/engine/local"
	"skiff.dev/skiff/telemetry"
	"skiff.dev/skiff/volume"
)

// busyboxArchive is a docker archive with the machine's static busybox.
func busyboxArchive(t *testing.T, name string) io.Reader {
	box, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs /bin/busybox, a static one: ", err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(h *tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"bin/", "etc/", "tmp/", "www/"} {
		add(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	add(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, box)
	add(&tar.Header{Name: "www/index.html", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("hello\n"))
	for _, n := range []string{"sh", "cat", "sleep", "httpd", "echo", "id", "hostname", "mount", "true", "touch", "ls"} {
		add(&tar.Header{Name: "bin/" + n, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	w.Close()
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": []string{"sh"}, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer.Bytes()))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest := fmt.Sprintf(`[{"Config":"config.json","RepoTags":[%q],"Layers":["layer.tar"]}]`, name)
	var out bytes.Buffer
	w = tar.NewWriter(&out)
	for n, body := range map[string][]byte{"config.json": config, "layer.tar": layer.Bytes(), "manifest.json": []byte(manifest)} {
		add(&tar.Header{Name: n, Typeflag: tar.TypeReg, Mode: 0o644}, body)
	}
	w.Close()
	return &out
}

// realRig is a node over the real engine, with the API and the network in memory.
type realRig struct {
	*rig
	engine *local.Local
	run    string
}

func newRealRig(t *testing.T) *realRig {
	if os.Getuid() != 0 {
		t.Skip("needs root: containers")
	}
	if testing.Short() {
		t.Skip("runs containers")
	}
	// Sockets have short paths only.
	root, err := os.MkdirTemp("", "nodert")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "skiff-monitor")
	build := exec.Command("go", "build", "-o", program, "skiff.dev/skiff/engine/monitor/cmd/skiff-monitor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the monitor: %v\n%s", err, out)
	}
	o := local.Options{Root: filepath.Join(root, "data"), RunDir: filepath.Join(root, "run"), Instance: fmt.Sprintf("nodet%d", os.Getpid()%10000),
		Monitor: func() ([]byte, error) { return os.ReadFile(program) }, Telemetry: telemetry.Discard()}
	e, err := local.Open(t.Context(), o)
	if err != nil {
		os.RemoveAll(root)
		t.Fatal(err)
	}
	if _, err := e.Images().Load(t.Context(), busyboxArchive(t, "docker.io/library/box:1"), ""); err != nil {
		t.Fatal(err)
	}
	r := &realRig{engine: e, run: root, rig: &rig{t: t, api: newMemAPI(), net: &fakeNetwork{}, dir: filepath.Join(root, "node")}}
	t.Cleanup(func() {
		r.stop()
		ctx := context.WithoutCancel(t.Context())
		if err := e.Down(ctx, time.Second); err != nil {
			t.Error(err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := local.Wipe(ctx, o); err != nil {
			t.Error(err)
		}
		if err := (volume.Kernel{}).UnmountBelow(root); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	r.begin()
	return r
}

func (r *realRig) begin() {
	ctx, cancel := context.WithCancel(r.t.Context())
	n, err := New(Options{
		Name: "n1", Client: r.api, Cache: memCache{a: r.api}, Engine: r.engine, Network: r.net,
		Volumes: volume.New(volume.Options{Reader: r.api, RootDir: r.dir}),
		NodeIPs: []string{"127.0.0.1"}, RootDir: r.dir, ClusterDNS: []string{"10.96.0.10"},
		Capacity:  v1.ResourceList{"cpu": mustQuantity("64"), "memory": mustQuantity("64Gi")},
		Telemetry: telemetry.New(os.Stderr, slog.LevelInfo),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.node = n
	done := make(chan error, 1)
	go r.api.run(ctx)
	go func() { done <- n.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
	<-n.Started()
}

// until waits for a pod's line to be want.
func (r *realRig) until(name, want string) {
	r.t.Helper()
	changed := make(chan struct{}, 1)
	r.api.onChange(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	deadline := time.After(20 * time.Second)
	for r.line(name) != want {
		select {
		case <-changed:
		case <-deadline:
			r.t.Fatalf("pod %s\n got: %s\nwant: %s\nevents: %s", name, r.line(name), want, strings.Join(r.events(name), "\n"))
		}
	}
}

func (r *realRig) get(url string) string {
	rec := httptest.NewRecorder()
	r.node.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, url, nil))
	return rec.Body.String()
}

func boxed(c v1.Container) v1.PodSpec {
	c.Image = "box:1"
	return one(c)
}

func TestRealPods(t *testing.T) {
	r := newRealRig(t)
	t.Run("sandboxed", func(t *testing.T) {
		cm := &v1.ConfigMap{Data: map[string]string{"greeting": "hi"}}
		cm.Name, cm.Namespace = "cfg", "default"
		if err := r.api.Create(t.Context(), cm); err != nil {
			t.Fatal(err)
		}
		spec := boxed(v1.Container{
			Command:      []string{"sh", "-c", `echo $(GREETING) $(hostname); cat /cfg/greeting; echo; cat /etc/hosts /etc/resolv.conf; echo bye > /dev/termination-log; exit 3`},
			Env:          []v1.EnvVar{{Name: "GREETING", Value: "hello"}},
			VolumeMounts: []v1.VolumeMount{{Name: "c", MountPath: "/cfg"}, {Name: "e", MountPath: "/sub", SubPath: "x"}}, TerminationMessagePath: "/dev/termination-log",
		})
		spec.RestartPolicy = v1.RestartPolicyNever
		spec.Volumes = []v1.Volume{{Name: "c", VolumeSource: v1.VolumeSource{ConfigMap: &v1.ConfigMapVolumeSource{LocalObjectReference: v1.LocalObjectReference{Name: "cfg"}}}},
			{Name: "e", VolumeSource: v1.VolumeSource{EmptyDir: &v1.EmptyDirVolumeSource{}}}}
		r.make("job", spec)
		r.until("job", "Failed ready=False app:Error(3)")
		if m := r.pod("job").Status.ContainerStatuses[0].State.Terminated.Message; m != "bye\n" {
			t.Errorf("termination message %q", m)
		}
		log := r.get("/containerLogs/default/job/app")
		for _, want := range []string{"hello job\n", "hi\n", "# Kubernetes-managed hosts file.", "nameserver 10.96.0.10"} {
			if !strings.Contains(log, want) {
				t.Errorf("no %q in the log:\n%s", want, log)
			}
		}
		r.delete("job")
		r.until("job", "gone")
	})
	t.Run("hostNetwork", func(t *testing.T) {
		spec := boxed(v1.Container{
			Command:        []string{"httpd", "-f", "-p", "127.0.0.1:18437", "-h", "/www"},
			ReadinessProbe: &v1.Probe{ProbeHandler: v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromInt32(18437)}}, PeriodSeconds: 1, FailureThreshold: 3},
			LivenessProbe:  &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"cat", "/www/index.html"}}}, PeriodSeconds: 1, FailureThreshold: 3},
		})
		spec.HostNetwork = true
		began := time.Now()
		r.make("web", spec)
		r.until("web", "Running ready=True app:running")
		t.Logf("ready after %v, %d status writes", time.Since(began), len(r.api.patches))
		before := r.pod("web").Status.ContainerStatuses[0].ContainerID
		r.stop()
		r.begin()
		r.until("web", "Running ready=True app:running")
		if now := r.pod("web").Status.ContainerStatuses[0].ContainerID; now != before {
			t.Errorf("restarted: %s, was %s", now, before)
		}
		r.delete("web", client.GracePeriodSeconds(1))
		r.until("web", "gone")
	})
	t.Run("many", func(t *testing.T) {
		began := time.Now()
		for i := range 20 {
			spec := boxed(v1.Container{Command: []string{"sleep", "1000"}})
			g := int64(1)
			spec.TerminationGracePeriodSeconds = &g
			r.make(fmt.Sprintf("p%d", i), spec)
		}
		for i := range 20 {
			r.until(fmt.Sprintf("p%d", i), "Running ready=True app:running")
		}
		t.Logf("20 pods ready after %v", time.Since(began))
		for i := range 20 {
			r.delete(fmt.Sprintf("p%d", i))
		}
		for i := range 20 {
			r.until(fmt.Sprintf("p%d", i), "gone")
		}
		t.Logf("and gone after %v", time.Since(began))
	})
}
