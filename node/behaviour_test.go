package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
)

func TestInitContainersAndSidecars(t *testing.T) {
	bubble(t, func(r *rig) {
		always := v1.ContainerRestartPolicyAlways
		r.make("web", v1.PodSpec{
			InitContainers: []v1.Container{{Name: "first"}, {Name: "side", RestartPolicy: &always}, {Name: "second"}},
			Containers:     []v1.Container{{Name: "app"}},
		})
		r.wait(time.Second)
		r.expect("web", "Pending ready=False first:running side:PodInitializing second:PodInitializing app:PodInitializing")
		r.engine.Exit(r.id("first"), 1)
		r.wait(time.Second)
		r.expect("web", "Pending ready=False first:runningx1 side:PodInitializing second:PodInitializing app:PodInitializing")
		r.engine.Exit(r.id("first"), 0)
		r.wait(time.Second)
		r.expect("web", "Pending ready=False first:Completed(0)x1 side:running second:running app:PodInitializing")
		r.engine.Exit(r.id("second"), 0)
		r.wait(time.Second)
		r.expect("web", "Running ready=True first:Completed(0)x1 side:running second:Completed(0) app:running")
		r.engine.Exit(r.id("side"), 0)
		r.wait(time.Second)
		r.expect("web", "Running ready=True first:Completed(0)x1 side:runningx1 second:Completed(0) app:running")
		r.delete("web")
		r.wait(time.Second)
		r.expect("web", "gone")
		var stops []string
		for _, c := range r.engine.Calls() {
			if strings.HasPrefix(c, "stop ") {
				stops = append(stops, strings.Split(c, "_")[1])
			}
		}
		if fmt.Sprint(stops) != "[app side]" {
			t.Errorf("stopped in the order %v", stops)
		}
	})
}

func TestRestartPolicies(t *testing.T) {
	bubble(t, func(r *rig) {
		for _, c := range []struct {
			policy v1.RestartPolicy
			code   int
			want   string
		}{
			{v1.RestartPolicyNever, 0, "Succeeded ready=False app:Completed(0)"},
			{v1.RestartPolicyNever, 3, "Failed ready=False app:Error(3)"},
			{v1.RestartPolicyOnFailure, 0, "Succeeded ready=False app:Completed(0)"},
			{v1.RestartPolicyOnFailure, 3, "Running ready=True app:runningx1"},
			{v1.RestartPolicyAlways, 0, "Running ready=True app:runningx1"},
		} {
			name := strings.ToLower(fmt.Sprintf("p-%s-%d", c.policy, c.code))
			spec := one(v1.Container{Name: "app"})
			spec.RestartPolicy = c.policy
			r.make(name, spec)
			r.wait(time.Millisecond)
			ids, _ := r.engine.List(t.Context(), map[string]string{"io.kubernetes.pod.name": name})
			r.engine.Exit(ids[0].Spec.ID, c.code)
			r.wait(time.Second)
			r.expect(name, c.want)
			r.delete(name)
			r.wait(time.Second)
			r.expect(name, "gone")
		}
	})
}

func TestImageBackOff(t *testing.T) {
	bubble(t, func(r *rig) {
		r.make("web", one(v1.Container{Image: "nothing:1"}))
		r.wait(time.Second)
		r.expect("web", "Pending ready=False app:ErrImagePull")
		r.wait(3 * time.Second)
		r.expect("web", "Pending ready=False app:ImagePullBackOff")
		r.hasEvent("web", `Pulling: Pulling image "nothing:1"`)
		r.hasEvent("web", "Failed: Error: ErrImagePull")
		r.hasEvent("web", `BackOff: Back-off pulling image "nothing:1"`)
		r.hasEvent("web", "Failed: Error: ImagePullBackOff")
		r.engine.AddRemote("nothing:1", enginetest.ImageConfig("/app"))
		r.wait(10 * time.Second)
		r.expect("web", "Running ready=True app:running")
	})
}

func TestImageNames(t *testing.T) {
	bubble(t, func(r *rig) {
		r.make("never", one(v1.Container{Image: "nothing", ImagePullPolicy: v1.PullNever}))
		r.make("bad", one(v1.Container{Image: "UPPER//case"}))
		r.wait(time.Second)
		r.expect("never", "Pending ready=False app:ErrImageNeverPull")
		r.expect("bad", "Pending ready=False app:InvalidImageName")
		r.hasEvent("never", `ErrImageNeverPull: Container image "nothing" is not present with pull policy of Never`)
	})
}

