package core

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPodStatusColumn holds what kubectl get pods shows as READY, STATUS and
// RESTARTS of what a node reports.
func TestPodStatusColumn(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	const ago = "2026-01-01T23:55:00Z"
	for _, c := range []struct{ name, in, want string }{
		{"pending", `{spec: {containers: [{name: a}]}, status: {phase: Pending}}`, "0/1 Pending 0"},
		{"gated", `{spec: {containers: [{name: a}]}, status: {phase: Pending, conditions: [{type: PodScheduled, status: "False", reason: SchedulingGated}]}}`, "0/1 SchedulingGated 0"},
		{"running", `{spec: {containers: [{name: a}, {name: b}]}, status: {phase: Running, containerStatuses: [{name: a, ready: true, state: {running: {}}}, {name: b, state: {running: {}}}]}}`, "1/2 Running 0"},
		{"creating", `{spec: {containers: [{name: a}]}, status: {phase: Pending, containerStatuses: [{name: a, state: {waiting: {reason: ContainerCreating}}}]}}`, "0/1 ContainerCreating 0"},
		{"crash loop", `{spec: {containers: [{name: a}]}, status: {phase: Running, containerStatuses: [{name: a, restartCount: 3, lastState: {terminated: {finishedAt: "` + ago + `"}}, state: {waiting: {reason: CrashLoopBackOff}}}]}}`, "0/1 CrashLoopBackOff 3 (5m ago)"},
		{"restarted", `{spec: {containers: [{name: a}]}, status: {phase: Running, containerStatuses: [{name: a, ready: true, restartCount: 1, lastState: {terminated: {finishedAt: "` + ago + `"}}, state: {running: {}}}]}}`, "1/1 Running 1 (5m ago)"},
		{"completed", `{spec: {containers: [{name: a}]}, status: {phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}]}}`, "0/1 Completed 0"},
		{"one of two completed", `{spec: {containers: [{name: a}, {name: b}]}, status: {phase: Running, conditions: [{type: Ready, status: "True"}], containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}}`, "1/2 Running 0"},
		{"one completed, not ready", `{spec: {containers: [{name: a}, {name: b}]}, status: {phase: Running, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}}`, "1/2 NotReady 0"},
		{"one completed, one failed", `{spec: {containers: [{name: a}, {name: b}]}, status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, state: {terminated: {reason: Error, exitCode: 1}}}]}}`, "0/2 Error 0"},
		{"exit code", `{spec: {containers: [{name: a}]}, status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 7}}}]}}`, "0/1 ExitCode:7 0"},
		{"signal", `{spec: {containers: [{name: a}]}, status: {phase: Failed, containerStatuses: [{name: a, state: {terminated: {signal: 9, exitCode: 137}}}]}}`, "0/1 Signal:9 0"},
		{"evicted", `{spec: {containers: [{name: a}]}, status: {phase: Failed, reason: Evicted}}`, "0/1 Evicted 0"},
		{"init", `{spec: {initContainers: [{name: i}, {name: j}], containers: [{name: a}]}, status: {phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 0}}}, {name: j, state: {running: {}}}]}}`, "0/1 Init:1/2 0"},
		{"init fails", `{spec: {initContainers: [{name: i}], containers: [{name: a}]}, status: {phase: Pending, initContainerStatuses: [{name: i, restartCount: 2, state: {waiting: {reason: CrashLoopBackOff}}}]}}`, "0/1 Init:CrashLoopBackOff 2"},
		{"init error", `{spec: {initContainers: [{name: i}], containers: [{name: a}]}, status: {phase: Failed, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 3}}}]}}`, "0/1 Init:ExitCode:3 0"},
		{"initializing", `{spec: {initContainers: [{name: i}], containers: [{name: a}]}, status: {phase: Pending, initContainerStatuses: [{name: i, state: {waiting: {reason: PodInitializing}}}]}}`, "0/1 Init:0/1 0"},
		{"sidecar", `{spec: {initContainers: [{name: i, restartPolicy: Always}], containers: [{name: a}]}, status: {phase: Running, initContainerStatuses: [{name: i, started: true, ready: true, restartCount: 1, state: {running: {}}}], containerStatuses: [{name: a, ready: true, state: {running: {}}}]}}`, "2/2 Running 1"},
		{"terminating", `{metadata: {deletionTimestamp: "` + ago + `"}, spec: {containers: [{name: a}]}, status: {phase: Running}}`, "0/1 Terminating 0"},
		{"deleted but done", `{metadata: {deletionTimestamp: "` + ago + `"}, spec: {containers: [{name: a}]}, status: {phase: Succeeded}}`, "0/1 Succeeded 0"},
		{"node lost", `{metadata: {deletionTimestamp: "` + ago + `"}, spec: {containers: [{name: a}]}, status: {phase: Running, reason: NodeLost}}`, "0/1 Unknown 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cells := kindOf("Pod").Cells(parse(t, "Pod", c.in), now)
			if got := fmt.Sprintf("%v %v %v", cells[1], cells[2], cells[3]); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestCells holds whole lines of kubectl get -o wide.
func TestCells(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	const born = `creationTimestamp: "2026-01-01T00:00:00Z"`
	for _, c := range []struct{ kind, in, want string }{
		{"Pod", `{metadata: {name: p, ` + born + `}, spec: {nodeName: nd, readinessGates: [{conditionType: a}, {conditionType: b}]}, status: {nominatedNodeName: m, podIPs: [{ip: 10.0.0.1}], conditions: [{type: a, status: "True"}]}}`, "p|0/0||0|24h|10.0.0.1|nd|m|1/2"},
		{"Pod", `{metadata: {name: p}}`, "p|0/0||0|<unknown>|<none>|<none>|<none>|<none>"},
		{"Node", `{metadata: {name: nd, ` + born + `, labels: {node-role.kubernetes.io/control-plane: "", kubernetes.io/role: worker}}, spec: {unschedulable: true}, status: {conditions: [{type: Ready, status: "True"}], addresses: [{type: InternalIP, address: 10.0.0.1}], nodeInfo: {kubeletVersion: v1.36.3, osImage: Debian, kernelVersion: "6.1", architecture: amd64}}}`,
			"nd|Ready,SchedulingDisabled|control-plane,worker|24h|v1.36.3|10.0.0.1|<none>|Debian|6.1 (amd64)|<unknown>"},
		{"Node", `{metadata: {name: nd}, status: {conditions: [{type: Ready, status: Unknown}]}}`, "nd|NotReady|<none>|<unknown>||<none>|<none>|<unknown>|<unknown>|<unknown>"},
		{"Service", `{metadata: {name: s, ` + born + `}, spec: {type: LoadBalancer, clusterIPs: [10.96.0.1], externalIPs: [9.9.9.9], selector: {a: b}, ports: [{port: 80, nodePort: 30000, protocol: TCP}, {port: 53, protocol: UDP}]}, status: {loadBalancer: {ingress: [{ip: 2.2.2.2}, {hostname: h}]}}}`,
			"s|LoadBalancer|10.96.0.1|2.2.2.2,h,9.9.9.9|80:30000/TCP,53/UDP|24h|a=b"},
		{"Service", `{metadata: {name: s}, spec: {type: LoadBalancer}}`, "s|LoadBalancer|<none>|<pending>|<none>|<unknown>|<none>"},
		{"Service", `{metadata: {name: s}, spec: {type: ExternalName, externalName: e.example.com}}`, "s|ExternalName|<none>|e.example.com|<none>|<unknown>|<none>"},
		{"Endpoints", `{metadata: {name: e}, subsets: [{addresses: [{ip: 10.0.0.1}, {ip: 10.0.0.2}], ports: [{port: 1}, {port: 2}]}, {addresses: [{ip: "::1"}]}]}`, "e|10.0.0.1:1,10.0.0.2:1,10.0.0.1:2 + 2 more...|<unknown>"},
		{"ConfigMap", `{metadata: {name: c}, data: {a: b}, binaryData: {c: ""}}`, "c|2|<unknown>"},
		{"Event", `{metadata: {name: e}, involvedObject: {kind: Pod, name: p, fieldPath: f}, lastTimestamp: "2026-01-01T23:59:00Z", type: Normal, reason: R, message: " m\n", count: 4, source: {component: kubelet, host: nd}}`,
			"60s|Normal|R|pod/p|f|kubelet, nd|m|<unknown>|4|e"},
		{"ResourceQuota", `{metadata: {name: q}, status: {hard: {pods: "2", limits.cpu: "1"}, used: {pods: "1"}}}`, "q|pods: 1/2|limits.cpu: 0/1|<unknown>"},
		{"PersistentVolume", `{metadata: {name: v}, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteMany, ReadWriteOnce], claimRef: {namespace: a, name: b}, storageClassName: c}, status: {phase: Bound}}`,
			"v|1Gi|RWO,RWX||Bound|a/b|c|<unset>||<unknown>|<unset>"},
		{"PersistentVolumeClaim", `{metadata: {name: c}, spec: {volumeName: v, volumeMode: Block}, status: {phase: Bound, capacity: {storage: 1Gi}, accessModes: [ReadWriteOncePod]}}`, "c|Bound|v|1Gi|RWOP||<unset>|<unknown>|Block"},
		{"ReplicationController", `{metadata: {name: r}, spec: {replicas: 2, selector: {a: b}, template: {spec: {containers: [{name: c, image: i}]}}}, status: {replicas: 2, readyReplicas: 1}}`, "r|2|2|1|<unknown>|c|i|a=b"},
	} {
		t.Run(c.kind, func(t *testing.T) {
			var got []string
			for _, cell := range kindOf(c.kind).Cells(parse(t, c.kind, c.in), now) {
				got = append(got, fmt.Sprint(cell))
			}
			if got := strings.Join(got, "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct{ kind, in, want string }{
		{"Pod", `{metadata: {name: p}, spec: {nodeSelector: {beta.kubernetes.io/os: linux}, containers: [{name: c, image: i, env: [{name: A, value: x}, {name: A, value: y}, {name: B, value: x}, {name: B, value: "$(B):y"}]}]}}`,
			`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
			 spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`},
		{"Pod", `{metadata: {name: a.b}, spec: {imagePullSecrets: [{name: s}, {name: s}], containers: [{name: c, image: i, ports: [{containerPort: 80, name: w}, {containerPort: 80, name: w}], resources: {requests: {memory: 1500m}}}]}}`,
			`metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
			 spec.imagePullSecrets[1].name: duplicate name "s"
			 spec.containers[0].resources.requests[memory]: fractional byte value "1500m" is invalid, must be an integer
			 spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]
			 spec.containers[0].ports[1]: duplicate port name "w" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]`},
		{"Pod", `{metadata: {name: p}, spec: {volumes: [{name: v, configMap: {name: m, items: [{key: a, path: x}, {key: b, path: x/y}]}}], containers: [{name: c, image: i}]}}`,
			`volume "v" (ConfigMap "m"): overlapping paths: "x/y" with "x"`},
		{"Pod", `{metadata: {name: p, annotations: {container.apparmor.security.beta.kubernetes.io/c: runtime/default}}, spec: {containers: [{name: c, image: i}]}}`,
			`metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the "appArmorProfile" field instead`},
		{"PodTemplate", `{template: {spec: {topologySpreadConstraints: [{topologyKey: failure-domain.beta.kubernetes.io/zone}], containers: []}}}`,
			`template.spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead
			 template.spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod`},
		{"Service", `{spec: {clusterIP: None, clusterIPs: [None], sessionAffinity: ClientIP, externalName: e}}`,
			`spec.SessionAffinity is ignored for headless services
			 spec.externalName is ignored when spec.type is not "ExternalName"`},
		{"ResourceQuota", `{spec: {hard: {requests.cpu: "2", limits.cpu: "1"}}}`, `ResourceQuota requests.cpu (2) should be less than limits.cpu (1)`},
		{"PersistentVolume", `{spec: {persistentVolumeReclaimPolicy: Recycle}}`,
			`spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.`},
		{"ServiceAccount", `{metadata: {annotations: {kubernetes.io/enforce-mountable-secrets: "true"}}}`,
			`metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets`},
	} {
		t.Run(c.kind, func(t *testing.T) {
			judged(t, kindOf(c.kind).Warnings(made(t, c.kind, c.in), nil), c.want)
		})
	}
}

func TestGrace(t *testing.T) {
	k := kindOf("Pod")
	asked := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		in    string
		asked *int64
		want  int64
	}{
		{`{spec: {terminationGracePeriodSeconds: 40}}`, nil, 0},
		{`{spec: {nodeName: nd, terminationGracePeriodSeconds: 40}}`, nil, 40},
		{`{spec: {nodeName: nd, terminationGracePeriodSeconds: 40}}`, asked(5), 5},
		{`{spec: {nodeName: nd, terminationGracePeriodSeconds: 40}}`, asked(0), 0},
		{`{spec: {nodeName: nd, terminationGracePeriodSeconds: -3}}`, nil, 1},
		{`{spec: {nodeName: nd, terminationGracePeriodSeconds: 40}, status: {phase: Failed}}`, nil, 0},
		{`{spec: {nodeName: nd}}`, nil, 0},
	} {
		if got := k.Grace(parse(t, "Pod", c.in), c.asked); got != c.want {
			t.Errorf("%s: %d, want %d", c.in, got, c.want)
		}
	}
}
