package dynamic

import (
	"encoding/json"
	"reflect"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestJSON(t *testing.T) {
	const text = `{"kind":"X","apiVersion":"g/v2","metadata":{"name":"a","labels":{"l":"<v>"}},"spec":{"f":1.5,"list":[1,"b",null,true],"n":9007199254740993},"z":null}`
	o := &Object{}
	if err := json.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	spec := o.Fields["spec"].(map[string]any)
	if o.Version != "v2" || o.Name != "a" || spec["n"] != int64(9007199254740993) || spec["f"] != 1.5 {
		t.Errorf("%+v", o)
	}
	if _, ok := o.Fields["metadata"]; ok {
		t.Error("metadata is no field")
	}
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var x, y any
	if json.Unmarshal(b, &x) != nil || json.Unmarshal([]byte(text), &y) != nil || !reflect.DeepEqual(x, y) {
		t.Errorf("got  %s\nwant %s", b, text)
	}
	o.TypeMeta = metav1.TypeMeta{}
	if b, _ = json.Marshal(o); json.Unmarshal(b, &x) != nil || x.(map[string]any)["kind"] != nil {
		t.Errorf("%s", b)
	}
}

// TestCopies: a copy shares nothing; a copy of the top has metadata of its own.
func TestCopies(t *testing.T) {
	o := &Object{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Version: "v1", Fields: map[string]any{"spec": map[string]any{"a": "b"}}}
	c := o.DeepCopyObject().(*Object)
	c.Fields["spec"].(map[string]any)["a"] = "c"
	if o.Fields["spec"].(map[string]any)["a"] != "b" || c.Version != "v1" {
		t.Error(o, c)
	}
	top := *o
	top.SetResourceVersion("5")
	if o.ResourceVersion != "" {
		t.Error("a copy of the top changed the original")
	}
	m, err := o.Content("g/v1", "X")
	if err != nil || m["kind"] != "X" || m["metadata"].(map[string]any)["name"] != "a" {
		t.Error(m, err)
	}
	if _, ok := o.Fields["kind"]; ok {
		t.Error("the content's map is the object's")
	}
}

// TestNoProtobuf: metadata's protobuf methods must not show through.
func TestNoProtobuf(t *testing.T) {
	if _, ok := any(&Object{}).(interface{ Size() int }); ok {
		t.Error("an Object would be taken for protobuf")
	}
}

func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"kind":"X","apiVersion":"g/v1","metadata":{"name":"a"},"spec":{"a":[1,{"b":null}]}}`))
	f.Add([]byte(`{"metadata":null,"a":1e400}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := &Object{}
		if json.Unmarshal(data, o) != nil {
			return
		}
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatalf("cannot be written: %v", err)
		}
		again := &Object{}
		if err := json.Unmarshal(b, again); err != nil {
			t.Fatalf("cannot be read again: %v: %s", err, b)
		}
		o.DeepCopyObject()
	})
}
