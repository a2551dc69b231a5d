package admit

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// cluster is a fake of admission.Reader.
type cluster map[schema.GroupResource][]kinds.Object

func (c cluster) Object(gr schema.GroupResource, namespace, name string) (kinds.Object, bool) {
	for _, o := range c[gr] {
		if o.GetNamespace() == namespace && o.GetName() == name {
			return o, true
		}
	}
	return nil, false
}

func (c cluster) Each(gr schema.GroupResource, namespace string, f func(kinds.Object) bool) {
	list := slices.Clone(c[gr])
	sort.Slice(list, func(i, j int) bool { return list[i].GetName() < list[j].GetName() })
	for _, o := range list {
		if (namespace == "" || o.GetNamespace() == namespace) && !f(o) {
			return
		}
	}
}

var rows = map[string]*kinds.Kind{
	"pods": {Version: "v1", Kind: "Pod", Resource: "pods"}, "nodes": {Version: "v1", Kind: "Node", Resource: "nodes"},
	"namespaces":             {Version: "v1", Kind: "Namespace", Resource: "namespaces"},
	"serviceaccounts":        {Version: "v1", Kind: "ServiceAccount", Resource: "serviceaccounts"},
	"persistentvolumeclaims": {Version: "v1", Kind: "PersistentVolumeClaim", Resource: "persistentvolumeclaims"},
	"deployments":            {Group: "apps", Version: "v1", Kind: "Deployment", Resource: "deployments"},
	"priorityclasses":        {Group: "scheduling.k8s.io", Version: "v1", Kind: "PriorityClass", Resource: "priorityclasses"},
}

func request(op admission.Operation, resource string, obj, old kinds.Object) *admission.Request {
	r := &admission.Request{Operation: op, Kind: rows[resource], Object: obj, Old: old, User: &auth.User{Name: "jane"}}
	for _, o := range []kinds.Object{obj, old} {
		if o != nil && !reflect.ValueOf(o).IsNil() {
			r.Namespace, r.Name = o.GetNamespace(), o.GetName()
		}
	}
	return r
}

// run sends a request through plugins, both phases.
func run(t *testing.T, c cluster, r *admission.Request, plugins ...admission.Plugin) error {
	t.Helper()
	for _, p := range plugins {
		if n, ok := p.(admission.NeedsReader); ok {
			n.SetReader(c)
		}
	}
	if err := admission.Chain(plugins).Mutate(context.Background(), r); err != nil {
		return err
	}
	return admission.Chain(plugins).Validate(context.Background(), r)
}

func expect(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func pod(name string, containers ...v1.Container) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: v1.PodSpec{Containers: containers}}
}

func TestServiceAccount(t *testing.T) {
	no := false
	c := cluster{serviceAccounts: {
		&v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "default"}, ImagePullSecrets: []v1.LocalObjectReference{{Name: "pull"}}},
		&v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "bare"}, AutomountServiceAccountToken: &no},
		&v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "strict", Annotations: map[string]string{enforceMountable: "true"}}},
	}}
	p := pod("p", v1.Container{Name: "a"}, v1.Container{Name: "b", VolumeMounts: []v1.VolumeMount{{Name: "own", MountPath: tokenMountPath}}})
	p.Spec.InitContainers = []v1.Container{{Name: "i"}}
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &ServiceAccount{}), "")
	if p.Spec.ServiceAccountName != "default" || len(p.Spec.ImagePullSecrets) != 1 || len(p.Spec.Volumes) != 1 {
		t.Fatalf("%+v", p.Spec)
	}
	vol := p.Spec.Volumes[0]
	if !strings.HasPrefix(vol.Name, tokenVolume) || len(vol.Name) != len(tokenVolume)+5 {
		t.Error(vol.Name)
	}
	b, err := json.Marshal(vol.VolumeSource)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},{"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"defaultMode":420}}`; string(b) != want {
		t.Errorf("got %s\nwant %s", b, want)
	}
	for _, x := range []v1.Container{p.Spec.Containers[0], p.Spec.InitContainers[0]} {
		if len(x.VolumeMounts) != 1 || x.VolumeMounts[0].Name != vol.Name || !x.VolumeMounts[0].ReadOnly {
			t.Errorf("%s: %+v", x.Name, x.VolumeMounts)
		}
	}
	if len(p.Spec.Containers[1].VolumeMounts) != 1 {
		t.Error("a container with a mount of its own got another")
	}

	bare := pod("p", v1.Container{Name: "a"})
	bare.Spec.ServiceAccountName = "bare"
	expect(t, run(t, c, request(admission.Create, "pods", bare, nil), &ServiceAccount{}), "")
	if len(bare.Spec.Volumes) != 0 {
		t.Error("a token where the account wants none")
	}
	absent := pod("p")
	absent.Spec.ServiceAccountName = "absent"
	expect(t, run(t, c, request(admission.Create, "pods", absent, nil), &ServiceAccount{}),
		`pods "p" is forbidden: error looking up service account ns/absent: serviceaccount "absent" not found`)
	mirror := pod("p")
	mirror.Annotations, mirror.Spec.ServiceAccountName = map[string]string{v1.MirrorPodAnnotationKey: "x"}, "default"
	expect(t, run(t, c, request(admission.Create, "pods", mirror, nil), &ServiceAccount{}), `pods "p" is forbidden: a mirror pod may not reference service accounts`)
	strict := pod("p", v1.Container{Name: "a", EnvFrom: []v1.EnvFromSource{{SecretRef: &v1.SecretEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "s"}}}}})
	strict.Spec.ServiceAccountName = "strict"
	expect(t, run(t, c, request(admission.Create, "pods", strict, nil), &ServiceAccount{}),
		`pods "p" is forbidden: container a with envFrom referencing secret.secretName="s" is not allowed because service account strict does not reference that secret`)
}

