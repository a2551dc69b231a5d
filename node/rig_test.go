package node

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	coordination "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
	"skiff.dev/skiff/network"
	"skiff.dev/skiff/node/pressure"
	"skiff.dev/skiff/volume"
)

// memAPI is an API server in memory: enough of it for a node, with graceful
// deletion of pods.
type memAPI struct {
	client.Client // nil: what is not overridden is not expected
	scheme        *runtime.Scheme
	mu            sync.Mutex
	objects       map[string]client.Object
	rev, uids     int
	handlers      map[string][]toolscache.ResourceEventHandler
	queue         chan func()
	patches       []string // of pod status
	changed       func()
}

func (a *memAPI) onChange(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changed = f
}

func newMemAPI() *memAPI {
	s := runtime.NewScheme()
	v1.AddToScheme(s)
	coordination.AddToScheme(s)
	return &memAPI{scheme: s, objects: map[string]client.Object{}, handlers: map[string][]toolscache.ResourceEventHandler{}, queue: make(chan func(), 10000)}
}

func (a *memAPI) run(ctx context.Context) {
	for {
		select {
		case f := <-a.queue:
			f()
		case <-ctx.Done():
			return
		}
	}
}

func (a *memAPI) kind(obj runtime.Object) string {
	gvk, err := apiutil.GVKForObject(obj, a.scheme)
	if err != nil {
		panic(err)
	}
	return gvk.Kind
}

func (a *memAPI) key(obj client.Object) string {
	return a.kind(obj) + "/" + obj.GetNamespace() + "/" + obj.GetName()
}

func (a *memAPI) notFound(kind, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: strings.ToLower(kind) + "s"}, name)
}

// put stores and announces; a.mu is held.
func (a *memAPI) put(obj client.Object) {
	a.rev++
	obj.SetResourceVersion(fmt.Sprint(a.rev))
	k := a.key(obj)
	old := a.objects[k]
	a.objects[k] = obj
	a.announce(a.kind(obj), func(h toolscache.ResourceEventHandler) {
		if old == nil {
			h.OnAdd(obj, false)
		} else {
			h.OnUpdate(old, obj)
		}
	})
}

func (a *memAPI) announce(kind string, f func(toolscache.ResourceEventHandler)) {
	if a.changed != nil {
		a.changed()
	}
	for _, h := range a.handlers[kind] {
		a.queue <- func() { f(h) }
	}
}

func (a *memAPI) Scheme() *runtime.Scheme { return a.scheme }

func (a *memAPI) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	kind := a.kind(obj)
	have := a.objects[kind+"/"+key.Namespace+"/"+key.Name]
	if have == nil {
		return a.notFound(kind, key.Name)
	}
	copyInto(obj, have)
	return nil
}

func copyInto(dst, src client.Object) {
	reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(src.DeepCopyObject()).Elem())
}

func (a *memAPI) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var o client.ListOptions
	o.ApplyOptions(opts)
	kind := strings.TrimSuffix(a.kind(list), "List")
	var items []runtime.Object
	for k, obj := range a.objects {
		if strings.HasPrefix(k, kind+"/") && (o.Namespace == "" || obj.GetNamespace() == o.Namespace) {
			items = append(items, obj.DeepCopyObject())
		}
	}
	return meta.SetList(list, items)
}

func (a *memAPI) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := obj.(*v1.Event); ok {
		// Names are made of the time, which stands still in a bubble.
		a.uids++
		obj.SetName(fmt.Sprintf("%s.%d", obj.GetName(), a.uids))
	}
	if a.objects[a.key(obj)] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{}, obj.GetName())
	}
	if obj.GetUID() == "" {
		a.uids++
		obj.SetUID(types.UID(fmt.Sprintf("uid-%d", a.uids)))
		if _, ok := obj.(*v1.Pod); ok {
			obj.SetUID(types.UID("uid-" + obj.GetName()))
		}
	}
	obj.SetCreationTimestamp(metav1.Now())
	if obj.GetGeneration() == 0 {
		obj.SetGeneration(1)
	}
	a.put(obj.DeepCopyObject().(client.Object))
	return nil
}

func (a *memAPI) Update(_ context.Context, obj client.Object, _ ...client.UpdateOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.objects[a.key(obj)] == nil {
		return a.notFound(a.kind(obj), obj.GetName())
	}
	a.put(obj.DeepCopyObject().(client.Object))
	return nil
}

func (a *memAPI) Patch(_ context.Context, obj client.Object, p client.Patch, _ ...client.PatchOption) error {
	return a.patch(obj, p)
}