// TestPullPolicies: what each policy does with an image that was loaded, pulled or
// is not there, and a registry that answers or does not.
func TestPullPolicies(t *testing.T) {
	unreachable := func(reason engine.PullReason) func(context.Context, string, engine.PullOptions) error {
		return func(_ context.Context, ref string, _ engine.PullOptions) error {
			return &engine.PullError{Ref: ref, Reason: reason, Err: errors.New("no way there")}
		}
	}
	const present = `Pulled: Container image "app" already present on machine and can be accessed by the pod`
	const stale = `RegistryUnavailable: Container image "app" is used as it was loaded on this machine, because its registry cannot be reached: no way there`
	for name, c := range map[string]struct {
		have   string // loaded, pulled or nothing
		policy v1.PullPolicy
		fail   engine.PullReason
		want   string
		pulls  int
		event  string
	}{
		"always, loaded, no way to the registry": {"loaded", v1.PullAlways, engine.PullUnreachable, "running", 1, stale},
		"always, loaded, not in the registry":    {"loaded", v1.PullAlways, engine.PullNotFound, "ErrImagePull", 1, "Failed: Error: ErrImagePull"},
		"always, loaded, not allowed":            {"loaded", v1.PullAlways, engine.PullUnauthorized, "ErrImagePull", 1, "Failed: Error: ErrImagePull"},
		"always, loaded, registry answers":       {"loaded", v1.PullAlways, "", "running", 1, ""},
		"always, pulled, no way to the registry": {"pulled", v1.PullAlways, engine.PullUnreachable, "ErrImagePull", 1, "Failed: Error: ErrImagePull"},
		"always, nothing":                        {"", v1.PullAlways, engine.PullUnreachable, "ErrImagePull", 1, "Failed: Error: ErrImagePull"},
		"if not present, loaded":                 {"loaded", v1.PullIfNotPresent, engine.PullUnreachable, "running", 0, present},
		"if not present, pulled":                 {"pulled", v1.PullIfNotPresent, engine.PullUnreachable, "running", 0, present},
		"if not present, nothing":                {"", v1.PullIfNotPresent, "", "running", 1, ""},
		"never, loaded":                          {"loaded", v1.PullNever, "", "running", 0, present},
		"never, nothing": {"", v1.PullNever, "", "ErrImageNeverPull", 0,
			`ErrImageNeverPull: Container image "app" is not present with pull policy of Never`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(r *rig) {
				r.engine.AddRemote("app", enginetest.ImageConfig("/app"))
				switch c.have {
				case "loaded":
					r.engine.AddImage("app", enginetest.ImageConfig("/app"))
				case "pulled":
					if _, err := r.engine.Images().Pull(t.Context(), "app", engine.PullOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				before := r.engine.Pulls()
				if c.fail != "" {
					r.engine.Script(func() { r.engine.OnPull = unreachable(c.fail) })
				}
				r.make("web", one(v1.Container{Image: "app", ImagePullPolicy: c.policy}))
				r.wait(time.Second)
				s := r.pod("web").Status.ContainerStatuses[0].State
				if got := stateText(s); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				if got := r.engine.Pulls() - before; got != c.pulls {
					t.Errorf("%d pulls, want %d", got, c.pulls)
				}
				if c.event != "" {
					r.hasEvent("web", c.event)
				}
			})
		})
	}
}

func TestConfigErrorsHealWhenTheObjectComes(t *testing.T) {
	bubble(t, func(r *rig) {
		r.make("web", one(v1.Container{Env: []v1.EnvVar{{Name: "A", ValueFrom: &v1.EnvVarSource{
			ConfigMapKeyRef: &v1.ConfigMapKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "cfg"}, Key: "k"}}}}}))
		r.wait(time.Second)
		r.expect("web", "Pending ready=False app:CreateContainerConfigError")
		if m := r.pod("web").Status.ContainerStatuses[0].State.Waiting.Message; m != `configmaps "cfg" not found` {
			t.Errorf("message %q", m) // the API's own words, which name the resource
		}
		cm := &v1.ConfigMap{Data: map[string]string{"k": "v"}}
		cm.Name, cm.Namespace = "cfg", "default"
		if err := r.api.Create(t.Context(), cm); err != nil {
			t.Fatal(err)
		}
		r.wait(time.Millisecond)
		r.expect("web", "Running ready=True app:running")
		c, _ := r.engine.Get(t.Context(), r.id("app"))
		if !strings.Contains(strings.Join(c.Spec.Env, " "), "A=v") {
			t.Errorf("environment %v", c.Spec.Env)
		}
	})
}

