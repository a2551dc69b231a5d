package ownership

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	builtin "skiff.dev/skiff/apiserver/openapi/typed"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
)

const seeds = 15

var longAgo = metav1.NewTime(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))

// aged sets all entries' times to longAgo.
func aged(obj kinds.Object) kinds.Object {
	entries := obj.GetManagedFields()
	for i := range entries {
		entries[i].Time = &longAgo
	}
	obj.SetManagedFields(entries)
	return obj
}

// shown is an object as text, where a time tells only whether it is new.
func shown(obj kinds.Object) string {
	c := obj.DeepCopyObject().(kinds.Object)
	entries := c.GetManagedFields()
	for i := range entries {
		if !entries[i].Time.Equal(&longAgo) {
			entries[i].Time = nil
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// nudge changes values in a document, mostly without adding any.
func nudge(v any, r *rand.Rand) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if k == "metadata" || k == "apiVersion" || k == "kind" {
				continue
			}
			v[k] = nudge(v[k], r)
		}
		if r.IntN(100) == 0 {
			v["extra"] = "x"
		}
	case []any:
		for i := range v {
			v[i] = nudge(v[i], r)
		}
	case string:
		if r.IntN(6) == 0 {
			return fmt.Sprint(v, r.IntN(9))
		}
	case int64:
		if r.IntN(6) == 0 {
			return v%1000 + int64(r.IntN(9))
		}
	}
	return v
}

func documentOf(t *testing.T, k *kinds.Kind, obj kinds.Object) map[string]any {
	t.Helper()
	doc, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	doc["apiVersion"], doc["kind"] = codec.GVK(k, nil).ToAPIVersionAndKind()
	meta := doc["metadata"].(map[string]any)
	for name := range meta {
		if stripped[name] {
			delete(meta, name)
		}
	}
	meta["name"] = obj.GetName()
	if len(k.Subresources) > 0 {
		delete(doc, "status")
	}
	return prunedOfZeros(doc).(map[string]any)
}

// prunedOfZeros is what a person would write down.
func prunedOfZeros(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			x = prunedOfZeros(x)
			if x == nil || reflect.ValueOf(x).IsZero() {
				delete(v, k)
				continue
			}
			v[k] = x
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			if v[i] = prunedOfZeros(v[i]); v[i] == nil {
				return nil
			}
		}
		if len(v) == 0 {
			return nil
		}
	}
	return v
}

// TestValues holds that applying and updating values that are owned already gives
// exactly what apimachinery's field manager gives.
func TestValues(t *testing.T) {
	table := all.Table()
	m := New(scheme.New(), table.ByGVK)
	applied, updated, slow := 0, 0, 0
	for _, k := range table.All() {
		switch k.Kind {
		case "Pod", "Deployment", "Service", "ConfigMap", "Secret", "Node", "Ingress", "NetworkPolicy", "Role", "Job", "PersistentVolume", "Lease", "EndpointSlice":
		default:
			continue
		}
		for seed := range int64(seeds) {
			r := rand.New(rand.NewPCG(uint64(seed), 2))
			obj := k.New()
			filler(seed).Fill(obj)
			if obj = roundTrip(t, k, obj); obj == nil {
				continue
			}
			obj.SetName("n")
			doc := documentOf(t, k, obj)
			patch := func(d map[string]any) *unstructured.Unstructured {
				return (&unstructured.Unstructured{Object: d}).DeepCopy()
			}
			live, err := m.Apply(k, nil, "", k.New(), patch(doc), "a", true)
			if err != nil {
				continue
			}
			live.SetUID("u")
			live.SetNamespace(obj.GetNamespace())
			if seed%3 == 0 { // another writer, who may own some of it
				changed := live.DeepCopyObject().(kinds.Object)
				mutate(reflect.ValueOf(changed).Elem(), r)
				changed.SetName("n")
				changed.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
				changed.SetManagedFields(live.GetManagedFields())
				live = m.slow(k, nil, "", live, changed, "b")
			}
			aged(live)
			before := shown(live)
			for range 6 {
				next := nudge(patch(doc).Object, r).(map[string]any)
				if name := m.outlineOf(k, nil, "", live, patch(next), "a"); name != nil {
					if _, ok := m.reapply(k, "", live, patch(next), "a", name); ok {
						applied++
					} else {
						slow++
					}
				}
				want, err1 := m.merge(k, nil, "", live, patch(next), "a", seed%2 == 0)
				got, err2 := m.Apply(k, nil, "", live, patch(next), "a", seed%2 == 0)
				if told(err1) != told(err2) {
					t.Fatalf("%s, seed %d: apply:\n want %v\n got  %v", k.Kind, seed, err1, err2)
				}
				if err1 == nil && shown(want) != shown(got) {
					d, _ := json.Marshal(next)
					t.Fatalf("%s, seed %d: apply %s\n live %s\n want %s\n got  %s", k.Kind, seed, d, before, shown(want), shown(got))
				}
			}
			for _, sub := range []string{"", "status"} {
				if _, ok := k.Subresources[sub]; sub != "" && !ok {
					continue
				}
				// The second change is the owner's own.
				first, second := live.DeepCopyObject().(kinds.Object), live.DeepCopyObject().(kinds.Object)
				mutate(reflect.ValueOf(first).Elem(), rand.New(rand.NewPCG(uint64(seed), 7)))
				first.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
				first = aged(m.slow(k, nil, sub, live, first, "c"))
				first.SetUID("u")
				copyInto(second, first)
				mutate(reflect.ValueOf(second).Elem(), rand.New(rand.NewPCG(uint64(seed), 7)))
				mutateValues(reflect.ValueOf(second).Elem(), r)
				second.SetUID("u")
				second.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
				second.SetManagedFields(nil)
				a, b := codec.Shallow(first), codec.Shallow(second)
				prune(a, b)
				if _, done := m.update(k, sub, a, b, first.GetManagedFields(), "c"); done {
					updated++
				}
				want := m.slow(k, nil, sub, first, second.DeepCopyObject().(kinds.Object), "c")
				got := m.change(k, nil, sub, first, second.DeepCopyObject().(kinds.Object), "c")
				if x, y := shown(want), shown(got); x != y {
					t.Fatalf("%s, seed %d, %q: update\n live %s\n want %s\n got  %s", k.Kind, seed, sub, shown(first), x, y)
				}
			}
			if after := shown(live); after != before {
				t.Fatalf("%s, seed %d: the live object was changed:\n was %s\n is  %s", k.Kind, seed, before, after)
			}
		}
	}
	t.Logf("%d applies and %d updates took the short way, %d applies could not", applied, updated, slow)
	if applied < 50 || updated < 20 {
		t.Error("too few took the short way to say anything")
	}
}

