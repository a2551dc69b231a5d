package clienttest

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applyv1 "k8s.io/client-go/applyconfigurations/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Pair is a client and a cache of one server.
type Pair struct {
	Client crclient.WithWatch
	Cache  cache.Cache
}

// Run holds a pair against what its users rely on. open returns a pair of a server
// that has the namespace "default"; the cache is not started yet.
func Run(t *testing.T, open func(t *testing.T) Pair) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, p Pair)
	}{
		{"objects are the caller's own", testOwn},
		{"writes answer with the stored object", testWrites},
		{"typed errors", testErrors},
		{"lists by selectors", testLists},
		{"maps and metadata", testForms},
		{"patches", testPatches},
		{"subresources", testSubresources},
		{"watch with selectors", testWatch},
		{"informers", testInformers},
		{"late handlers", testLateHandler},
		{"index", testIndex},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func configMap(name string, labels map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels},
		Data:       map[string]string{"k": "v"},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testOwn(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	cm := configMap("own", nil)
	must(t, p.Client.Create(ctx, cm))
	cm.Data["k"] = "changed by the caller"
	var got corev1.ConfigMap
	must(t, p.Client.Get(ctx, crclient.ObjectKeyFromObject(cm), &got))
	if got.Data["k"] != "v" {
		t.Fatalf("the server shares its object with a creator: %v", got.Data)
	}
	got.Data["k"] = "changed by the reader"
	var list corev1.ConfigMapList
	must(t, p.Client.List(ctx, &list, crclient.InNamespace("default"), crclient.MatchingFields{"metadata.name": "own"}))
	if len(list.Items) != 1 || list.Items[0].Data["k"] != "v" {
		t.Fatalf("the server shares its object with a reader: %v", list.Items)
	}
	list.Items[0].Data["k"] = "changed by the lister"
	must(t, p.Client.Get(ctx, crclient.ObjectKeyFromObject(cm), &got))
	if got.Data["k"] != "v" {
		t.Fatalf("the server shares its object with a lister: %v", got.Data)
	}
}

func testWrites(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	cm := configMap("", nil)
	cm.GenerateName = "gen-"
	must(t, p.Client.Create(ctx, cm))
	if cm.Name == "" || cm.UID == "" || cm.ResourceVersion == "" {
		t.Fatalf("create did not answer with the stored object: %+v", cm.ObjectMeta)
	}
	before := cm.ResourceVersion
	cm.Data["k"] = "w"
	must(t, p.Client.Update(ctx, cm))
	if cm.ResourceVersion == before {
		t.Fatal("update did not answer with the new resourceVersion")
	}
	dry := cm.DeepCopy()
	dry.Data["k"] = "dry"
	must(t, p.Client.Update(ctx, dry, crclient.DryRunAll))
	var got corev1.ConfigMap
	must(t, p.Client.Get(ctx, crclient.ObjectKeyFromObject(cm), &got))
	if got.Data["k"] != "w" {
		t.Fatal("a dry run wrote")
	}
	must(t, p.Client.Delete(ctx, cm, crclient.Preconditions{UID: &cm.UID}))
	if err := p.Client.Get(ctx, crclient.ObjectKeyFromObject(cm), &got); !apierrors.IsNotFound(err) {
		t.Fatalf("after delete: %v", err)
	}
	for i := range 3 {
		must(t, p.Client.Create(ctx, configMap(fmt.Sprintf("all-%d", i), map[string]string{"set": "all"})))
	}
	must(t, p.Client.DeleteAllOf(ctx, &corev1.ConfigMap{}, crclient.InNamespace("default"), crclient.MatchingLabels{"set": "all"}))
	var list corev1.ConfigMapList
	must(t, p.Client.List(ctx, &list, crclient.MatchingLabels{"set": "all"}))
	if len(list.Items) != 0 {
		t.Fatalf("deleteAllOf left %d", len(list.Items))
	}
}

func testErrors(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	cm := configMap("errors", nil)
	must(t, p.Client.Create(ctx, cm))
	if err := p.Client.Create(ctx, configMap("errors", nil)); !apierrors.IsAlreadyExists(err) {
		t.Fatalf("second create: %v", err)
	}
	stale := cm.DeepCopy()
	cm.Data["k"] = "w"
	must(t, p.Client.Update(ctx, cm))
	stale.Data["k"] = "x"
	if err := p.Client.Update(ctx, stale); !apierrors.IsConflict(err) {
		t.Fatalf("stale update: %v", err)
	}
	other := types.UID("another")
	if err := p.Client.Delete(ctx, cm, crclient.Preconditions{UID: &other}); !apierrors.IsConflict(err) {
		t.Fatalf("delete with another uid: %v", err)
	}
	if err := p.Client.Get(ctx, crclient.ObjectKey{Name: "no-namespace"}, cm); err == nil {
		t.Fatal("get of a namespaced kind without a namespace succeeded")
	}
}

func testLists(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	for i := range 5 {
		must(t, p.Client.Create(ctx, configMap(fmt.Sprintf("list-%d", i), map[string]string{"suite": "lists", "odd": fmt.Sprint(i % 2)})))
	}
	var list corev1.ConfigMapList
	must(t, p.Client.List(ctx, &list, crclient.MatchingLabels{"suite": "lists", "odd": "1"}))
	if len(list.Items) != 2 || list.Items[0].Name != "list-1" || list.ResourceVersion == "" {
		t.Fatalf("by label: %v at %q", list.Items, list.ResourceVersion)
	}
	var names []string
	next := ""
	for {
		var page corev1.ConfigMapList
		must(t, p.Client.List(ctx, &page, crclient.InNamespace("default"), crclient.MatchingLabels{"suite": "lists"}, crclient.Limit(2), crclient.Continue(next)))
		for _, i := range page.Items {
			names = append(names, i.Name)
		}
		if next = page.Continue; next == "" {
			break
		}
	}
	if fmt.Sprint(names) != "[list-0 list-1 list-2 list-3 list-4]" {
		t.Fatalf("pages: %v", names)
	}
}

func testForms(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": "default", "name": "form", "labels": map[string]any{"suite": "forms"}},
		"data":     map[string]any{"k": "v"},
	}}
	must(t, p.Client.Create(ctx, u))
	if u.GetUID() == "" || u.GetKind() != "ConfigMap" || u.GetAPIVersion() != "v1" {
		t.Fatalf("created map: %v", u.Object)
	}
	var typed corev1.ConfigMap
	must(t, p.Client.Get(ctx, crclient.ObjectKeyFromObject(u), &typed))
	if typed.Data["k"] != "v" {
		t.Fatalf("typed: %v", typed.Data)
	}
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(gvk("", "v1", "ConfigMap"))
	must(t, p.Client.Get(ctx, crclient.ObjectKeyFromObject(u), m))
	if m.UID != u.GetUID() || m.Kind != "ConfigMap" {
		t.Fatalf("metadata: %+v", m)
	}
	ml := &metav1.PartialObjectMetadataList{}
	ml.SetGroupVersionKind(gvk("", "v1", "ConfigMapList"))
	must(t, p.Client.List(ctx, ml, crclient.MatchingLabels{"suite": "forms"}))
	if len(ml.Items) != 1 || ml.Items[0].Name != "form" {
		t.Fatalf("metadata list: %+v", ml.Items)
	}
	ul := &unstructured.UnstructuredList{}
	ul.SetGroupVersionKind(gvk("", "v1", "ConfigMapList"))
	must(t, p.Client.List(ctx, ul, crclient.MatchingLabels{"suite": "forms"}))
	if len(ul.Items) != 1 || ul.Items[0].GetName() != "form" || ul.Items[0].GetKind() != "ConfigMap" {
		t.Fatalf("list of maps: %+v", ul.Items)
	}
	must(t, p.Client.Delete(ctx, m))
}