func (a *memAPI) patch(obj client.Object, p client.Patch) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	have := a.objects[a.key(obj)]
	if have == nil {
		return a.notFound(a.kind(obj), obj.GetName())
	}
	data, err := p.Data(obj)
	if err != nil {
		return err
	}
	if strings.HasPrefix(a.key(obj), "Pod/") {
		a.patches = append(a.patches, string(data))
		var m struct{ Metadata struct{ UID types.UID } }
		if err := json.Unmarshal(data, &m); err != nil {
			return err
		}
		if m.Metadata.UID != have.GetUID() {
			return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, obj.GetName(), fmt.Errorf("another uid"))
		}
	}
	before, err := json.Marshal(have)
	if err != nil {
		return err
	}
	var after []byte
	switch p.Type() {
	case types.StrategicMergePatchType:
		after, err = strategicpatch.StrategicMergePatch(before, data, obj)
	default:
		after, err = jsonpatch.MergePatch(before, data)
	}
	if err != nil {
		return err
	}
	next := reflect.New(reflect.TypeOf(obj).Elem()).Interface().(client.Object)
	if err := json.Unmarshal(after, next); err != nil {
		return err
	}
	a.put(next)
	copyInto(obj, next)
	return nil
}

type memStatus struct {
	client.SubResourceWriter
	a *memAPI
}

func (s memStatus) Patch(_ context.Context, obj client.Object, p client.Patch, _ ...client.SubResourcePatchOption) error {
	return s.a.patch(obj, p)
}

func (a *memAPI) Status() client.SubResourceWriter { return memStatus{a: a} }

func (a *memAPI) Delete(_ context.Context, obj client.Object, opts ...client.DeleteOption) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var o client.DeleteOptions
	o.ApplyOptions(opts)
	have := a.objects[a.key(obj)]
	if have == nil {
		return a.notFound(a.kind(obj), obj.GetName())
	}
	if o.Preconditions != nil && o.Preconditions.UID != nil && *o.Preconditions.UID != have.GetUID() {
		return apierrors.NewConflict(schema.GroupResource{}, obj.GetName(), fmt.Errorf("uid"))
	}
	if pod, ok := have.(*v1.Pod); ok {
		grace := int64(30)
		if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
			grace = *g
		}
		if o.GracePeriodSeconds != nil {
			grace = *o.GracePeriodSeconds
		}
		if grace > 0 {
			next := pod.DeepCopy()
			now := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
			next.DeletionTimestamp, next.DeletionGracePeriodSeconds = &now, &grace
			next.Generation++
			a.put(next)
			return nil
		}
	}
	delete(a.objects, a.key(obj))
	a.announce(a.kind(obj), func(h toolscache.ResourceEventHandler) { h.OnDelete(have) })
	return nil
}

type memCache struct {
	cache.Cache
	a *memAPI
}

func (c memCache) List(ctx context.Context, l client.ObjectList, o ...client.ListOption) error {
	return c.a.List(ctx, l, o...)
}

func (c memCache) GetInformer(_ context.Context, obj client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return &memInformer{a: c.a, kind: c.a.kind(obj)}, nil
}

type memInformer struct {
	cache.Informer
	a    *memAPI
	kind string
}

type synced struct {
	toolscache.ResourceEventHandlerRegistration
}

func (synced) HasSynced() bool { return true }

func (i *memInformer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	i.a.mu.Lock()
	defer i.a.mu.Unlock()
	for k, obj := range i.a.objects {
		if strings.HasPrefix(k, i.kind+"/") {
			h.OnAdd(obj, true)
		}
	}
	i.a.handlers[i.kind] = append(i.a.handlers[i.kind], h)
	return synced{}, nil
}

// fakeNetwork gives addresses in order.
type fakeNetwork struct {
	mu    sync.Mutex
	ips   map[string]string
	calls []string
	fail  error
	stuck error // of Remove
}

func (f *fakeNetwork) Add(_ context.Context, r network.PodRequest) (network.PodStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return network.PodStatus{}, f.fail
	}
	if f.ips == nil {
		f.ips = map[string]string{}
	}
	if f.ips[r.UID] == "" {
		f.ips[r.UID] = fmt.Sprintf("10.244.0.%d", len(f.calls)+2)
		f.calls = append(f.calls, "add "+r.Name)
	}
	return network.PodStatus{IPs: []string{f.ips[r.UID]}}, nil
}

func (f *fakeNetwork) Remove(_ context.Context, uid string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck != nil {
		return f.stuck
	}
	if f.ips[uid] != "" {
		f.calls = append(f.calls, "remove "+uid)
		delete(f.ips, uid)
	}
	return nil
}

// fakeVolumes gives paths that do not exist.
type fakeVolumes struct {
	mu    sync.Mutex
	calls []string
	fail  error
	dir   string // before the paths
}

func (f *fakeVolumes) Mount(_ context.Context, pod *v1.Pod) (map[string]volume.Mount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "mount "+pod.Name)
	out := map[string]volume.Mount{}
	for _, v := range pod.Spec.Volumes {
		out[v.Name] = volume.Mount{Path: f.dir + "/volumes/" + v.Name}
	}
	return out, f.fail
}

func (f *fakeVolumes) Unmount(_ context.Context, uid string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "unmount "+uid)
	return nil
}

