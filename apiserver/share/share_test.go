package share

import (
	"reflect"
	"testing"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
)

func pod(name string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name = name
	p.Labels = map[string]string{"app": string([]byte("web")), "pod": name}
	p.Annotations = map[string]string{"a": string([]byte("b"))}
	p.Spec.NodeName = string([]byte("node"))
	p.Spec.Containers = append(make([]corev1.Container, 0, 4), corev1.Container{
		Name: "main", Image: string([]byte("image")), Env: []corev1.EnvVar{{Name: "A", Value: "1"}},
		VolumeMounts:  []corev1.VolumeMount{{Name: "token-" + name, MountPath: "/x"}},
		LivenessProbe: &corev1.Probe{PeriodSeconds: 3},
	})
	return p
}

// TestShares: equal parts are held once, also below parts that differ; neither
// object is changed.
func TestShares(t *testing.T) {
	a, b := pod("a"), pod("b")
	before, like := b.DeepCopy(), a.DeepCopy()
	got := With(kinds.Object(b), kinds.Object(a)).(*corev1.Pod)
	if !equality.Semantic.DeepEqual(got, before) || !reflect.DeepEqual(b, before) || !reflect.DeepEqual(a, like) {
		t.Fatalf("got %+v\nobj %+v\nlike %+v", got, b, a)
	}
	if got == b {
		t.Fatal("the object itself came back")
	}
	if reflect.ValueOf(got.Annotations).Pointer() != reflect.ValueOf(a.Annotations).Pointer() {
		t.Error("equal maps are two")
	}
	gc, ac := &got.Spec.Containers[0], &a.Spec.Containers[0]
	if &gc.Env[0] != &ac.Env[0] || gc.LivenessProbe != ac.LivenessProbe {
		t.Error("equal parts of a container that differs are two")
	}
	if unsafe.StringData(gc.Image) != unsafe.StringData(ac.Image) || unsafe.StringData(got.Labels["app"]) != unsafe.StringData(a.Labels["app"]) {
		t.Error("equal strings are two")
	}
	if cap(got.Spec.Containers) != 1 {
		t.Errorf("a copied slice has room for %d", cap(got.Spec.Containers))
	}
	if gc.VolumeMounts[0].Name != "token-b" || ac.VolumeMounts[0].Name != "token-a" {
		t.Error("parts that differ were shared")
	}
}

// TestNilAndEmpty: what is absent stays different from what is empty.
func TestNilAndEmpty(t *testing.T) {
	a, b := &corev1.Pod{}, &corev1.Pod{}
	a.Labels, b.Annotations = map[string]string{}, map[string]string{}
	a.Finalizers, b.Spec.Containers = []string{}, []corev1.Container{}
	got := With(b, a)
	if !reflect.DeepEqual(got, b) {
		t.Errorf("got %#v", got)
	}
	if got := With[kinds.Object](&corev1.Secret{}, &corev1.Pod{}); reflect.TypeOf(got) != reflect.TypeFor[*corev1.Secret]() {
		t.Errorf("a %T came back", got)
	}
}

// TestEveryKind: for random objects of all kinds, and variations of them, the
// result is equal and the arguments are as before.
func TestEveryKind(t *testing.T) {
	for _, k := range all.Table().All() {
		t.Run(k.Resource, func(t *testing.T) {
			for seed := range int64(20) {
				like, obj := k.New(), k.New()
				fill(seed, like)
				if seed%2 == 0 {
					fill(seed+1000, obj)
				} else {
					obj = like.DeepCopyObject().(kinds.Object)
					obj.SetName("other")
					obj.SetLabels(map[string]string{"x": "y"})
				}
				obj0, like0 := obj.DeepCopyObject(), like.DeepCopyObject()
				got := With(obj, like)
				if !reflect.DeepEqual(got, obj) {
					t.Fatalf("seed %d: got\n%#v\nwant\n%#v", seed, got, obj)
				}
				if !reflect.DeepEqual(obj, obj0.(kinds.Object)) || !reflect.DeepEqual(like, like0.(kinds.Object)) {
					t.Fatalf("seed %d: an argument was changed", seed)
				}
				if same := With(obj.DeepCopyObject().(kinds.Object), obj); same == obj || !reflect.DeepEqual(same, obj) {
					t.Fatalf("seed %d: a copy of itself becomes\n%#v", seed, same)
				}
			}
		})
	}
}

func fill(seed int64, obj kinds.Object) {
	randfill.NewWithSeed(seed).NilChance(0.4).NumElements(0, 3).MaxDepth(14).Funcs(
		func(*runtime.Object, randfill.Continue) {},
		func(r *runtime.RawExtension, c randfill.Continue) { r.Raw = []byte(c.String(9)) },
	).Fill(obj)
}

func BenchmarkPods(b *testing.B) {
	x, y := pod("a"), pod("b")
	b.ReportAllocs()
	for b.Loop() {
		With(kinds.Object(y), kinds.Object(x))
	}
}
