package quota

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/kinds"
)

var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func read[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

func show(l corev1.ResourceList) string { return amounts(l) }

func TestUsage(t *testing.T) {
	pods, services := schema.GroupResource{Resource: "pods"}, schema.GroupResource{Resource: "services"}
	claims := schema.GroupResource{Resource: "persistentvolumeclaims"}
	devices := schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	for _, c := range []struct {
		name string
		gr   schema.GroupResource
		obj  kinds.Object
		want string
	}{
		{"pod", pods, read[corev1.Pod](t, `{spec: {containers: [
			{name: a, resources: {requests: {cpu: 100m, memory: 1Mi, example.org/gpu: 2, hugepages-2Mi: 4Mi}, limits: {cpu: 1, ephemeral-storage: 1Gi}}},
			{name: b, resources: {requests: {cpu: 1}}}]}}`),
			"count/pods=1,cpu=1100m,hugepages-2Mi=4Mi,limits.cpu=1,limits.ephemeral-storage=1Gi,memory=1Mi,pods=1,requests.cpu=1100m,requests.example.org/gpu=2,requests.hugepages-2Mi=4Mi,requests.memory=1Mi"},
		{"the greatest init container", pods, read[corev1.Pod](t, `{spec: {initContainers: [{name: i, resources: {requests: {cpu: 3}}}], containers: [{name: a, resources: {requests: {cpu: 1}}}]}}`),
			"count/pods=1,cpu=3,pods=1,requests.cpu=3"},
		{"an ended pod", pods, read[corev1.Pod](t, `{spec: {containers: [{name: a, resources: {requests: {cpu: 1}}}]}, status: {phase: Failed}}`), "count/pods=1"},
		{"a pod that should be gone", pods, read[corev1.Pod](t, `{metadata: {deletionTimestamp: "2026-11-01T11:59:00Z", deletionGracePeriodSeconds: 30}, spec: {containers: [{name: a}]}}`), "count/pods=1"},
		{"a pod within its grace", pods, read[corev1.Pod](t, `{metadata: {deletionTimestamp: "2026-11-01T11:59:50Z", deletionGracePeriodSeconds: 30}, spec: {containers: [{name: a}]}}`), "count/pods=1,pods=1"},
		{"cluster service", services, read[corev1.Service](t, `{spec: {type: ClusterIP, ports: [{port: 80}]}}`), "count/services=1,services.loadbalancers=0,services.nodeports=0,services=1"},
		{"load balancer", services, read[corev1.Service](t, `{spec: {type: LoadBalancer, ports: [{port: 80}, {port: 81}]}}`), "count/services=1,services.loadbalancers=1,services.nodeports=2,services=1"},
		{"load balancer with one node port", services, read[corev1.Service](t, `{spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80, nodePort: 30000}, {port: 81}]}}`),
			"count/services=1,services.loadbalancers=1,services.nodeports=1,services=1"},
		{"claim", claims, read[corev1.PersistentVolumeClaim](t, `{spec: {storageClassName: gold, resources: {requests: {storage: 1500m}}}}`),
			"count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2,persistentvolumeclaims=1,requests.storage=2"},
		{"claim that got more", claims, read[corev1.PersistentVolumeClaim](t, `{spec: {resources: {requests: {storage: 1Gi}}}, status: {allocatedResources: {storage: 2Gi}}}`),
			"count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=2Gi"},
		{"devices", devices, read[resourcev1.ResourceClaim](t, `{spec: {devices: {requests: [
			{name: a, exactly: {deviceClassName: gpu, allocationMode: ExactCount, count: 2}},
			{name: b, firstAvailable: [{name: x, deviceClassName: gpu, allocationMode: ExactCount, count: 3}, {name: y, deviceClassName: gpu, allocationMode: ExactCount, count: 1}, {name: z, deviceClassName: nic, allocationMode: All}]}]}}}`),
			"count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=5,nic.deviceclass.resource.k8s.io/devices=32"},
		{"secret", schema.GroupResource{Resource: "secrets"}, &corev1.Secret{}, "count/secrets=1,secrets=1"},
		{"any other", schema.GroupResource{Group: "example.org", Resource: "widgets"}, &corev1.Secret{}, "count/widgets.example.org=1"},
	} {
		if got := show(of(c.gr).uses(c.obj, now)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	if of(schema.GroupResource{Resource: "events"}) != nil {
		t.Error("events are counted")
	}
}

func TestScopes(t *testing.T) {
	plain := `{spec: {containers: [{name: a}]}}`
	busy := `{spec: {priorityClassName: high, activeDeadlineSeconds: 5, containers: [{name: a, resources: {limits: {cpu: 1}}}], affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: k, namespaceSelector: {}}]}}}}`
	for _, c := range []struct {
		spec        string
		plain, busy bool
	}{
		{`{}`, true, true},
		{`{scopes: [Terminating]}`, false, true},
		{`{scopes: [NotTerminating]}`, true, false},
		{`{scopes: [BestEffort]}`, true, false},
		{`{scopes: [NotBestEffort]}`, false, true},
		{`{scopes: [NotBestEffort, NotTerminating]}`, false, false},
		{`{scopes: [CrossNamespacePodAffinity]}`, false, true},
		{`{scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: Exists}]}}`, false, true},
		{`{scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high, low]}]}}`, false, true},
		{`{scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: NotIn, values: [high]}]}}`, true, false},
		{`{scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: DoesNotExist}]}}`, true, false},
		{`{scopeSelector: {matchExpressions: [{scopeName: VolumeAttributesClass, operator: Exists}]}}`, false, false},
	} {
		q := &corev1.ResourceQuota{Spec: *read[corev1.ResourceQuotaSpec](t, c.spec)}
		for i, want := range []bool{c.plain, c.busy} {
			text := []string{plain, busy}[i]
			got, err := of(schema.GroupResource{Resource: "pods"}).inScopes(q, read[corev1.Pod](t, text))
			if got != want || err != nil {
				t.Errorf("%s: %s: %v, %v", c.spec, text, got, err)
			}
		}
	}
	secrets := of(schema.GroupResource{Resource: "secrets"})
	q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}}}
	if in, err := secrets.inScopes(q, &corev1.Secret{}); in || err != nil {
		t.Error("a scope of pods covers secrets", err)
	}
}