func TestStartErrorCrashLoops(t *testing.T) {
	bubble(t, func(r *rig) {
		r.engine.Script(func() {
			r.engine.OnStart = func(engine.ContainerSpec) (enginetest.Program, error) {
				return nil, &engine.StartError{ExitCode: 127, Message: "exec: \"nope\": not found"}
			}
		})
		r.make("web", one(v1.Container{}))
		r.wait(time.Second)
		r.expect("web", "Running ready=False app:RunContainerErrorx1")
		r.wait(3 * time.Second)
		r.expect("web", "Running ready=False app:CrashLoopBackOffx1")
		l := r.pod("web").Status.ContainerStatuses[0].LastTerminationState.Terminated
		if l == nil || l.Reason != "StartError" || l.ExitCode != 128 {
			t.Errorf("last state %+v", l)
		}
	})
}

func TestReadinessAndLiveness(t *testing.T) {
	bubble(t, func(r *rig) {
		var ready, alive atomic.Bool
		alive.Store(true)
		r.engine.Script(func() {
			r.engine.OnExec = func(_ context.Context, _ engine.ContainerSpec, s engine.ExecSpec, io2 engine.Streams) (int, error) {
				ok := s.Args[0] == "ready" && ready.Load() || s.Args[0] == "alive" && alive.Load()
				if ok {
					return 0, nil
				}
				io.WriteString(io2.Stdout, "no")
				return 1, nil
			}
		})
		probe := func(cmd string, period int32) *v1.Probe {
			return &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{cmd}}}, PeriodSeconds: period, TimeoutSeconds: 1, FailureThreshold: 3, SuccessThreshold: 1}
		}
		r.make("web", one(v1.Container{ReadinessProbe: probe("ready", 1), LivenessProbe: probe("alive", 5)}))
		r.wait(3 * time.Second)
		r.expect("web", "Running ready=False app:running")
		r.hasEvent("web", "Unhealthy: Readiness probe failed: no")
		ready.Store(true)
		r.wait(1100 * time.Millisecond)
		r.expect("web", "Running ready=True app:running")
		alive.Store(false)
		r.wait(20 * time.Second)
		r.hasEvent("web", "Unhealthy: Liveness probe failed: no")
		r.hasEvent("web", "Killing: Container app failed liveness probe, will be restarted")
		r.expect("web", "Running ready=True app:runningx1")
	})
}

func TestStartupProbeGates(t *testing.T) {
	bubble(t, func(r *rig) {
		var up atomic.Bool
		r.engine.Script(func() {
			r.engine.OnExec = func(_ context.Context, _ engine.ContainerSpec, s engine.ExecSpec, _ engine.Streams) (int, error) {
				if s.Args[0] == "up" && !up.Load() {
					return 1, nil
				}
				return 0, nil
			}
		})
		exec := func(cmd string) v1.ProbeHandler {
			return v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{cmd}}}
		}
		r.make("web", one(v1.Container{
			StartupProbe:   &v1.Probe{ProbeHandler: exec("up"), PeriodSeconds: 2, FailureThreshold: 5},
			ReadinessProbe: &v1.Probe{ProbeHandler: exec("ready"), PeriodSeconds: 10, FailureThreshold: 3},
		}))
		r.wait(5 * time.Second)
		r.expect("web", "Running ready=False app:running")
		if s := r.pod("web").Status.ContainerStatuses[0].Started; s == nil || *s {
			t.Error("started before the startup probe said so")
		}
		up.Store(true)
		r.wait(2 * time.Second)
		r.expect("web", "Running ready=True app:running")
	})
}

func TestReadinessIsSeenFast(t *testing.T) {
	bubble(t, func(r *rig) {
		began := time.Now()
		r.engine.Script(func() {
			r.engine.OnExec = func(context.Context, engine.ContainerSpec, engine.ExecSpec, engine.Streams) (int, error) {
				if time.Since(began) < 30*time.Millisecond {
					return 1, nil
				}
				return 0, nil
			}
		})
		r.make("web", one(v1.Container{ReadinessProbe: &v1.Probe{ProbeHandler: v1.ProbeHandler{Exec: &v1.ExecAction{Command: []string{"x"}}}, PeriodSeconds: 1, FailureThreshold: 3}}))
		r.wait(80 * time.Millisecond)
		r.expect("web", "Running ready=True app:running")
		for _, e := range r.events("web") {
			if strings.HasPrefix(e, "Unhealthy") {
				t.Errorf("event %s", e)
			}
		}
	})
}