// rig is a node over fakes, in a synctest bubble.
type rig struct {
	t      *testing.T
	api    *memAPI
	engine *enginetest.Fake
	net    *fakeNetwork
	vols   *fakeVolumes
	node   *Node
	dir    string
	stop   func()

	measure    atomic.Pointer[func() pressure.Measured]
	staticPods string
}

// setMeasure says from now on what is left of the machine.
func (r *rig) setMeasure(f func() pressure.Measured) { r.measure.Store(&f) }

func newRig(t *testing.T, dir string) *rig {
	r := &rig{t: t, api: newMemAPI(), engine: enginetest.NewFake("busybox"), net: &fakeNetwork{}, vols: &fakeVolumes{}, dir: dir}
	r.setMeasure(func() pressure.Measured { return pressure.Measured{} })
	return r
}

// start runs the node; stop ends it, and it may be started again.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	n, err := New(Options{
		Name: "n1", Client: r.api, Cache: memCache{a: r.api}, Engine: r.engine, Network: r.net, Volumes: r.vols,
		Measure: func() pressure.Measured { return (*r.measure.Load())() }, StaticPods: r.staticPods,
		NodeIPs: []string{"192.0.2.1"}, RootDir: r.dir, ClusterDNS: []string{"10.96.0.10"},
		Capacity: v1.ResourceList{"cpu": mustQuantity("4"), "memory": mustQuantity("8Gi"), "ephemeral-storage": mustQuantity("100Gi")},
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
		r.api.mu.Lock()
		r.api.handlers = map[string][]toolscache.ResourceEventHandler{}
		r.api.mu.Unlock()
	}
	select {
	case <-n.Started():
	case err := <-done:
		r.t.Fatalf("node ended: %v", err)
	}
}

func (r *rig) pod(name string) *v1.Pod {
	p := &v1.Pod{}
	if err := r.api.Get(r.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, p); err != nil {
		return nil
	}
	return p
}

// make creates a pod bound to the node.
func (r *rig) make(name string, spec v1.PodSpec) *v1.Pod {
	r.t.Helper()
	spec.NodeName = "n1"
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = v1.RestartPolicyAlways
	}
	p := &v1.Pod{Spec: spec}
	p.Name, p.Namespace = name, "default"
	p.Status.Phase = v1.PodPending
	for _, list := range [][]v1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Image == "" {
				list[i].Image = "busybox"
			}
		}
	}
	if err := r.api.Create(r.t.Context(), p); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// wait lets everything settle, and then d pass.
func (r *rig) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// line renders a pod's status in one line.
func (r *rig) line(name string) string {
	p := r.pod(name)
	if p == nil {
		return "gone"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s", p.Status.Phase)
	if p.Status.Reason != "" {
		fmt.Fprintf(&b, "(%s)", p.Status.Reason)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == v1.PodReady {
			fmt.Fprintf(&b, " ready=%s", c.Status)
		}
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		fmt.Fprintf(&b, " %s:%s", s.Name, stateText(s.State))
		if s.RestartCount > 0 {
			fmt.Fprintf(&b, "x%d", s.RestartCount)
		}
	}
	return b.String()
}

func stateText(s v1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return fmt.Sprintf("%s(%d)", s.Terminated.Reason, s.Terminated.ExitCode)
	case s.Waiting != nil:
		return s.Waiting.Reason
	}
	return "?"
}

func (r *rig) expect(name, want string) {
	r.t.Helper()
	if got := r.line(name); got != want {
		r.t.Errorf("pod %s\n got: %s\nwant: %s", name, got, want)
	}
}

// events lists reasons and messages of the pod's events, oldest first.
func (r *rig) events(name string) []string {
	r.api.mu.Lock()
	defer r.api.mu.Unlock()
	var all []*v1.Event
	for _, o := range r.api.objects {
		if e, ok := o.(*v1.Event); ok && e.InvolvedObject.Name == name {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b *v1.Event) int {
		return cmp.Or(a.FirstTimestamp.Compare(b.FirstTimestamp.Time), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	var out []string
	for _, e := range all {
		out = append(out, e.Reason+": "+e.Message)
	}
	return out
}

func (r *rig) hasEvent(name, want string) {
	r.t.Helper()
	if got := r.events(name); !slices.Contains(got, want) {
		r.t.Errorf("no event %q among\n%s", want, strings.Join(got, "\n"))
	}
}

func (r *rig) delete(name string, opts ...client.DeleteOption) {
	r.t.Helper()
	p := &v1.Pod{}
	p.Namespace, p.Name = "default", name
	if err := r.api.Delete(r.t.Context(), p, opts...); err != nil {
		r.t.Fatal(err)
	}
}

// id finds the newest instance of a container.
func (r *rig) id(container string) string {
	all, _ := r.engine.List(r.t.Context(), map[string]string{"io.kubernetes.container.name": container})
	var best *engine.Container
	for _, c := range all {
		if best == nil || attemptOf(c) > attemptOf(best) {
			best = c
		}
	}
	if best == nil {
		r.t.Fatalf("no container %s", container)
	}
	return best.Spec.ID
}
