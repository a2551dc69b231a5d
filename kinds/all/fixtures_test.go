package all

import (
	"encoding/json"
	"strings"
	"testing"
)

// fixtures are manifests of the shapes that people have, old versions included, and
// what the hub makes of them: dotted paths and JSON values.
var fixtures = []struct {
	name, manifest string
	want           map[string]string
	errors         []string
}{
	{
		name: "an old deployment without a selector",
		manifest: `
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "shop/web:1"}]}
`,
		want: map[string]string{
			"spec.selector":                        `{"matchLabels":{"app":"web"}}`,
			"metadata.labels":                      `{"app":"web"}`,
			"spec.strategy":                        `{"rollingUpdate":{"maxSurge":1,"maxUnavailable":1},"type":"RollingUpdate"}`,
			"spec.progressDeadlineSeconds":         `2147483647`,
			"spec.revisionHistoryLimit":            `2147483647`,
			"spec.template.spec.restartPolicy":     `"Always"`,
			"spec.template.spec.containers.0.name": `"web"`,
		},
	},
	{
		name: "apps/v1beta1 keeps two revisions",
		manifest: `
apiVersion: apps/v1beta1
kind: Deployment
metadata: {name: web}
spec:
  rollbackTo: {revision: 3}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "shop/web:1"}]}
`,
		want: map[string]string{
			"spec.revisionHistoryLimit":    `2`,
			"spec.progressDeadlineSeconds": `600`,
			"spec.strategy":                `{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}`,
			"metadata.annotations":         `{"deprecated.deployment.rollback.to":"3"}`,
		},
	},
	{
		name: "apps/v1beta2 wants a selector",
		manifest: `
apiVersion: apps/v1beta2
kind: Deployment
metadata: {name: web}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "shop/web:1"}]}
`,
		errors: []string{"spec.selector: Required value", "spec.template.metadata.labels: Invalid value"},
	},
	{
		name: "an old daemon set is updated by hand",
		manifest: `
apiVersion: extensions/v1beta1
kind: DaemonSet
metadata: {name: agent}
spec:
  templateGeneration: 4
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: "shop/agent:1"}]}
`,
		want: map[string]string{
			"spec.updateStrategy":  `{"type":"OnDelete"}`,
			"metadata.annotations": `{"deprecated.daemonset.template.generation":"4"}`,
		},
	},
	{
		name: "an old stateful set too",
		manifest: `
apiVersion: apps/v1beta1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "shop/db:1"}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`,
		want: map[string]string{
			"spec.updateStrategy":                         `{"type":"OnDelete"}`,
			"spec.selector":                               `{"matchLabels":{"app":"db"}}`,
			"spec.volumeClaimTemplates.0.kind":            `"PersistentVolumeClaim"`,
			"spec.volumeClaimTemplates.0.spec.volumeMode": `"Filesystem"`,
		},
	},
	{
		name: "an old ingress",
		manifest: `
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: shop}
spec:
  backend: {serviceName: front, servicePort: 80}
  rules:
  - host: shop.example.com
    http: {paths: [{path: /cart, backend: {serviceName: cart, servicePort: web}}]}
`,
		want: map[string]string{
			"spec.defaultBackend":                `{"service":{"name":"front","port":{"number":80}}}`,
			"spec.rules.0.http.paths.0.backend":  `{"service":{"name":"cart","port":{"name":"web"}}}`,
			"spec.rules.0.http.paths.0.pathType": `"ImplementationSpecific"`,
		},
	},
	{
		name: "an autoscaler of v2beta1",
		manifest: `
apiVersion: autoscaling/v2beta1
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 5
  metrics:
  - type: Resource
    resource: {name: cpu, targetAverageUtilization: 50}
  - type: Pods
    pods: {metricName: hits, targetAverageValue: 1k}
`,
		want: map[string]string{
			"spec.minReplicas": `1`,
			"spec.metrics.0":   `{"resource":{"name":"cpu","target":{"averageUtilization":50,"type":"Utilization"}},"type":"Resource"}`,
			"spec.metrics.1":   `{"pods":{"metric":{"name":"hits"},"target":{"averageValue":"1k","type":"AverageValue"}},"type":"Pods"}`,
		},
	},
	{
		name: "an autoscaler of v1 with metrics in an annotation",
		manifest: `
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata:
  name: web
  annotations: {autoscaling.alpha.kubernetes.io/metrics: '[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Mi"}}]', team: a}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  maxReplicas: 5
  targetCPUUtilizationPercentage: 60
`,
		want: map[string]string{
			"metadata.annotations": `{"team":"a"}`,
			"spec.metrics.0":       `{"resource":{"name":"memory","target":{"averageValue":"1Mi","type":"AverageValue"}},"type":"Resource"}`,
			"spec.metrics.1":       `{"resource":{"name":"cpu","target":{"averageUtilization":60,"type":"Utilization"}},"type":"Resource"}`,
		},
	},
	{
		name: "no pod at all in an old budget",
		manifest: `
apiVersion: policy/v1beta1
kind: PodDisruptionBudget
metadata: {name: none}
spec: {minAvailable: 1, selector: {}}
`,
		want: map[string]string{
			"spec.selector": `{"matchExpressions":[{"key":"pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match","operator":"Exists"}]}`,
		},
	},
	{
		name: "an old definition keeps unknown fields",
		manifest: `
apiVersion: apiextensions.k8s.io/v1beta1
kind: CustomResourceDefinition
metadata: {name: carts.shop.example.com}
spec:
  group: shop.example.com
  version: v1
  names: {plural: carts, kind: Cart}
  subresources: {status: {}}
`,
		want: map[string]string{
			"spec.scope":            `"Namespaced"`,
			"spec.names.listKind":   `"CartList"`,
			"spec.versions":         `[{"name":"v1","schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}},"served":true,"storage":true,"subresources":{"status":{}}}]`,
			"status.storedVersions": `["v1"]`,
		},
	},
	{
		name: "an old slice says zones in a map",
		manifest: `
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: web-1}
addressType: IPv4
ports: [{port: 80}]
endpoints:
- addresses: [10.244.0.7]
  topology: {topology.kubernetes.io/zone: z1}
`,
		want: map[string]string{
			"endpoints.0.zone": `"z1"`,
			"ports.0":          `{"name":"","port":80,"protocol":"TCP"}`,
		},
	},
	{
		name: "old webhooks fail open",
		manifest: `
apiVersion: admissionregistration.k8s.io/v1beta1
kind: ValidatingWebhookConfiguration
metadata: {name: check}
webhooks:
- name: check.shop.example.com
  clientConfig: {service: {name: check, namespace: shop}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
`,
		want: map[string]string{
			"webhooks.0.failurePolicy":             `"Ignore"`,
			"webhooks.0.matchPolicy":               `"Exact"`,
			"webhooks.0.timeoutSeconds":            `30`,
			"webhooks.0.sideEffects":               `"NoneOnDryRun"`,
			"webhooks.0.clientConfig.service.port": `443`,
		},
	},
	{
		name: "a cron job of v1beta1",
		manifest: `
apiVersion: batch/v1beta1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "0 3 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "shop/c:1"}]}}}}
`,
		want: map[string]string{"spec.successfulJobsHistoryLimit": `3`, "spec.concurrencyPolicy": `"Allow"`},
	},
	{
		name: "a pod preset",
		manifest: `
apiVersion: settings.k8s.io/v1alpha1
kind: PodPreset
metadata: {name: env}
spec: {selector: {matchLabels: {app: web}}, env: [{name: A, value: b}]}
`,
		want: map[string]string{"spec.env": `[{"name":"A","value":"b"}]`},
	},
	{
		name: "a job that never ends",
		manifest: `
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec: {completionMode: Indexed, template: {spec: {restartPolicy: Always, containers: [{name: c, image: "shop/c:1"}]}}}
`,
		errors: []string{`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`},
	},
	{
		name:     "a class that is not the system's",
		manifest: `{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"system-mine"},"value":1}`,
		errors:   []string{"metadata.name: Forbidden: priority class names with 'system-' prefix"},
	},
	{
		name:     "a binding to nothing",
		manifest: `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"b"},"roleRef":{"kind":"Pod"},"subjects":[{"kind":"Robot","name":"r"}]}`,
		errors:   []string{`roleRef.kind: Unsupported value: "Pod": supported values: "Role", "ClusterRole"`, "roleRef.name: Required value", `subjects[0].kind: Unsupported value: "Robot"`},
	},
	{
		name:     "a storage class of no kind",
		manifest: `{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"s"},"volumeBindingMode":"Later"}`,
		want:     map[string]string{"reclaimPolicy": `"Delete"`},
		errors:   []string{"provisioner: Required value", `volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"`},
	},
	{
		name:     "a request that is none",
		manifest: `{"apiVersion":"certificates.k8s.io/v1","kind":"CertificateSigningRequest","metadata":{"name":"r"},"spec":{"request":"aGk=","signerName":"example.com/s","usages":["sleeping"]}}`,
		errors:   []string{"PEM block type must be CERTIFICATE REQUEST", `spec.usages[0]: Unsupported value: "sleeping"`},
	},
}

func TestFixtures(t *testing.T) {
	table := Table()
	for _, c := range fixtures {
		t.Run(c.name, func(t *testing.T) {
			obj, errs, err := accept(table, []byte(c.manifest))
			if err != nil {
				t.Fatal(err)
			}
			if len(c.errors) == 0 && len(errs) > 0 {
				t.Errorf("refused: %v", errs.ToAggregate())
			}
			for _, want := range c.errors {
				if agg := errs.ToAggregate(); agg == nil || !strings.Contains(agg.Error(), want) {
					t.Errorf("%v does not say %s", agg, want)
				}
			}
			raw, _ := json.Marshal(obj)
			var have any
			_ = json.Unmarshal(raw, &have)
			for path, want := range c.want {
				if at := jsonAt(have, path); at != want {
					t.Errorf("%s is %s, want %s", path, at, want)
				}
			}
		})
	}
}

func jsonAt(v any, path string) string {
	for _, part := range strings.Split(path, ".") {
		switch e := v.(type) {
		case map[string]any:
			v = e[part]
		case []any:
			n := int(part[0] - '0')
			if n >= len(e) {
				return "missing"
			}
			v = e[n]
		default:
			return "missing"
		}
	}
	raw, _ := json.Marshal(v)
	return string(raw)
}