func testPatches(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	cm := configMap("patch", nil)
	must(t, p.Client.Create(ctx, cm))
	base := cm.DeepCopy()
	cm.Data["more"] = "x"
	must(t, p.Client.Patch(ctx, cm, crclient.MergeFrom(base)))
	must(t, p.Client.Patch(ctx, cm, crclient.RawPatch(types.JSONPatchType, []byte(`[{"op":"replace","path":"/data/k","value":"y"}]`))))
	must(t, p.Client.Patch(ctx, cm, crclient.RawPatch(types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`))))
	if cm.Data["more"] != "x" || cm.Data["k"] != "y" || cm.Labels["a"] != "b" {
		t.Fatalf("patched: %v %v", cm.Data, cm.Labels)
	}
	ac := applyv1.ConfigMap("applied", "default").WithData(map[string]string{"k": "applied"})
	must(t, p.Client.Apply(ctx, ac, crclient.FieldOwner("suite")))
	if ac.UID == nil || ac.ResourceVersion == nil {
		t.Fatalf("apply did not answer with the stored object: %+v", ac.ObjectMetaApplyConfiguration)
	}
	var got corev1.ConfigMap
	must(t, p.Client.Get(ctx, crclient.ObjectKey{Namespace: "default", Name: "applied"}, &got))
	if got.Data["k"] != "applied" {
		t.Fatalf("applied: %v", got.Data)
	}
}

func testSubresources(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sub"},
		Spec:       corev1.PodSpec{SchedulerName: "none", Containers: []corev1.Container{{Name: "c", Image: "i", ImagePullPolicy: "IfNotPresent", TerminationMessagePolicy: "File"}}},
	}
	must(t, p.Client.Create(ctx, pod))
	pod.Status.Phase = corev1.PodRunning
	pod.Labels = map[string]string{"not": "written"}
	must(t, p.Client.Status().Update(ctx, pod))
	var got corev1.Pod
	must(t, p.Client.Get(ctx, crclient.ObjectKeyFromObject(pod), &got))
	if got.Status.Phase != corev1.PodRunning {
		t.Fatalf("status: %v", got.Status.Phase)
	}
	base := got.DeepCopy()
	got.Status.Message = "patched"
	must(t, p.Client.Status().Patch(ctx, &got, crclient.StrategicMergeFrom(base)))
	if got.Status.Message != "patched" || got.Status.Phase != corev1.PodRunning {
		t.Fatalf("patched status: %+v", got.Status)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sub"}, Target: corev1.ObjectReference{Kind: "Node", Name: "a-node"}}
	must(t, p.Client.SubResource("binding").Create(ctx, pod, binding))
	must(t, p.Client.Get(ctx, crclient.ObjectKeyFromObject(pod), &got))
	if got.Spec.NodeName != "a-node" {
		t.Fatalf("bound to %q", got.Spec.NodeName)
	}
	must(t, p.Client.Delete(ctx, pod, crclient.GracePeriodSeconds(0)))
}

func testWatch(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	must(t, p.Client.Create(ctx, configMap("watch-before", map[string]string{"suite": "watch"})))
	w, err := p.Client.Watch(ctx, &corev1.ConfigMapList{}, crclient.InNamespace("default"), crclient.MatchingLabels{"suite": "watch"})
	must(t, err)
	defer w.Stop()
	next := func(typ watch.EventType, name string) {
		t.Helper()
		e, ok := <-w.ResultChan()
		if cm, is := e.Object.(*corev1.ConfigMap); !ok || e.Type != typ || !is || cm.Name != name {
			t.Fatalf("event %s %v, want %s %s", e.Type, e.Object, typ, name)
		}
	}
	next(watch.Added, "watch-before")
	cm := configMap("watch-after", nil)
	must(t, p.Client.Create(ctx, cm))
	cm.Labels = map[string]string{"suite": "watch"}
	must(t, p.Client.Update(ctx, cm))
	next(watch.Added, "watch-after")
	cm.Data["k"] = "w"
	must(t, p.Client.Update(ctx, cm))
	next(watch.Modified, "watch-after")
	cm.Labels = nil
	must(t, p.Client.Update(ctx, cm))
	next(watch.Deleted, "watch-after")
}

// events is a handler that writes down what it hears of one suite.
type events struct {
	suite string
	ch    chan string
}

func (e *events) name(obj any) string {
	if d, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = d.Obj
	}
	o := obj.(crclient.Object)
	if o.GetLabels()["suite"] != e.suite {
		return ""
	}
	return fmt.Sprintf("%T %s", obj, o.GetName())
}

func (e *events) say(what string, obj any) {
	if n := e.name(obj); n != "" {
		e.ch <- what + " " + n
	}
}

func (e *events) OnAdd(obj any, initial bool) {
	if initial {
		e.say("initial", obj)
		return
	}
	e.say("add", obj)
}
func (e *events) OnUpdate(_, obj any) { e.say("update", obj) }
func (e *events) OnDelete(obj any)    { e.say("delete", obj) }

func (e *events) want(t *testing.T, ctx context.Context, want string) {
	t.Helper()
	select {
	case got := <-e.ch:
		if got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	case <-ctx.Done():
		t.Fatalf("never heard %q", want)
	}
}

func start(t *testing.T, ctx context.Context, p Pair) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.Cache.Start(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
}

func testInformers(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	must(t, p.Client.Create(ctx, configMap("inf-1", map[string]string{"suite": "inf"})))
	inf, err := p.Cache.GetInformer(ctx, &corev1.ConfigMap{})
	must(t, err)
	h := &events{"inf", make(chan string, 100)}
	reg, err := inf.AddEventHandler(h)
	must(t, err)
	start(t, ctx, p)
	if !p.Cache.WaitForCacheSync(ctx) {
		t.Fatal("not synced")
	}
	h.want(t, ctx, "initial *v1.ConfigMap inf-1")
	<-reg.HasSyncedChecker().Done()
	cm := configMap("inf-2", map[string]string{"suite": "inf"})
	must(t, p.Client.Create(ctx, cm))
	h.want(t, ctx, "add *v1.ConfigMap inf-2")
	cm.Data["k"] = "w"
	must(t, p.Client.Update(ctx, cm))
	h.want(t, ctx, "update *v1.ConfigMap inf-2")
	must(t, p.Client.Delete(ctx, cm))
	h.want(t, ctx, "delete *v1.ConfigMap inf-2")
}

func testLateHandler(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	start(t, ctx, p)
	if !p.Cache.WaitForCacheSync(ctx) {
		t.Fatal("not started")
	}
	must(t, p.Client.Create(ctx, configMap("late", map[string]string{"suite": "late"})))
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(gvk("", "v1", "ConfigMap"))
	inf, err := p.Cache.GetInformer(ctx, m)
	must(t, err)
	if !inf.HasSynced() {
		t.Fatal("GetInformer of a started cache returned before the first list")
	}
	h := &events{"late", make(chan string, 100)}
	reg, err := inf.AddEventHandler(h)
	must(t, err)
	h.want(t, ctx, "initial *v1.PartialObjectMetadata late")
	<-reg.HasSyncedChecker().Done()
	must(t, inf.RemoveEventHandler(reg))
	must(t, p.Cache.RemoveInformer(ctx, m))
}

func testIndex(t *testing.T, p Pair) {
	ctx := ctxOf(t)
	must(t, p.Cache.IndexField(ctx, &corev1.ConfigMap{}, "data.k", func(o crclient.Object) []string {
		return []string{o.(*corev1.ConfigMap).Data["k"]}
	}))
	cm := configMap("indexed", map[string]string{"suite": "index"})
	cm.Data["k"] = "wanted"
	must(t, p.Client.Create(ctx, cm))
	start(t, ctx, p)
	h := &events{"index", make(chan string, 100)}
	inf, err := p.Cache.GetInformer(ctx, &corev1.ConfigMap{})
	must(t, err)
	_, err = inf.AddEventHandler(h)
	must(t, err)
	h.want(t, ctx, "initial *v1.ConfigMap indexed")
	count := func() int {
		var list corev1.ConfigMapList
		must(t, p.Cache.List(ctx, &list, crclient.InNamespace("default"), crclient.MatchingFields{"data.k": "wanted"}))
		return len(list.Items)
	}
	if n := count(); n != 1 {
		t.Fatalf("index found %d", n)
	}
	cm.Data["k"] = "other"
	must(t, p.Client.Update(ctx, cm))
	h.want(t, ctx, "update *v1.ConfigMap indexed")
	if n := count(); n != 0 {
		t.Fatalf("index still finds %d", n)
	}
}
