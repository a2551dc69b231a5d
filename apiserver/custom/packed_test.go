package custom_test

import (
	"encoding/json"
	"reflect"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/apiserver/custom/customtest"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/apiextensions"
)

func row(t testing.TB) *kinds.Kind {
	t.Helper()
	return apiextensions.Kinds()[0]
}

func same(t *testing.T, a, b any) {
	t.Helper()
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	var p, q any
	if err1 != nil || err2 != nil || json.Unmarshal(x, &p) != nil || json.Unmarshal(y, &q) != nil || !reflect.DeepEqual(p, q) {
		t.Errorf("differ:\n%.400s\n%.400s", x, y)
	}
}

// TestPacked: what the cache and the store hold is the definition, whole.
func TestPacked(t *testing.T) {
	k := row(t)
	none := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal([]byte(`{metadata: {name: x, annotations: {a: '"schema":{}'}}, spec: {group: g, versions: [{name: a}, {name: '"schema":{}', schema: {}}, {name: b, deprecationWarning: 'x "schema":{} y', schema: {openAPIV3Schema: {type: object}}}]}}`), none); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*apiextensionsv1.CustomResourceDefinition{customtest.Definition(1), customtest.Definition(2), none} {
		packed, err := k.ToCache(d.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		same(t, packed, d)
		whole, err := k.FromCache(packed)
		if err != nil {
			t.Fatal(err)
		}
		same(t, whole, d)
		text, err := codec.EncodeStored(k, packed)
		if err != nil {
			t.Fatal(err)
		}
		read, err := codec.DecodeStored(k, text)
		if err != nil {
			t.Fatal(err)
		}
		same(t, read, d)
		// What was stored whole is read too.
		plain, err := codec.Object(codec.JSON, k.GVK(), d)
		if err != nil {
			t.Fatal(err)
		}
		if read, err = codec.DecodeStored(k, plain); err != nil {
			t.Fatal(err)
		}
		same(t, read, d)
		if _, err := codec.Body(codec.Protobuf, packed); err != nil {
			t.Errorf("protobuf: %v", err)
		}
	}
}

func FuzzStoredDefinition(f *testing.F) {
	k := row(f)
	packed, err := k.ToCache(customtest.Definition(3))
	if err != nil {
		f.Fatal(err)
	}
	text, err := codec.EncodeStored(k, packed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"packedSchemas":"AAAA","spec":{"versions":[{"name":"a"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if codec.IsProtobuf(data) {
			return
		}
		obj, err := codec.DecodeStored(k, data)
		if err != nil {
			return
		}
		whole, err := k.FromCache(obj)
		if _, jsonErr := json.Marshal(obj); err == nil && jsonErr != nil {
			t.Fatalf("it unpacks and cannot be written: %v: %v", jsonErr, whole)
		}
	})
}