// told is a conflict's text, or that an error is something else: what that quotes
// depends on the order of maps.
func told(err error) string {
	if err != nil && !apierrors.IsConflict(err) {
		return "no conflict"
	}
	return fmt.Sprint(err)
}

// TestSameTypes holds that the embedded schemas say of random objects of every kind
// and version what those of client-go's apply configurations say.
func TestSameTypes(t *testing.T) {
	types := scheme.New()
	mine, err := builtin.Converter(types)
	if err != nil {
		t.Fatal(err)
	}
	theirs := applyconfigurations.NewTypeConverter(types)
	compared := 0
	for _, k := range all.Table().All() {
		for i := range k.Served {
			v := &k.Served[i]
			for seed := range int64(3) {
				obj := codec.New(k, v)
				filler(seed).Funcs(func(*runtime.RawExtension, randfill.Continue) {}).Fill(obj)
				raw, err := json.Marshal(obj)
				obj = codec.New(k, v)
				if err != nil || json.Unmarshal(raw, obj) != nil {
					continue
				}
				obj.GetObjectKind().SetGroupVersionKind(codec.GVK(k, v))
				want, err1 := theirs.ObjectToTyped(obj, typed.AllowDuplicates)
				got, err2 := mine.ObjectToTyped(obj, typed.AllowDuplicates)
				if err1 != nil && strings.Contains(err1.Error(), "no type found") {
					continue // client-go leaves some out
				}
				if (err1 == nil) != (err2 == nil) {
					t.Errorf("%s: %v, but %v", codec.GVK(k, v), err2, err1)
					break
				}
				if err1 != nil {
					continue
				}
				x, err1 := want.ToFieldSet()
				y, err2 := got.ToFieldSet()
				if err1 != nil || err2 != nil || !x.Equals(y) {
					t.Errorf("%s: %v, but %v", codec.GVK(k, v), y, x)
				}
				compared++
			}
		}
	}
	if compared < 150 {
		t.Errorf("only %d objects could be compared", compared)
	}
}

func copyInto(to, from kinds.Object) {
	reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from.DeepCopyObject()).Elem())
}

// mutateValues gives strings and numbers other values.
func mutateValues(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			mutateValues(v.Elem(), r)
		}
	case reflect.Struct:
		if custom(v.Type()) {
			return
		}
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && f.Type() != fieldsType {
				mutateValues(f, r)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			mutateValues(v.Index(i), r)
		}
	case reflect.String:
		if v.CanSet() && v.Len() > 0 && r.IntN(8) == 0 {
			v.SetString(v.String() + "x")
		}
	}
}