// The words are those of Kubernetes.
func TestCheck(t *testing.T) {
	podOf := func(cpu string) *corev1.Pod {
		return read[corev1.Pod](t, fmt.Sprintf(`{spec: {containers: [{name: c, resources: {requests: {cpu: %s}, limits: {cpu: %s}}}]}}`, cpu, cpu))
	}
	for _, c := range []struct {
		name   string
		quotas []string // their statuses
		write  Write
		want   string // the charges, or the error
	}{
		{"none", nil, Write{Object: podOf("1")}, "[]"},
		{"within", []string{`{hard: {pods: 2, cpu: 2}, used: {pods: 1, cpu: 500m}}`}, Write{Object: podOf("1")}, "[q0: cpu=1500m,pods=2]"},
		{"exactly full", []string{`{hard: {cpu: 2}, used: {cpu: 1}}`}, Write{Object: podOf("1")}, "[q0: cpu=2]"},
		{"exceeded", []string{`{hard: {pods: 2, cpu: 2, secrets: 1}, used: {pods: 2, cpu: 1500m, secrets: 0}}`}, Write{Object: podOf("1")},
			"exceeded quota: q0, requested: cpu=1,pods=1, used: cpu=1500m,pods=2, limited: cpu=2,pods=2"},
		{"one of two", []string{`{hard: {pods: 2}, used: {pods: 1}}`, `{hard: {count/pods: 1}, used: {count/pods: 1}}`}, Write{Object: podOf("1")},
			"exceeded quota: q1, requested: count/pods=1, used: count/pods=1, limited: count/pods=1"},
		{"both charged", []string{`{hard: {pods: 2}, used: {pods: 1}}`, `{hard: {requests.cpu: 9}, used: {requests.cpu: 0}}`}, Write{Object: podOf("1")}, "[q0: pods=2 q1: requests.cpu=1]"},
		{"not counted yet", []string{`{hard: {pods: 2, cpu: 1}, used: {cpu: 0}}`}, Write{Object: podOf("1")}, "status unknown for quota: q0, resources: cpu,pods"},
		{"nothing limited yet", []string{`{}`}, Write{Object: podOf("1")}, "[]"},
		{"must say", []string{`{hard: {limits.memory: 1Gi, requests.cpu: 1}, used: {limits.memory: 0, requests.cpu: 0}}`},
			Write{Object: read[corev1.Pod](t, `{spec: {containers: [{name: b}, {name: a}], initContainers: [{name: i, resources: {requests: {cpu: 1}}}]}}`)},
			"failed quota: q0: must specify limits.memory for: a,b,i; requests.cpu for: a,b"},
		{"of other kinds", []string{`{hard: {secrets: 1}, used: {secrets: 1}}`}, Write{Object: podOf("1")}, "[]"},
		{"resized up", []string{`{hard: {cpu: 3, pods: 1}, used: {cpu: 1, pods: 1}}`}, Write{Subresource: "resize", Object: podOf("3"), Old: podOf("1")}, "[q0: cpu=3,pods=1]"},
		{"resized beyond", []string{`{hard: {cpu: 2}, used: {cpu: 1}}`}, Write{Subresource: "resize", Object: podOf("3"), Old: podOf("1")},
			"exceeded quota: q0, requested: cpu=2, used: cpu=1, limited: cpu=2"},
		{"resized down while over", []string{`{hard: {cpu: 1}, used: {cpu: 5}}`}, Write{Subresource: "resize", Object: podOf("1"), Old: podOf("3")}, "[]"},
	} {
		var quotas []*corev1.ResourceQuota
		for i, s := range c.quotas {
			q := &corev1.ResourceQuota{Status: *read[corev1.ResourceQuotaStatus](t, s)}
			q.Name = fmt.Sprintf("q%d", i)
			quotas = append(quotas, q)
		}
		c.write.Resource = schema.GroupResource{Resource: "pods"}
		charges, err := c.write.Check(quotas, now)
		got := []string{}
		for _, x := range charges {
			got = append(got, x.Quota.Name+": "+show(x.Used))
		}
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if text != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, text, c.want)
		}
	}
}

