package ownership

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/randfill"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
)

// filler makes objects of random contents, small enough to be compared.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.6).NumElements(1, 2).MaxDepth(9)
}

func withoutTimes(in []metav1.ManagedFieldsEntry) string {
	out := make([]metav1.ManagedFieldsEntry, len(in))
	for i := range in {
		out[i] = in[i]
		out[i].Time = nil
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// roundTrip gives a random object the form that decoding gives.
func roundTrip(t *testing.T, k *kinds.Kind, obj kinds.Object) kinds.Object {
	t.Helper()
	b, err := json.Marshal(obj)
	if err != nil {
		return nil
	}
	out := k.New()
	if json.Unmarshal(b, out) != nil {
		return nil
	}
	out.SetManagedFields(nil)
	out.SetUID("")
	return out
}

// TestShortcuts holds that the cheap ways to managed fields give exactly what
// apimachinery's field manager gives, for random objects of many kinds.
func TestShortcuts(t *testing.T) {
	table := all.Table()
	m := New(scheme.New(), table.ByGVK)
	compared := 0
	for _, k := range table.All() {
		switch k.Kind {
		case "Pod", "Deployment", "Service", "ConfigMap", "Secret", "Node", "Ingress", "NetworkPolicy", "Role", "Job", "PersistentVolume", "Lease":
		default:
			continue
		}
		t.Run(k.Kind, func(t *testing.T) {
			for seed := range int64(12) {
				obj := k.New()
				filler(seed).Fill(obj)
				obj = roundTrip(t, k, obj)
				if obj == nil {
					continue
				}
				compared++
				slow := m.slow(k, nil, "", k.New(), obj.DeepCopyObject().(kinds.Object), "me")
				m.Update(k, nil, "", k.New(), obj.DeepCopyObject().(kinds.Object), "me") // remembers the shape
				fast := m.Update(k, nil, "", k.New(), obj.DeepCopyObject().(kinds.Object), "me")
				if a, b := withoutTimes(slow.GetManagedFields()), withoutTimes(fast.GetManagedFields()); a != b {
					t.Fatalf("create, seed %d:\n slow %s\n fast %s", seed, a, b)
				}
				// Change a part of it.
				slow.SetUID("u")
				live := slow
				changed := live.DeepCopyObject().(kinds.Object)
				mutate(reflect.ValueOf(changed).Elem(), rand.New(rand.NewPCG(uint64(seed), 1)))
				changed = roundTrip(t, k, changed)
				if changed == nil {
					continue
				}
				changed.SetUID("u")
				want := m.slow(k, nil, "", live, changed.DeepCopyObject().(kinds.Object), "you")
				got := m.change(k, nil, "", live, changed.DeepCopyObject().(kinds.Object), "you")
				if a, b := withoutTimes(want.GetManagedFields()), withoutTimes(got.GetManagedFields()); a != b {
					t.Fatalf("update, seed %d:\n slow %s\n fast %s", seed, a, b)
				}
			}
		})
	}
	if compared < 50 {
		t.Errorf("only %d objects could be compared", compared)
	}
}

// mutate changes some scalar fields, maps and lists.
func mutate(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && r.IntN(8) > 0 {
			mutate(v.Elem(), r)
		} else if v.CanSet() && r.IntN(8) == 0 {
			v.SetZero()
		}
	case reflect.Struct:
		if custom(v.Type()) {
			return
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && f.Type() != fieldsType {
				mutate(f, r)
			}
		}
	case reflect.Map:
		if r.IntN(4) == 0 && v.CanSet() && v.Type().Elem().Kind() == reflect.String {
			n := reflect.MakeMap(v.Type())
			n.SetMapIndex(reflect.ValueOf(fmt.Sprint("k", r.IntN(3))).Convert(v.Type().Key()), reflect.ValueOf("x").Convert(v.Type().Elem()))
			v.Set(n)
		}
	case reflect.Slice:
		if r.IntN(6) == 0 && v.CanSet() {
			v.SetZero()
			return
		}
		for i := range v.Len() {
			mutate(v.Index(i), r)
		}
	case reflect.String:
		if r.IntN(5) == 0 && v.CanSet() {
			v.SetString(fmt.Sprint("s", r.IntN(100)))
		}
	case reflect.Int32, reflect.Int64:
		if r.IntN(5) == 0 && v.CanSet() {
			v.SetInt(int64(r.IntN(100)))
		}
	}
}

// TestOldGroup: a change through a version of a group that the kind no longer lives
// in takes the fields over, as one through today's version does.
func TestOldGroup(t *testing.T) {
	table := all.Table()
	m := New(scheme.New(), table.ByGVK)
	old := schema.GroupVersionKind{Group: "extensions", Version: "v1beta1", Kind: "Deployment"}
	k, _ := table.ByGVK(old)
	v, _ := k.ServedAs(old.GroupVersion())
	obj := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1)}}
	obj.Name = "web"
	live := m.Update(k, nil, "", k.New(), obj, "create")
	live.SetUID("u")
	changed := live.DeepCopyObject().(*appsv1.Deployment)
	changed.Spec.Replicas = ptr.To[int32](2)
	got := withoutTimes(m.Update(k, v, "", live, changed, "scale").GetManagedFields())
	for _, want := range []string{`"manager":"scale","operation":"Update","apiVersion":"extensions/v1beta1"`, `"fieldsV1":{"f:spec":{"f:replicas":{}}}`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
}
