package codec

import (
	"bytes"
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
)

var podKind = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", Labels: map[string]string{"a": "b"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
}

func kind() *kinds.Kind {
	return &kinds.Kind{Version: "v1", Kind: "Pod", Resource: "pods", New: func() kinds.Object { return &corev1.Pod{} }}
}

// TestRoundTrips holds that every medium gives back what was put in.
func TestRoundTrips(t *testing.T) {
	for _, m := range []Media{JSON, YAML, Protobuf} {
		b, err := Object(m, podKind, pod())
		if err != nil {
			t.Fatal(err)
		}
		got := &corev1.Pod{}
		gvk, strict, err := DecodeInto(m, b, got, Report)
		if err != nil || len(strict) > 0 || gvk != podKind {
			t.Errorf("%s: %v %v %v in\n%s", m.ContentType(), gvk, strict, err, b)
		}
		if got.Name != "p" || got.Spec.Containers[0].Image != "i" || got.Labels["a"] != "b" {
			t.Errorf("%s: got %+v", m.ContentType(), got)
		}
	}
	b, err := EncodeStored(kind(), pod())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Object(Protobuf, podKind, pod())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, whole) {
		t.Errorf("the stored form %q is not the protobuf form %q", b, whole)
	}
	back, err := DecodeStored(kind(), b)
	if err != nil || back.GetName() != "p" {
		t.Errorf("stored: %v %v", back, err)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	good, err := json.Marshal(pod())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","name":"b"},"nothing":1}`))
	f.Add([]byte(`[1,2]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		obj := &corev1.Pod{}
		if _, _, err := DecodeInto(JSON, data, obj, Report); err != nil {
			PeekType(JSON, data)
			return
		}
		if _, err := Object(JSON, podKind, obj); err != nil {
			t.Errorf("what was decoded cannot be encoded: %v", err)
		}
	})
}

func FuzzDecodeYAML(f *testing.F) {
	f.Add([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"))
	f.Add([]byte("a: &a [*a, *a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, _, err := DecodeInto(YAML, data, &corev1.Pod{}, Report); err != nil {
			PeekType(YAML, data)
		}
	})
}

func FuzzDecodeProtobuf(f *testing.F) {
	good, err := Object(Protobuf, podKind, pod())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("k8s\x00\x0a\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, _, err := DecodeInto(Protobuf, data, &corev1.Pod{}, Ignore); err != nil {
			PeekType(Protobuf, data)
		}
		if _, err := DecodeStored(kind(), data); err != nil {
			return
		}
	})
}

func FuzzPatchJSON(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2,3]}}`), []byte(`[{"op":"replace","path":"/a/b/0","value":7}]`))
	f.Add([]byte(`{}`), []byte(`[{"op":"copy","from":"/x","path":"/y"}]`))
	f.Fuzz(func(t *testing.T, doc, patch []byte) {
		if !json.Valid(doc) {
			return
		}
		if out, _, err := JSONPatch(doc, patch, Report); err == nil && !json.Valid(out) {
			t.Errorf("the patched document is no JSON: %s", out)
		}
	})
}

func FuzzPatchMerge(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1}}`), []byte(`{"a":null,"c":[]}`))
	f.Fuzz(func(t *testing.T, doc, patch []byte) {
		if !json.Valid(doc) {
			return
		}
		if out, _, err := MergePatch(doc, patch, Report); err == nil && !json.Valid(out) {
			t.Errorf("the patched document is no JSON: %s", out)
		}
	})
}

func FuzzPatchStrategic(f *testing.F) {
	f.Add([]byte(`{"spec":{"containers":[{"name":"c","image":"j"},{"$patch":"delete","name":"d"}]}}`))
	f.Add([]byte(`{"metadata":{"labels":{"a":null}},"$retainKeys":["x"]}`))
	f.Fuzz(func(t *testing.T, patch []byte) {
		into := &corev1.Pod{}
		if _, _, err := StrategicPatch(pod(), patch, into, Report); err != nil {
			return
		}
		if _, err := Object(JSON, podKind, into); err != nil {
			t.Errorf("what was patched cannot be encoded: %v", err)
		}
	})
}

func FuzzPatchApply(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}`))
	f.Add([]byte("apiVersion: v1\nkind: Pod\nkind: Pod\n"))
	f.Fuzz(func(t *testing.T, patch []byte) {
		if _, _, err := ApplyPatch(patch, Report); err != nil {
			return
		}
	})
}