func TestHooks(t *testing.T) {
	bubble(t, func(r *rig) {
		var ran []string
		r.engine.Script(func() {
			r.engine.OnExec = func(_ context.Context, _ engine.ContainerSpec, s engine.ExecSpec, _ engine.Streams) (int, error) {
				ran = append(ran, s.Args[0])
				time.Sleep(2 * time.Second)
				return 0, nil
			}
		})
		hook := func(cmd string) *v1.LifecycleHandler {
			return &v1.LifecycleHandler{Exec: &v1.ExecAction{Command: []string{cmd}}}
		}
		r.make("web", one(v1.Container{Lifecycle: &v1.Lifecycle{PostStart: hook("up"), PreStop: hook("down")}}))
		r.wait(time.Second)
		r.expect("web", "Running ready=False app:running")
		r.wait(2 * time.Second)
		r.expect("web", "Running ready=True app:running")
		r.delete("web")
		r.wait(time.Second)
		r.expect("web", "Running ready=True app:running")
		r.wait(2 * time.Second)
		r.expect("web", "gone")
		if fmt.Sprint(ran) != "[up down]" {
			t.Errorf("hooks %v", ran)
		}
	})
}

func TestActiveDeadline(t *testing.T) {
	bubble(t, func(r *rig) {
		spec := one(v1.Container{})
		d := int64(5)
		spec.ActiveDeadlineSeconds = &d
		r.make("web", spec)
		r.wait(4 * time.Second)
		r.expect("web", "Running ready=True app:running")
		r.wait(3 * time.Second)
		r.expect("web", "Failed(DeadlineExceeded) ready=False app:Error(143)")
	})
}

func TestAdmission(t *testing.T) {
	bubble(t, func(r *rig) {
		big := one(v1.Container{Resources: v1.ResourceRequirements{Requests: v1.ResourceList{"cpu": mustQuantity("3")}}})
		r.make("a", big)
		r.make("b", big)
		port := one(v1.Container{Ports: []v1.ContainerPort{{HostPort: 80, ContainerPort: 80}}})
		r.make("c", port)
		r.make("d", port)
		sel := one(v1.Container{})
		sel.NodeSelector = map[string]string{"disk": "ssd"}
		r.make("e", sel)
		r.wait(time.Second)
		r.expect("a", "Running ready=True app:running")
		r.expect("b", "Failed(OutOfcpu) ready=False")
		if m := r.pod("b").Status.Message; m != "Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 3000, capacity: 4000" {
			t.Errorf("message %q", m)
		}
		r.expect("c", "Running ready=True app:running")
		r.expect("d", "Failed(NodePorts) ready=False")
		r.expect("e", "Failed(NodeAffinity) ready=False")
		// A label that came after the node registered counts as well.
		var n v1.Node
		if err := r.api.Get(context.Background(), client.ObjectKey{Name: "n1"}, &n); err != nil {
			t.Fatal(err)
		}
		n.Labels["disk"] = "ssd"
		r.api.put(&n)
		r.make("f", sel)
		r.wait(time.Second)
		r.expect("f", "Running ready=True app:running")
	})
}

// TestEndedPodGivesItsPlaceUp: the scheduler counts on a pod's ports and resources
// as soon as its phase says that it has ended, whatever is left to take down.
func TestEndedPodGivesItsPlaceUp(t *testing.T) {
	bubble(t, func(r *rig) {
		port := one(v1.Container{Ports: []v1.ContainerPort{{HostPort: 80, ContainerPort: 80}}})
		port.RestartPolicy = v1.RestartPolicyNever
		r.make("a", port)
		r.wait(time.Second)
		r.net.mu.Lock()
		r.net.stuck = errors.New("busy")
		r.net.mu.Unlock()
		r.engine.Exit(r.id("app"), 0)
		r.wait(time.Second)
		r.expect("a", "Succeeded ready=False app:Completed(0)")
		r.make("b", port)
		r.wait(time.Second)
		r.expect("b", "Running ready=True app:running")
	})
}

func TestFailedMountAndSandbox(t *testing.T) {
	bubble(t, func(r *rig) {
		r.vols.fail = errors.New(`MountVolume.SetUp failed for volume "x" : configmap "y" not found`)
		r.make("web", one(v1.Container{}))
		r.wait(time.Second)
		r.expect("web", "Pending ready=False app:ContainerCreating")
		r.hasEvent("web", `FailedMount: MountVolume.SetUp failed for volume "x" : configmap "y" not found`)
		r.vols.mu.Lock()
		r.vols.fail = nil
		r.vols.mu.Unlock()
		r.net.mu.Lock()
		r.net.fail = errors.New("no addresses left")
		r.net.mu.Unlock()
		r.wait(5 * time.Second)
		r.hasEvent("web", "FailedCreatePodSandBox: Failed to create pod sandbox: set up the pod's network: no addresses left")
		r.net.mu.Lock()
		r.net.fail = nil
		r.net.mu.Unlock()
		r.wait(10 * time.Second)
		r.expect("web", "Running ready=True app:running")
	})
}

