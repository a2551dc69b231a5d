//lint:file-ignore SA1019 the server's own rule, and the filler's way in

package core

import (
	"math/rand"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"skiff.dev/skiff/kinds"
)

// filler makes objects at random, the same from the same seed.
func filler(seed int64, nils float64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(nils).NumElements(0, 3).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(1e6)-1e3, resource.DecimalSI)
		},
		func(t *metav1.Time, c randfill.Continue) { t.Time = time.Unix(c.Int63n(2e9), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) { t.Time = time.Unix(c.Int63n(2e9), 0) },
		func(i *intstr.IntOrString, c randfill.Continue) { *i = intstr.FromInt32(int32(c.Int31n(70000))) },
		func(f *metav1.FieldsV1, _ randfill.Continue) { f.Raw = []byte("{}") },
		func(r *runtime.RawExtension, _ randfill.Continue) { *r = runtime.RawExtension{} },
		// Some words of the API, so that rules behind them are reached.
		func(s *string, c randfill.Continue) {
			words := []string{"", "a", "b", "web", "a/b", "..", "../x", "/x", "10.0.0.1", "::1", "10.0.0.0/8", "None", "cpu", "memory",
				"hugepages-2Mi", "Always", "Never", "Localhost", "example.com/a", "metadata.labels['a']", "v1", "TCP", "bad value!", "kubernetes.io/tls"}
			if *s = words[c.Intn(len(words))]; c.Intn(8) == 0 {
				*s = c.String(10)
			}
		},
	)
}

// exercise runs every rule of a kind over two objects: none may panic, whatever they
// hold.
func exercise(k *kinds.Kind, obj, old kinds.Object) {
	for _, o := range []kinds.Object{obj, old} {
		if k.Default != nil {
			k.Default(o)
		}
	}
	created := obj.DeepCopyObject().(kinds.Object)
	if k.PrepareCreate != nil {
		k.PrepareCreate(created)
	}
	if k.Validate != nil {
		k.Validate(created).ToAggregate()
	}
	updated := obj.DeepCopyObject().(kinds.Object)
	if k.PrepareUpdate != nil {
		k.PrepareUpdate(updated, old)
	}
	if k.ValidateUpdate != nil {
		k.ValidateUpdate(updated, old).ToAggregate()
	}
	if k.Warnings != nil {
		k.Warnings(created, nil)
		k.Warnings(updated, old)
	}
	if k.Generation != nil {
		k.Generation(updated, old)
	}
	if k.Grace != nil {
		k.Grace(obj, nil)
	}
	for _, s := range k.Subresources {
		if s.ValidateUpdate != nil {
			o := obj.DeepCopyObject().(kinds.Object)
			s.PrepareUpdate(o, old)
			s.ValidateUpdate(o, old).ToAggregate()
		}
		if s.Get != nil {
			if view, err := s.Get(obj); err == nil {
				_, _ = s.Set(obj, view)
			}
		}
	}
	if k.Cells != nil {
		k.Cells(obj, time.Unix(2e9, 0))
	}
	for _, f := range k.Fields {
		f(obj)
	}
}

func FuzzRules(f *testing.F) {
	rows := Kinds()
	for i := range int64(len(rows)) {
		f.Add(i, uint8(i), uint8(40))
		f.Add(i+100, uint8(i), uint8(80))
	}
	f.Fuzz(func(t *testing.T, seed int64, which, nils uint8) {
		k := rows[int(which)%len(rows)]
		obj, old := k.New(), k.New()
		fill := filler(seed, float64(nils%101)/100)
		fill.Fill(obj)
		if fill.Fill(old); rand.New(rand.NewSource(seed)).Intn(2) == 0 {
			old = obj.DeepCopyObject().(kinds.Object)
		}
		exercise(k, obj, old)
	})
}

// TestRandomObjects is a part of FuzzRules that every run does.
func TestRandomObjects(t *testing.T) {
	for _, k := range Kinds() {
		t.Run(k.Kind, func(t *testing.T) {
			for seed := range int64(60) {
				obj, old := k.New(), k.New()
				fill := filler(seed, float64(seed%10)/10)
				fill.Fill(obj)
				if fill.Fill(old); seed%2 == 0 {
					old = obj.DeepCopyObject().(kinds.Object)
				}
				exercise(k, obj, old)
			}
		})
	}
}
