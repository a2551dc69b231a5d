package core

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/kinds"
)

// parse makes an object of a kind from YAML.
func parse(t *testing.T, kind, text string) kinds.Object {
	t.Helper()
	obj := kindOf(kind).New()
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return obj
}

// made is parse with defaults, as the rules of creation leave it.
func made(t *testing.T, kind, text string) kinds.Object {
	t.Helper()
	obj, k := parse(t, kind, text), kindOf(kind)
	if k.Default != nil {
		k.Default(obj)
	}
	if k.PrepareCreate != nil {
		k.PrepareCreate(obj)
	}
	return obj
}

// TestDefaults holds what each kind fills in: in is given, out is wanted.
func TestDefaults(t *testing.T) {
	for _, c := range []struct{ name, kind, in, out string }{
		{"namespace", "Namespace", `{metadata: {name: a}}`,
			`{metadata: {name: a, labels: {kubernetes.io/metadata.name: a}}, spec: {finalizers: [kubernetes]}, status: {phase: Active}}`},
		{"secret takes stringData over data", "Secret", `{data: {a: eA==, b: eQ==}, stringData: {a: z}}`,
			`{metadata: {}, type: Opaque, data: {a: eg==, b: eQ==}}`},
		{"endpoints", "Endpoints", `{subsets: [{ports: [{port: 1}]}]}`, `{metadata: {}, subsets: [{ports: [{port: 1, protocol: TCP}]}]}`},
		{"node", "Node", `{spec: {podCIDR: 10.0.0.0/24}, status: {capacity: {cpu: "2"}}}`,
			`{metadata: {}, spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.0.0/24]}, status: {capacity: {cpu: "2"}, allocatable: {cpu: "2"},
			  daemonEndpoints: {kubeletEndpoint: {Port: 0}}, nodeInfo: {machineID: "", systemUUID: "", bootID: "", kernelVersion: "", osImage: "",
			  containerRuntimeVersion: "", kubeletVersion: "", kubeProxyVersion: "", operatingSystem: "", architecture: ""}}}`},
		{"service account", "ServiceAccount", `{secrets: [{name: s, namespace: other}]}`, `{metadata: {}, secrets: [{name: s}]}`},
		{"limit range", "LimitRange", `{metadata: {name: l}, spec: {limits: [{type: Container, max: {cpu: "2"}, min: {memory: 1Mi}}]}}`,
			`{metadata: {name: l}, spec: {limits: [{type: Container, max: {cpu: "2"}, min: {memory: 1Mi}, default: {cpu: "2"}, defaultRequest: {cpu: "2", memory: 1Mi}}]}}`},
		{"quota rounds", "ResourceQuota", `{spec: {hard: {cpu: 100u}}, status: {used: {cpu: 1}}}`, `{metadata: {}, spec: {hard: {cpu: 1m}}, status: {}}`},
		{"claim", "PersistentVolumeClaim", `{spec: {dataSource: {kind: PersistentVolumeClaim, name: o}}}`,
			`{metadata: {}, spec: {resources: {}, volumeMode: Filesystem, dataSource: {apiGroup: null, kind: PersistentVolumeClaim, name: o}, dataSourceRef: {apiGroup: null, kind: PersistentVolumeClaim, name: o}}, status: {phase: Pending}}`},
		{"claim drops an unknown source", "PersistentVolumeClaim", `{spec: {dataSource: {kind: Thing, name: o}}}`,
			`{metadata: {}, spec: {resources: {}, volumeMode: Filesystem}, status: {phase: Pending}}`},
		{"replication controller", "ReplicationController", `{spec: {template: {metadata: {labels: {a: b}}, spec: {containers: []}}}}`,
			`{metadata: {labels: {a: b}}, spec: {replicas: 1, selector: {a: b}, template: {metadata: {labels: {a: b}}, spec: {containers: [],
			  dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}}}, status: {replicas: 0}}`},
		{"service", "Service", `{spec: {ports: [{port: 80}]}}`,
			`{metadata: {}, spec: {type: ClusterIP, sessionAffinity: None, internalTrafficPolicy: Cluster, ports: [{port: 80, protocol: TCP, targetPort: 80}]}, status: {loadBalancer: {}}}`},
		{"load balancer with affinity", "Service", `{spec: {type: LoadBalancer, sessionAffinity: ClientIP, ports: [{port: 80, targetPort: web}]}}`,
			`{metadata: {}, spec: {type: LoadBalancer, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}, allocateLoadBalancerNodePorts: true,
			  externalTrafficPolicy: Cluster, internalTrafficPolicy: Cluster, ports: [{port: 80, protocol: TCP, targetPort: web}]}, status: {loadBalancer: {}}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want any
			if err := yaml.Unmarshal([]byte(c.out), &want); err != nil {
				t.Fatal(err)
			}
			got := tree(made(t, c.kind, c.in))
			if diff := difference(dropNulls(want), dropNulls(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func dropNulls(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if value == nil {
				delete(v, key)
			} else {
				v[key] = dropNulls(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = dropNulls(v[i])
		}
	}
	return v
}

func TestPodDefaults(t *testing.T) {
	p := tree(made(t, "Pod", `
metadata: {name: p, annotations: {pod.beta.kubernetes.io/init-containers: "[]", keep: "yes"}}
spec:
  hostNetwork: true
  serviceAccount: robot
  terminationGracePeriodSeconds: -5
  containers:
  - name: a
    image: registry:5000/app
    ports: [{containerPort: 80}]
    resources: {limits: {cpu: "1", memory: 1Gi}}
    env: [{name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    livenessProbe: {httpGet: {port: 80}}
    readinessProbe: {grpc: {port: 81}}
    lifecycle: {preStop: {httpGet: {port: 80}}}
  volumes:
  - name: e
  - {name: h, hostPath: {path: /x}}
  - {name: s, secret: {secretName: s}}
  - {name: p, projected: {sources: [{serviceAccountToken: {path: t}}, {downwardAPI: {items: [{path: nm, fieldRef: {fieldPath: metadata.name}}]}}]}}
`))
	var want any
	if err := yaml.Unmarshal([]byte(`
metadata: {name: p, annotations: {keep: "yes"}}
spec:
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  hostNetwork: true
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  serviceAccount: robot
  serviceAccountName: robot
  terminationGracePeriodSeconds: 1
  containers:
  - name: a
    image: registry:5000/app
    imagePullPolicy: Always
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    ports: [{containerPort: 80, hostPort: 80, protocol: TCP}]
    resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: "1", memory: 1Gi}}
    env: [{name: NAME, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}]
    livenessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
    readinessProbe: {grpc: {port: 81, service: ""}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
    lifecycle: {preStop: {httpGet: {port: 80, path: /, scheme: HTTP}}}
  volumes:
  - {name: e, emptyDir: {}}
  - {name: h, hostPath: {path: /x, type: ""}}
  - {name: s, secret: {secretName: s, defaultMode: 420}}
  - {name: p, projected: {defaultMode: 420, sources: [{serviceAccountToken: {path: t, expirationSeconds: 3600}}, {downwardAPI: {items: [{path: nm, fieldRef: {apiVersion: v1, fieldPath: metadata.name}}]}}]}}
status: {phase: Pending, qosClass: Guaranteed}
`), &want); err != nil {
		t.Fatal(err)
	}
	if diff := difference(want, p); diff != "" {
		t.Error(diff)
	}
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]string{
		"nginx": "Always", "nginx:latest": "Always", "nginx:1.27": "IfNotPresent", "a.b/c/d": "Always", "localhost:5000/x": "Always",
		"localhost:5000/x:1": "IfNotPresent", "a@sha256:" + strings.Repeat("0", 64): "IfNotPresent", "": "IfNotPresent", "Nginx": "IfNotPresent",
		"a__b": "Always", "a--b": "Always", "a..b": "IfNotPresent", "-a": "IfNotPresent", strings.Repeat("a", 64): "IfNotPresent", "Nginx:latest": "IfNotPresent",
	} {
		if got := string(pullPolicy(image)); got != want {
			t.Errorf("pullPolicy(%q) = %s, want %s", image, got, want)
		}
	}
}

// judged compares errors as they are written, whatever their order.
func judged(t *testing.T, got []string, want string) {
	t.Helper()
	list := strings.Split(strings.TrimSpace(want), "\n")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	if want == "" {
		list = nil
	}
	slices.Sort(list)
	slices.Sort(got)
	if !slices.Equal(got, list) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(list, "\n"))
	}
}

func firstLine(text string) string { line, _, _ := strings.Cut(text, "\n"); return line }

const onePod = "spec: {containers: [{name: c, image: i}]}"

// TestInvalid holds the messages of objects that may not be created.
func TestInvalid(t *testing.T) {
	for _, c := range []struct{ kind, in, want string }{
		{"ConfigMap", `{data: {"a/b": x}, binaryData: {"..": eA==}}`, `
			data[a/b]: Invalid value: "a/b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
			binaryData[..]: Invalid value: "..": must not be '..'`},
		{"Secret", `{type: kubernetes.io/basic-auth}`, "data[username]: Required value\ndata[password]: Required value"},
		{"Secret", `{type: kubernetes.io/dockerconfigjson, data: {.dockerconfigjson: eA==}}`,
			`data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character 'x' looking for beginning of value`},
		{"Namespace", `{spec: {finalizers: [mine]}}`, `spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`},
		{"ServiceAccount", `{metadata: {finalizers: [mine]}}`, `metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`},
		{"Node", `{spec: {taints: [{key: a}]}}`, `metadata.taints[0].effect: Required value`},
		{"Endpoints", `{subsets: [{ports: [{port: 1, name: a}, {port: 2}]}]}`, `
			subsets[0]: Required value: must specify ` + "`addresses` or `notReadyAddresses`" + `
			subsets[0].ports[1].name: Required value`},
		{"Event", `{metadata: {namespace: a}, involvedObject: {namespace: b}}`, `involvedObject.namespace: Invalid value: "b": does not match event.namespace`},
		{"Binding", `{target: {kind: Pod}}`, "target.kind: Unsupported value: \"Pod\": supported values: \"Node\", \"<empty>\"\ntarget.name: Required value"},
		{"ReplicationController", `{spec: {replicas: -1}}`, `
			spec.selector: Required value
			spec.replicas: Invalid value: -1: must be greater than or equal to 0
			spec.template: Required value`},
		{"PodTemplate", `{template: {metadata: {labels: {a: b}}}}`, `template.spec.containers: Required value`},
		{"LimitRange", `{metadata: {name: l}, spec: {limits: [{type: Pod, default: {cpu: "1"}}]}}`, "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"},
		{"ResourceQuota", `{spec: {hard: {pods: 500m}, scopes: [Terminating, NotTerminating]}}`, `
			spec.hard[pods]: Invalid value: "500m": must be an integer
			spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes`},
		{"PersistentVolume", `{spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], local: {path: /x}}}`, `spec.nodeAffinity: Required value: Local volume requires node affinity`},
		{"PersistentVolumeClaim", `{spec: {accessModes: [Some]}}`, `
			spec.accessModes: Unsupported value: "Some": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"
			spec.resources[storage]: Required value`},
		{"Service", `{spec: {type: ExternalName}}`, `spec.externalName: Required value`},
		{"Service", `{spec: {ports: [{port: 0, nodePort: 30000}]}}`, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive\n" +
			"spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive\n" +
			"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"},
		{"Pod", onePod, ""},
		{"Pod", `{spec: {containers: [{name: A_, image: ""}]}}`, `
			spec.containers[0].name: Invalid value: "A_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
			spec.containers[0].image: Required value`},
		{"Pod", `{spec: {containers: [{name: c, image: i, resources: {requests: {example.com/gpu: "1"}}}]}}`, `spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources`},
		{"Pod", `{spec: {hostUsers: false, hostPID: true, containers: [{name: c, image: i}]}}`, "spec.HostPID: Forbidden: when `hostUsers` is false"},
		{"Pod", `{spec: {initContainers: [{name: i, image: i, livenessProbe: {exec: {command: [x]}}}], containers: [{name: c, image: i}]}}`,
			`spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always`},
		{"Pod", `{spec: {dnsPolicy: None, containers: [{name: c, image: i, lifecycle: {preStop: {sleep: {seconds: 31}}}}]}}`,
			"spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)\n" +
				"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"},
		{"Pod", `{spec: {nodeName: n, schedulingGates: [{name: a}], containers: [{name: c, image: i}]}}`, `spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared`},
		{"Pod", `{spec: {os: {name: windows}, securityContext: {runAsUser: 1}, containers: [{name: c, image: i}]}}`, `spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod`},
		{"Pod", `{spec: {hostIPC: true, securityContext: {sysctls: [{name: kernel.sem, value: "1"}, {name: kernel/msgmax, value: "1"}]}, containers: [{name: c, image: i}]}}`, `
			spec.securityContext.sysctls[0].name: Invalid value: "kernel.sem": may not be specified when 'hostIPC' is true
			spec.securityContext.sysctls[1].name: Invalid value: "kernel/msgmax": may not be specified when 'hostIPC' is true`},
	} {
		t.Run(c.kind+" "+firstLine(c.want), func(t *testing.T) {
			var got []string
			for _, err := range kindOf(c.kind).Validate(made(t, c.kind, c.in)) {
				got = append(got, firstLine(err.Error()))
			}
			judged(t, got, c.want)
		})
	}
}

// TestInvalidUpdates holds the messages of changes that may not be made. Sub is a
// subresource.
func TestInvalidUpdates(t *testing.T) {
	const onlyThose = "spec: Forbidden: pod updates may not change fields other than " + mutablePodFields
	for _, c := range []struct{ kind, sub, old, new, want string }{
		{"ConfigMap", "", `{immutable: true, data: {a: b}}`, `{data: {a: c}}`, "immutable: Forbidden: field is immutable when `immutable` is set\ndata: Forbidden: field is immutable when `immutable` is set"},
		{"Secret", "", `{type: a}`, `{type: b}`, `type: Invalid value: "b": field is immutable`},
		{"Namespace", "status", `{metadata: {name: a}}`, `{metadata: {name: a}, status: {phase: Terminating}}`, "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"},
		{"Namespace", "finalize", `{metadata: {name: a}}`, `{metadata: {name: a}, spec: {finalizers: [x]}}`, `spec.finalizers[0]: Invalid value: "x": name is neither a standard finalizer name nor is it fully qualified`},
		{"Node", "", `{spec: {podCIDR: 10.0.0.0/24, providerID: a}}`, `{spec: {podCIDR: 10.0.1.0/24, providerID: b}}`, `
			spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid
			spec.providerID: Forbidden: node updates may not change providerID except from "" to valid`},
		{"ResourceQuota", "", `{spec: {scopes: [BestEffort]}}`, `{spec: {}}`, `spec.scopes: Invalid value: null: field is immutable`},
		{"ReplicationController", "status", `{}`, `{status: {replicas: 1, readyReplicas: 2}}`, `status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas`},
		{"PersistentVolume", "", `{spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /a}}}`,
			`{spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /b}}}`, `spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation`},
		{"PersistentVolumeClaim", "", `{spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`,
			`{spec: {accessModes: [ReadOnlyMany], resources: {requests: {storage: 1Gi}}}}`,
			`spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims`},
		{"Service", "", `{spec: {clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{port: 80}]}}`, `{spec: {clusterIP: 10.0.0.2, clusterIPs: [10.0.0.2], ports: [{port: 80}]}}`,
			`spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set`},
		{"Service", "status", `{spec: {ports: [{port: 80}]}}`, `{status: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}}`, "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"},
		{"Pod", "", onePod, `{spec: {containers: [{name: c, image: other}]}}`, ""},
		{"Pod", "", onePod, `{spec: {nodeName: n, containers: [{name: c, image: i}]}}`, onlyThose},
		{"Pod", "", onePod, `{spec: {containers: [{name: c, image: i}, {name: d, image: i}]}}`, `spec.containers: Forbidden: pod updates may not add or remove containers`},
		{"Pod", "", onePod, `{spec: {schedulingGates: [{name: g}], containers: [{name: c, image: i}]}}`, `spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'`},
		{"Pod", "", `{spec: {schedulingGates: [{name: g}], nodeSelector: {a: b}, containers: [{name: c, image: i}]}}`, `{spec: {nodeSelector: {a: c}, containers: [{name: c, image: i}]}}`,
			`spec.nodeSelector: Invalid value: {"a":"c"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)`},
		{"Pod", "", `{spec: {tolerations: [{key: a, operator: Exists}], containers: [{name: c, image: i}]}}`, onePod,
			"spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"},
		{"Pod", "ephemeralcontainers", onePod, `{spec: {containers: [], ephemeralContainers: [{name: c, image: i, ports: [{containerPort: 1}]}]}}`, `
			spec.ephemeralContainers[0].name: Duplicate value: "c"
			spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container`},
		{"Pod", "resize", `{spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}]}}`, onePod, `
			spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing
			spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed`},
		{"Pod", "status", onePod, `{spec: {containers: []}, status: {phase: Running, qosClass: Guaranteed}}`, `status.qosClass: Invalid value: "Guaranteed": field is immutable`},
	} {
		t.Run(c.kind+" "+c.sub+" "+firstLine(c.want), func(t *testing.T) {
			k := kindOf(c.kind)
			old, obj := made(t, c.kind, c.old), parse(t, c.kind, c.new)
			for _, o := range []kinds.Object{old, obj} {
				o.SetName("x")
				o.SetResourceVersion("1")
				if k.Namespaced {
					o.SetNamespace("default")
				}
			}
			if k.Default != nil {
				k.Default(old)
				k.Default(obj)
			}
			prepare, validate := k.PrepareUpdate, k.ValidateUpdate
			if c.sub != "" {
				prepare, validate = k.Subresources[c.sub].PrepareUpdate, k.Subresources[c.sub].ValidateUpdate
			}
			before, _ := json.Marshal(old)
			if prepare != nil {
				prepare(obj, old)
			}
			var got []string
			for _, err := range validate(obj, old) {
				got = append(got, firstLine(err.Error()))
			}
			slices.Sort(got)
			judged(t, slices.Compact(got), c.want)
			if after, _ := json.Marshal(old); string(before) != string(after) {
				t.Errorf("the old object was changed:\n%s\n%s", before, after)
			}
		})
	}
}