// A pod that moves into a scope by its update is charged whole there.
func TestCheckMovesIntoScope(t *testing.T) {
	seconds := int64(10)
	old := read[corev1.Pod](t, `{spec: {containers: [{name: a}]}}`)
	obj := old.DeepCopy()
	obj.Spec.ActiveDeadlineSeconds = &seconds
	w := Write{Resource: schema.GroupResource{Resource: "pods"}, Object: obj, Old: old}
	if !w.Handles() {
		t.Fatal("a pod that becomes terminating is not looked at")
	}
	q := &corev1.ResourceQuota{
		Spec:   corev1.ResourceQuotaSpec{Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}},
		Status: *read[corev1.ResourceQuotaStatus](t, `{hard: {pods: 1}, used: {pods: 0}}`),
	}
	charges, err := w.Check([]*corev1.ResourceQuota{q}, now)
	if err != nil || len(charges) != 1 || show(charges[0].Used) != "pods=1" {
		t.Errorf("%v, %v", charges, err)
	}
	w.Object = old
	if w.Handles() {
		t.Error("an update that changes nothing that counts is looked at")
	}
}

func TestResourcesAndUsed(t *testing.T) {
	q := &corev1.ResourceQuota{Spec: *read[corev1.ResourceQuotaSpec](t, `{hard: {requests.cpu: 1, count/widgets.example.org: 1, count/events: 3, configmaps: 1, gold.storageclass.storage.k8s.io/requests.storage: 1Gi}}`)}
	var got []string
	for _, gr := range Resources(q) {
		got = append(got, gr.String())
	}
	slices.Sort(got)
	if fmt.Sprint(got) != "[configmaps persistentvolumeclaims pods widgets.example.org]" {
		t.Errorf("resources %v", got)
	}
	used, err := Used(q, schema.GroupResource{Resource: "pods"}, []kinds.Object{
		read[corev1.Pod](t, `{spec: {containers: [{name: a, resources: {requests: {cpu: 100m}}}]}}`),
		read[corev1.Pod](t, `{spec: {containers: [{name: a, resources: {requests: {cpu: 200m}}}]}}`),
	}, now)
	if err != nil || show(used) != "requests.cpu=300m" {
		t.Errorf("used %s, %v", show(used), err)
	}
	if used, err = Used(q, schema.GroupResource{Resource: "configmaps"}, nil, now); err != nil || show(used) != "configmaps=0" {
		t.Errorf("used of nothing: %s, %v", show(used), err)
	}
}
