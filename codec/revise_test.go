package codec_test

import (
	"bytes"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds/all"
)

// TestRevise: of every kind that is stored as protobuf, what Revise makes is what
// encoding makes.
func TestRevise(t *testing.T) {
	n := 0
	for _, k := range all.Table().All() {
		if k.Virtual {
			continue
		}
		obj := k.New()
		obj.SetName("a")
		obj.SetNamespace("b")
		obj.SetUID("c")
		obj.SetGenerateName("d")
		obj.SetGeneration(7)
		obj.SetLabels(map[string]string{"a": "b"})
		obj.SetCreationTimestamp(metav1.Unix(1700000000, 0))
		obj.SetFinalizers([]string{"x/y"})
		stored, err := codec.EncodeStored(k, obj)
		if err != nil {
			t.Fatalf("%s: %v", k.Kind, err)
		}
		for _, revision := range []string{"1", "18446744073709551615"} {
			got := codec.Revise(stored, revision)
			if got == nil {
				if codec.IsProtobuf(stored) {
					t.Errorf("%s is stored as protobuf and not revised", k.Kind)
				}
				continue
			}
			n++
			obj.SetResourceVersion(revision)
			want, err := codec.Body(codec.Protobuf, obj)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %x, not %x (%v)", k.Kind, got, want, err)
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d were compared", n)
	}
}

func FuzzRevise(f *testing.F) {
	for _, k := range all.Table().All() {
		if k.Kind == "Pod" {
			stored, err := codec.EncodeStored(k, k.New())
			if err != nil {
				f.Fatal(err)
			}
			f.Add(stored, "12")
		}
	}
	f.Fuzz(func(t *testing.T, stored []byte, revision string) {
		if b := codec.Revise(stored, revision); b != nil && len(b) > len(stored)+len(revision)+30 {
			t.Errorf("%d bytes of %d", len(b), len(stored))
		}
	})
}