func TestPriority(t *testing.T) {
	never := v1.PreemptNever
	c := cluster{priorityClasses: {
		&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000, PreemptionPolicy: &never},
		&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 10, GlobalDefault: true},
	}}
	p := pod("p")
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &Priority{}), "")
	if p.Spec.PriorityClassName != "usual" || *p.Spec.Priority != 10 || p.Spec.PreemptionPolicy != nil {
		t.Errorf("%+v", p.Spec)
	}
	p = pod("p")
	expect(t, run(t, cluster{}, request(admission.Create, "pods", p, nil), &Priority{}), "")
	if *p.Spec.Priority != 0 || *p.Spec.PreemptionPolicy != v1.PreemptLowerPriority {
		t.Errorf("%+v", p.Spec)
	}
	five := int32(5)
	p = pod("p")
	p.Spec.PriorityClassName, p.Spec.Priority = "high", &five
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &Priority{}),
		`pods "p" is forbidden: the integer value of priority (5) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name`)
	p = pod("p")
	p.Spec.PriorityClassName = "absent"
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &Priority{}), `pods "p" is forbidden: no PriorityClass with name absent was found`)
	second := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, GlobalDefault: true}
	expect(t, run(t, c, request(admission.Create, "priorityclasses", second, nil), &Priority{}),
		`priorityclasses.scheduling.k8s.io "second" is forbidden: PriorityClass usual is already marked as default. Only one default can exist`)
}

func TestTolerationsAndTaints(t *testing.T) {
	p := pod("p")
	p.Spec.Tolerations = []v1.Toleration{{Key: v1.TaintNodeNotReady, Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute}}
	expect(t, run(t, nil, request(admission.Create, "pods", p, nil), DefaultTolerations{}), "")
	if len(p.Spec.Tolerations) != 2 || p.Spec.Tolerations[1].Key != v1.TaintNodeUnreachable || *p.Spec.Tolerations[1].TolerationSeconds != 300 {
		t.Errorf("%+v", p.Spec.Tolerations)
	}
	n := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	for range 2 {
		expect(t, run(t, nil, request(admission.Create, "nodes", n, nil), TaintNodes{}), "")
	}
	if len(n.Spec.Taints) != 1 || n.Spec.Taints[0].Key != v1.TaintNodeNotReady || n.Spec.Taints[0].Effect != v1.TaintEffectNoSchedule {
		t.Errorf("%+v", n.Spec.Taints)
	}
}

func TestDefaultStorageClass(t *testing.T) {
	class := func(name string, age time.Duration, marked string) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age)),
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": marked}}}
	}
	c := cluster{storageClasses: {class("a", time.Hour, "true"), class("b", time.Minute, "true"), class("c", time.Minute, "true"), class("d", 0, "false")}}
	claim := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"}}
	expect(t, run(t, c, request(admission.Create, "persistentvolumeclaims", claim, nil), &DefaultStorageClass{}), "")
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != "b" {
		t.Errorf("%v", claim.Spec.StorageClassName)
	}
	none := ""
	claim.Spec.StorageClassName = &none
	expect(t, run(t, c, request(admission.Create, "persistentvolumeclaims", claim, nil), &DefaultStorageClass{}), "")
	if *claim.Spec.StorageClassName != "" {
		t.Error("the empty class is a choice")
	}
}

