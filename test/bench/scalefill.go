package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/uuid"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/store/disk"
	"skiff.dev/skiff/store/mem"
)

// size is how large the cluster of the scale benchmark is: apps Deployments share
// the pods, so that one app's label selects one in apps.
type size struct{ pods, nodes, apps int }

func (s size) nodeOf(i int) string { return fmt.Sprintf("scale-node-%04d", i%s.nodes) }

func scaleNamespace(app int) string { return fmt.Sprintf("scale-%02d", app%20) }

// samples are objects as a running cluster has them: made through the API by the
// components that make them, with their managed fields. Copies under other names
// fill the store.
type samples struct {
	deployment *appsv1.Deployment
	replicaSet *appsv1.ReplicaSet
	pod        *corev1.Pod
	node       *corev1.Node
	lease      *coordinationv1.Lease
}

// sampler makes the samples in an API server of its own that keeps nothing.
type sampler struct {
	ctx context.Context
	srv *apiserver.Server
	err error
}

func (s *sampler) as(agent string) *apiserver.Backend {
	return s.srv.InProcess(&auth.User{Name: "bench", Groups: []string{auth.GroupMasters}}).Named(agent)
}

func (s *sampler) do(agent string, gr string, k *kinds.Kind, obj kinds.Object) kinds.Object {
	if s.err != nil {
		return obj
	}
	var out kinds.Object
	if gr == "" {
		out, s.err = s.as(agent).Create(s.ctx, k, obj, &metav1.CreateOptions{})
	} else {
		out, s.err = s.as(agent).Update(s.ctx, k, gr, obj, &metav1.UpdateOptions{})
	}
	if s.err != nil {
		return obj
	}
	return out.DeepCopyObject().(kinds.Object)
}

func makeSamples(ctx context.Context, table *kinds.Table) (*samples, error) {
	st := mem.New()
	defer st.Close()
	srv, err := apiserver.New(ctx, apiserver.Options{Store: st, Table: table, Scheme: scheme.New()})
	if err != nil {
		return nil, err
	}
	defer srv.Close()
	s := &sampler{ctx: ctx, srv: srv}
	kind := func(group, resource string) *kinds.Kind {
		k, ok := table.ByResource(schema.GroupResource{Group: group, Resource: resource})
		if !ok {
			panic("no kind " + resource)
		}
		return k
	}
	one := int32(1)
	labels := map[string]string{"app": "a", "team": "b"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: samplePodSpec()}
	d := s.do("kubectl", "", kind("apps", "deployments"), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", Labels: labels, Annotations: map[string]string{"deployment.kubernetes.io/revision": "1"}},
		Spec:       appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}, Template: template},
	}).(*appsv1.Deployment)
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1, Conditions: []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable", Message: "Deployment has minimum availability."},
		{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable", Message: "ReplicaSet has successfully progressed."},
	}}
	d = s.do("kube-controller-manager", "status", kind("apps", "deployments"), d).(*appsv1.Deployment)
	hashed := map[string]string{"app": "a", "team": "b", "pod-template-hash": "0123456789"}
	template.Labels = hashed
	r := s.do("kube-controller-manager", "", kind("apps", "replicasets"), &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a-0123456789", Labels: hashed, Annotations: map[string]string{
			"deployment.kubernetes.io/desired-replicas": "1", "deployment.kubernetes.io/max-replicas": "2", "deployment.kubernetes.io/revision": "1",
		}, OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))}},
		Spec: appsv1.ReplicaSetSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a", "pod-template-hash": "0123456789"}}, Template: template},
	}).(*appsv1.ReplicaSet)
	r.Status = appsv1.ReplicaSetStatus{Replicas: 1, FullyLabeledReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1, ObservedGeneration: 1}
	r = s.do("kube-controller-manager", "status", kind("apps", "replicasets"), r).(*appsv1.ReplicaSet)
	spec := samplePodSpec()
	spec.NodeName = "n"
	p := s.do("kube-controller-manager", "", kind("", "pods"), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a-0123456789-abcde", GenerateName: "a-0123456789-", Labels: hashed,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(r, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}},
		Spec: spec,
	}).(*corev1.Pod)
	p.Status = samplePodStatus()
	p = s.do("kubelet", "status", kind("", "pods"), p).(*corev1.Pod)
	n := s.do("kubelet", "", kind("", "nodes"), sampleNode()).(*corev1.Node)
	n.Status = sampleNode().Status
	n = s.do("kubelet", "status", kind("", "nodes"), n).(*corev1.Node)
	l := s.do("kubelet", "", kind("coordination.k8s.io", "leases"), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "n", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n", UID: n.UID}}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("n"), LeaseDurationSeconds: new(int32(40)), RenewTime: &metav1.MicroTime{Time: time.Now()}},
	}).(*coordinationv1.Lease)
	return &samples{d, r, p, n, l}, s.err
}