func TestRestartOfTheNodeAdopts(t *testing.T) {
	bubble(t, func(r *rig) {
		r.make("stays", one(v1.Container{}))
		r.make("deleted", one(v1.Container{}))
		r.make("vanishes", one(v1.Container{}))
		r.wait(time.Second)
		before := r.engine.Dump()
		status := r.pod("stays").Status
		r.stop()
		if r.engine.Dump() != before {
			t.Fatal("containers changed when the node stopped")
		}
		r.delete("deleted")
		p := r.pod("vanishes")
		r.api.mu.Lock()
		delete(r.api.objects, r.api.key(p))
		r.api.mu.Unlock()
		r.start()
		r.wait(5 * time.Second)
		r.expect("stays", "Running ready=True app:running")
		r.expect("deleted", "gone")
		now := r.pod("stays").Status
		if now.ContainerStatuses[0].ContainerID != status.ContainerStatuses[0].ContainerID || now.PodIP != status.PodIP {
			t.Errorf("adopted as %+v\nwas %+v", now.ContainerStatuses[0], status.ContainerStatuses[0])
		}
		if d := r.engine.Dump(); strings.Count(d, "container ") != 1 {
			t.Errorf("engine:\n%s", d)
		}
		r.engine.Exit(r.id("app"), 1)
		r.wait(time.Second)
		r.expect("stays", "Running ready=True app:runningx1")
	})
}

func TestLogsAPI(t *testing.T) {
	bubble(t, func(r *rig) {
		r.engine.Script(func() {
			r.engine.OnStart = func(engine.ContainerSpec) (enginetest.Program, error) {
				return func(ctx context.Context, p *enginetest.Process) int {
					io.WriteString(p.Stdout, "one\ntwo\n")
					select {
					case <-p.Signals:
					case <-ctx.Done():
					}
					return 0
				}, nil
			}
		})
		r.make("web", one(v1.Container{}))
		r.wait(time.Second)
		get := func(url string) (int, string) {
			rec := httptest.NewRecorder()
			r.node.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, url, nil).WithContext(t.Context()))
			return rec.Code, rec.Body.String()
		}
		for _, c := range []struct {
			url  string
			code int
			body string
		}{
			{"/containerLogs/default/web/app", 200, "one\ntwo\n"},
			{"/containerLogs/default/web/app?tailLines=1", 200, "two\n"},
			{"/containerLogs/default/web/app?limitBytes=2", 200, "on"},
			{"/containerLogs/default/web/app?previous=true", 400, "previous terminated container \"app\" in pod \"web\" not found\n"},
			{"/containerLogs/default/web/nope", 404, "container \"nope\" is not found in pod \"web_default\"\n"},
			{"/containerLogs/default/nope/app", 404, "pod \"nope\" does not exist\n"},
			{"/containerLogs/default/web/app?tailLines=x", 422, "tailLines: invalid value \"x\"\n"},
		} {
			code, body := get(c.url)
			if code != c.code || body != c.body {
				t.Errorf("%s: %d %q", c.url, code, body)
			}
		}
		r.delete("web")
		r.wait(time.Second)
	})
}

func TestHTTPProbe(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(503)
		}
	}))
	defer s.Close()
	host, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	for path, want := range map[string]probeResult{"/": probeSuccess, "/bad": probeFailure} {
		req, err := httpRequest(t.Context(), &v1.HTTPGetAction{Path: path, Port: intstr.Parse(port)}, &v1.Container{}, host, probeAgent)
		if err != nil {
			t.Fatal(err)
		}
		got, out, err := probeHTTP(req)
		if got != want || err != nil {
			t.Errorf("%s: %v %s %v", path, got, out, err)
		}
	}
}

func TestIdlePodsHaveNoGoroutines(t *testing.T) {
	bubble(t, func(r *rig) {
		for i := range 50 {
			r.make(fmt.Sprintf("p%d", i), one(v1.Container{}))
		}
		r.wait(5 * time.Second)
		for i := range 50 {
			r.expect(fmt.Sprintf("p%d", i), "Running ready=True app:running")
		}
		n := len(r.api.patches)
		r.wait(time.Minute)
		if len(r.api.patches) != n {
			t.Errorf("%d status writes of idle pods", len(r.api.patches)-n)
		}
		for _, w := range r.node.allWorkers() {
			if w.running || w.timer != nil {
				t.Errorf("worker of %s is not at rest", w.pod.Name)
			}
		}
	})
}

var _ = synctest.Wait