func list(pairs ...string) v1.ResourceList {
	out := v1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[v1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func TestLimitRanger(t *testing.T) {
	with := func(items ...v1.LimitRangeItem) cluster {
		return cluster{limitRanges: {&v1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "l"}, Spec: v1.LimitRangeSpec{Limits: items}}}}
	}
	p := pod("p", v1.Container{Name: "a"}, v1.Container{Name: "b", Resources: v1.ResourceRequirements{Requests: list("cpu", "1")}})
	c := with(v1.LimitRangeItem{Type: v1.LimitTypeContainer, Default: list("cpu", "2", "memory", "1Gi"), DefaultRequest: list("cpu", "500m")})
	expect(t, run(t, c, request(admission.Create, "pods", p, nil), &LimitRanger{}), "")
	if got, want := p.Annotations["kubernetes.io/limit-ranger"], "LimitRanger plugin set: cpu request for container a; cpu, memory limit for container a; cpu, memory limit for container b"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if q := p.Spec.Containers[0].Resources.Requests["cpu"]; q.String() != "500m" {
		t.Error(q.String())
	}
	for _, x := range []struct {
		name      string
		item      v1.LimitRangeItem
		resources v1.ResourceRequirements
		want      string
	}{
		{"none", v1.LimitRangeItem{Type: v1.LimitTypeContainer, Min: list("cpu", "1")}, v1.ResourceRequirements{}, "minimum cpu usage per Container is 1.  No request is specified"},
		{"too little", v1.LimitRangeItem{Type: v1.LimitTypeContainer, Min: list("cpu", "1")}, v1.ResourceRequirements{Requests: list("cpu", "999m")}, "minimum cpu usage per Container is 1, but request is 999m"},
		{"too much", v1.LimitRangeItem{Type: v1.LimitTypeContainer, Max: list("memory", "1Gi")}, v1.ResourceRequirements{Limits: list("memory", "2Gi")}, "maximum memory usage per Container is 1Gi, but limit is 2Gi"},
		{"unbounded", v1.LimitRangeItem{Type: v1.LimitTypePod, Max: list("memory", "1Gi")}, v1.ResourceRequirements{}, "maximum memory usage per Pod is 1Gi.  No limit is specified"},
		{"ratio", v1.LimitRangeItem{Type: v1.LimitTypeContainer, MaxLimitRequestRatio: list("cpu", "2")}, v1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("cpu", "3")}, "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000"},
		{"two", v1.LimitRangeItem{Type: v1.LimitTypeContainer, Min: list("cpu", "1", "memory", "1Gi")}, v1.ResourceRequirements{}, "[minimum cpu usage per Container is 1.  No request is specified, minimum memory usage per Container is 1Gi.  No request is specified]"},
	} {
		t.Run(x.name, func(t *testing.T) {
			p := pod("p", v1.Container{Name: "a", Resources: x.resources})
			expect(t, run(t, with(x.item), request(admission.Create, "pods", p, nil), &LimitRanger{}), `pods "p" is forbidden: `+x.want)
		})
	}
}

func TestNodeRestriction(t *testing.T) {
	mine, other := pod("mine", v1.Container{}), pod("other", v1.Container{})
	mine.UID, mine.Spec.NodeName, other.Spec.NodeName = "u", "n", "m"
	mine.Spec.Volumes = []v1.Volume{{VolumeSource: v1.VolumeSource{Projected: tokenSource()}}}
	c := cluster{pods: {mine, other}, nodes: {&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "node"}}}}
	node := func(name string, labels map[string]string, taints ...v1.Taint) *v1.Node {
		return &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: v1.NodeSpec{Taints: taints}}
	}
	token := func(pod string, uid types.UID, audiences ...string) runtime.Object {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: uid}}}
	}
	for _, x := range []struct {
		name     string
		op       admission.Operation
		resource string
		sub      string
		obj, old kinds.Object
		view     runtime.Object
		want     string
	}{
		{name: "own status", op: admission.Update, resource: "pods", sub: "status", obj: mine, old: mine},
		{name: "other's status", op: admission.Update, resource: "pods", sub: "status", obj: other, old: other, want: `pods "other" is forbidden: node "n" can only update pod status for pods with spec.nodeName set to itself`},
		{name: "deletes own", op: admission.Delete, resource: "pods", old: mine},
		{name: "deletes other's", op: admission.Delete, resource: "pods", old: other, want: `pods "other" is forbidden: node "n" can only delete pods with spec.nodeName set to itself`},
		{name: "creates a pod", op: admission.Create, resource: "pods", obj: pod("x"), want: `pods "x" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation, node "n" can only create mirror pods`},
		{name: "itself", op: admission.Create, resource: "nodes", obj: node("n", map[string]string{"kubernetes.io/hostname": "n", "own": "x", "node.kubernetes.io/x": "y"})},
		{name: "another", op: admission.Update, resource: "nodes", obj: node("m", nil), old: node("m", nil), want: `nodes "m" is forbidden: node "n" is not allowed to modify node "m"`},
		{name: "labels", op: admission.Create, resource: "nodes", obj: node("n", map[string]string{"node-role.kubernetes.io/x": "", "a.node-restriction.kubernetes.io/b": ""}), want: `nodes "n" is forbidden: node "n" is not allowed to set the following labels: a.node-restriction.kubernetes.io/b, node-role.kubernetes.io/x`},
		{name: "taints", op: admission.Update, resource: "nodes", obj: node("n", nil), old: node("n", nil, v1.Taint{Key: "k"}), want: `nodes "n" is forbidden: node "n" is not allowed to modify taints`},
		{name: "token", op: admission.Create, resource: "serviceaccounts", sub: "token", view: token("mine", "u")},
		{name: "token of another", op: admission.Create, resource: "serviceaccounts", sub: "token", view: token("other", ""), want: `serviceaccounts "Unknown" is forbidden: node requested token with a pod binding without a uid`},
		{name: "token for others", op: admission.Create, resource: "serviceaccounts", sub: "token", view: token("mine", "u", "vault"), want: `serviceaccounts "Unknown" is forbidden: audience "vault" not found in pod spec volume, system:node:n is not authorized to request tokens for this audience`},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := request(x.op, x.resource, x.obj, x.old)
			if x.obj == nil {
				r.Object = nil
			}
			r.Subresource, r.View, r.User = x.sub, x.view, &auth.User{Name: "system:node:n", Groups: []string{auth.GroupNodes}}
			if x.view != nil {
				r.Namespace = "ns"
			}
			expect(t, run(t, c, r, &NodeRestriction{}), x.want)
		})
	}
}