func samplePodSpec() corev1.PodSpec {
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}, InitialDelaySeconds: 5}
	return corev1.PodSpec{
		ServiceAccountName: "default",
		Containers: []corev1.Container{{
			Name: "main", Image: "registry.example.com/team/application:v1.2.3", Args: []string{"--listen=:8080", "--log=info"},
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			Env: []corev1.EnvVar{
				{Name: "MODE", Value: "production"},
				{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "database"}, Key: "password"}}},
			},
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
			},
			VolumeMounts:  []corev1.VolumeMount{{Name: "config", MountPath: "/etc/app"}, {Name: "kube-api-access-abcde", ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}},
			LivenessProbe: probe, ReadinessProbe: probe.DeepCopy(),
		}},
		Volumes: []corev1.Volume{
			{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "app"}}}},
			{Name: "kube-api-access-abcde", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: new(int64(3607)), Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
			}}}},
		},
		Tolerations: []corev1.Toleration{
			{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
			{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
		},
		Priority: new(int32(0)), PreemptionPolicy: new(corev1.PreemptLowerPriority),
	}
}

func samplePodStatus() corev1.PodStatus {
	at := metav1.NewTime(time.Now())
	st := corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: "10.0.0.1", HostIPs: []corev1.HostIP{{IP: "10.0.0.1"}}, PodIP: "10.1.0.1", PodIPs: []corev1.PodIP{{IP: "10.1.0.1"}},
		StartTime: &at, QOSClass: corev1.PodQOSBurstable,
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", Ready: true, Started: new(true), Image: "registry.example.com/team/application:v1.2.3",
			ImageID:     "registry.example.com/team/application@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			ContainerID: "containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			State:       corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}},
		}},
	}
	for _, c := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		st.Conditions = append(st.Conditions, corev1.PodCondition{Type: c, Status: corev1.ConditionTrue, LastTransitionTime: at})
	}
	return st
}

func sampleNode() *corev1.Node {
	at := metav1.NewTime(time.Now())
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("128Gi"), corev1.ResourcePods: resource.MustParse("110")}
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"kubernetes.io/hostname": "n", "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "z1"}},
		Status: corev1.NodeStatus{
			Capacity: room, Allocatable: room,
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeHostName, Address: "n"}},
			NodeInfo:  corev1.NodeSystemInfo{KubeletVersion: "v1.36.3", OSImage: "Debian GNU/Linux 12 (bookworm)", KernelVersion: "6.18.0", ContainerRuntimeVersion: "containerd://2.4.0", OperatingSystem: "linux", Architecture: "amd64"},
		},
	}
	for _, c := range []struct {
		t corev1.NodeConditionType
		s corev1.ConditionStatus
	}{{corev1.NodeMemoryPressure, corev1.ConditionFalse}, {corev1.NodeDiskPressure, corev1.ConditionFalse}, {corev1.NodePIDPressure, corev1.ConditionFalse}, {corev1.NodeReady, corev1.ConditionTrue}} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: c.t, Status: c.s, Reason: "KubeletReported", Message: "kubelet says so", LastHeartbeatTime: at, LastTransitionTime: at})
	}
	for i := range 20 {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{
			fmt.Sprintf("registry.example.com/team/image-%02d@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", i),
			fmt.Sprintf("registry.example.com/team/image-%02d:v1.2.3", i)}, SizeBytes: 100 << 20})
	}
	return n
}

// age moves all times of a pod into the past: no two pods have the same.
func age(p *corev1.Pod, by time.Duration) {
	older := func(t *metav1.Time) { *t = metav1.NewTime(t.Add(-by)) }
	older(&p.CreationTimestamp)
	older(p.Status.StartTime)
	older(&p.Status.ContainerStatuses[0].State.Running.StartedAt)
	for i := range p.Status.Conditions {
		older(&p.Status.Conditions[i].LastTransitionTime)
	}
	for i := range p.ManagedFields {
		older(p.ManagedFields[i].Time)
	}
}

// filler writes objects straight into a store, many a transaction.
type filler struct {
	ctx   context.Context
	store store.Store
	table *kinds.Table
	txn   store.Txn
	count int
	bytes int64
}

func (f *filler) put(group, resource string, obj kinds.Object) error {
	k, ok := f.table.ByResource(schema.GroupResource{Group: group, Resource: resource})
	if !ok {
		return fmt.Errorf("no kind %s", resource)
	}
	obj.SetResourceVersion("")
	value, err := codec.EncodeStored(k, obj)
	if err != nil {
		return err
	}
	f.count++
	f.bytes += int64(len(value))
	f.txn.Ops = append(f.txn.Ops, store.Op{Key: cache.Root + cache.GroupDir(group) + "/" + resource + "/" + cache.Key(obj.GetNamespace(), obj.GetName()), Value: value})
	if len(f.txn.Ops) < 500 {
		return nil
	}
	return f.flush()
}

func (f *filler) flush() error {
	_, err := f.store.Commit(f.ctx, f.txn)
	f.txn.Ops = nil
	return err
}