// TestRecordedPodSecurity plays the recorded writes through the plugin.
func TestRecordedPodSecurity(t *testing.T) {
	shared := os.Getenv("SKIFF_SHARED")
	for dir, _ := os.Getwd(); shared == "" && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "recorded")); err == nil {
			shared = filepath.Join(dir, "shared")
		}
	}
	b, err := os.ReadFile(filepath.Join(shared, "recorded", "f-podsecurity.json"))
	if err != nil {
		t.Skipf("needs recorded answers: %v", err)
	}
	var file struct {
		Steps []struct {
			Method, Path    string
			Body, Response  json.RawMessage
			Status          int
			ResponseHeaders map[string]any
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	c, s, judged := cluster{}, NewPodSecurity(), 0
	for i, step := range file.Steps {
		parts := strings.Split(strings.Trim(step.Path, "/"), "/")
		kind := parts[len(parts)-1]
		var obj kinds.Object
		switch {
		case step.Method == "PATCH" && len(parts) == 4 && parts[2] == "namespaces":
			kind = "namespaces"
			name, _, _ := strings.Cut(parts[3], "?")
			old, _ := c.Object(namespaces, "", name)
			next := old.DeepCopyObject().(*v1.Namespace)
			if err := json.Unmarshal(step.Body, next); err != nil {
				t.Fatal(err)
			}
			r := request(admission.Update, kind, next, old)
			if err := run(t, c, r, s); err != nil {
				t.Errorf("step %d: %v", i, err)
			}
			compareWarnings(t, i, r.Warnings(), step.ResponseHeaders["Warning"])
			judged++
			continue
		case step.Method != "POST":
			continue
		case kind == "pods":
			obj = &v1.Pod{}
		case kind == "deployments":
			obj = &appsv1.Deployment{}
		case kind == "namespaces":
			obj = &v1.Namespace{}
		default:
			continue
		}
		if err := json.Unmarshal(step.Body, obj); err != nil {
			t.Fatal(err)
		}
		if kind != "namespaces" {
			obj.SetNamespace(parts[len(parts)-2])
		}
		r := request(admission.Create, kind, obj, nil)
		err := run(t, c, r, s)
		var want struct{ Message string }
		_ = json.Unmarshal(step.Response, &want)
		expect(t, err, want.Message)
		compareWarnings(t, i, r.Warnings(), step.ResponseHeaders["Warning"])
		if judged++; err == nil {
			gr := rows[kind].GroupResource()
			c[gr] = append(c[gr], obj)
		}
	}
	if judged < 20 {
		t.Errorf("only %d steps", judged)
	}
}

func compareWarnings(t *testing.T, step int, got []string, want any) {
	t.Helper()
	var mine, theirs []string
	for _, w := range got {
		b, _ := json.Marshal(w)
		mine = append(mine, strings.ReplaceAll("299 - "+string(b), `\u003c`, "<"))
	}
	switch w := want.(type) {
	case string:
		theirs = []string{w}
	case []any:
		for _, x := range w {
			theirs = append(theirs, x.(string))
		}
	}
	sort.Strings(mine)
	sort.Strings(theirs)
	if !slices.Equal(mine, theirs) {
		t.Errorf("step %d: warnings\n got %s\nwant %s", step, strings.Join(mine, "\n"), strings.Join(theirs, "\n"))
	}
}