// fillStore puts a cluster of the size into the store of a data directory.
func fillStore(ctx context.Context, data string, s size) (f *filler, err error) {
	table := all.Table()
	sample, err := makeSamples(ctx, table)
	if err != nil {
		return nil, fmt.Errorf("make samples: %w", err)
	}
	st, err := disk.Open(filepath.Join(data, "store"), disk.Options{})
	if err != nil {
		return nil, err
	}
	defer st.Close()
	f = &filler{ctx: ctx, store: st, table: table}
	for i := range 20 {
		if err := f.put("", "namespaces", &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: scaleNamespace(i), UID: uuid.NewUUID(), CreationTimestamp: metav1.Now(), Labels: map[string]string{"kubernetes.io/metadata.name": scaleNamespace(i)}},
			Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		}); err != nil {
			return nil, err
		}
	}
	for i := range s.nodes {
		if err := f.node(sample, s, i); err != nil {
			return nil, err
		}
	}
	for app := range s.apps {
		if err := f.app(sample, s, app); err != nil {
			return nil, err
		}
	}
	return f, f.flush()
}

func address(a byte, i int) string { return fmt.Sprintf("10.%d.%d.%d", int(a)+i>>16, i>>8&255, i&255) }

func (f *filler) node(sample *samples, s size, i int) error {
	n, name := sample.node.DeepCopy(), s.nodeOf(i)
	n.Name, n.UID = name, uuid.NewUUID()
	n.Labels["kubernetes.io/hostname"] = name
	n.Status.Addresses[0].Address, n.Status.Addresses[1].Address = address(100, i), name
	if err := f.put("", "nodes", n); err != nil {
		return err
	}
	l := sample.lease.DeepCopy()
	l.Namespace, l.Name, l.UID, l.Spec.HolderIdentity = corev1.NamespaceNodeLease, name, uuid.NewUUID(), &name
	l.OwnerReferences[0].Name, l.OwnerReferences[0].UID = name, n.UID
	l.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
	return f.put("coordination.k8s.io", "leases", l)
}

// app is one Deployment with its ReplicaSet and its share of the pods.
func (f *filler) app(sample *samples, s size, app int) error {
	name, ns := fmt.Sprintf("app-%04d", app), scaleNamespace(app)
	each := s.pods / s.apps
	replicas := int32(each)
	hash := strconv.FormatInt(int64(app)+1e9, 36)
	d := sample.deployment.DeepCopy()
	d.Namespace, d.Name, d.UID = ns, name, uuid.NewUUID()
	d.Labels["app"], d.Spec.Template.Labels["app"], d.Spec.Selector.MatchLabels["app"] = name, name, name
	d.Spec.Replicas = &replicas
	d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = replicas, replicas, replicas, replicas
	if err := f.put("apps", "deployments", d); err != nil {
		return err
	}
	r := sample.replicaSet.DeepCopy()
	r.Namespace, r.Name, r.UID = ns, name+"-"+hash, uuid.NewUUID()
	r.OwnerReferences[0].Name, r.OwnerReferences[0].UID = name, d.UID
	for _, m := range []map[string]string{r.Labels, r.Spec.Template.Labels, r.Spec.Selector.MatchLabels} {
		m["app"], m["pod-template-hash"] = name, hash
	}
	r.Annotations["deployment.kubernetes.io/desired-replicas"] = fmt.Sprint(replicas)
	r.Annotations["deployment.kubernetes.io/max-replicas"] = fmt.Sprint(replicas + (replicas+3)/4)
	r.Spec.Replicas = &replicas
	r.Status.Replicas, r.Status.FullyLabeledReplicas, r.Status.ReadyReplicas, r.Status.AvailableReplicas = replicas, replicas, replicas, replicas
	if err := f.put("apps", "replicasets", r); err != nil {
		return err
	}
	for i := range each {
		at := app*each + i
		p := sample.pod.DeepCopy()
		p.Namespace, p.Name, p.GenerateName, p.UID = ns, fmt.Sprintf("%s-%s-%05x", name, hash, at), r.Name+"-", uuid.NewUUID()
		p.Labels["app"], p.Labels["pod-template-hash"] = name, hash
		p.OwnerReferences[0].Name, p.OwnerReferences[0].UID = r.Name, r.UID
		token := fmt.Sprintf("kube-api-access-%05x", at)
		p.Spec.Volumes[1].Name, p.Spec.Containers[0].VolumeMounts[1].Name = token, token
		p.Spec.NodeName = s.nodeOf(at)
		p.Status.HostIP, p.Status.PodIP = address(100, at%s.nodes), address(200, at)
		p.Status.HostIPs[0].IP, p.Status.PodIPs[0].IP = p.Status.HostIP, p.Status.PodIP
		p.Status.ContainerStatuses[0].ContainerID = fmt.Sprintf("containerd://%064x", at)
		p.ResourceVersion = ""
		age(p, time.Duration(at)*time.Second)
		if err := f.put("", "pods", p); err != nil {
			return err
		}
	}
	return nil
}
