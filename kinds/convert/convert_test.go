package convert

import (
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

type inner struct{ A string }
type inner2 struct{ A string }

type mode string
type mode2 string

type old struct {
	Same   string
	Mode   mode
	One    inner
	Maybe  *inner
	Many   []inner
	Named  map[string]inner
	Number int32
	Ptr    *int32
	Renamed
	Was  string
	Self *old
}

type hub struct {
	Same   string
	Mode   mode2
	One    inner2
	Maybe  *inner2
	Many   []inner2
	Named  map[string]inner2
	Number int64
	Ptr    int32
	Is     string
	Self   *hub
}

// Renamed has nothing on the other side.
type Renamed struct{}

func converter() *Converter {
	return New(
		After(func(in *old, out *hub) error { out.Is = in.Was; return nil }),
		After(func(in *hub, out *old) error { out.Was = in.Is; return nil }),
	)
}

func TestConvertThereAndBack(t *testing.T) {
	n := int32(7)
	in := &old{
		Same: "s", Mode: "m", One: inner{"1"}, Maybe: &inner{"2"}, Many: []inner{{"3"}, {"4"}},
		Named: map[string]inner{"k": {"5"}}, Number: 6, Ptr: &n, Was: "w",
		Self: &old{Same: "below", Was: "too", Many: []inner{}},
	}
	c := converter()
	var there hub
	if err := c.Convert(in, &there); err != nil {
		t.Fatal(err)
	}
	if there.Is != "w" || there.Ptr != 7 || there.Number != 6 || there.Self.Is != "too" || there.Named["k"].A != "5" {
		t.Errorf("converted to %+v", there)
	}
	var back old
	if err := c.Convert(&there, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(in, &back) {
		t.Errorf("came back as %+v", back)
	}
}

func TestConvertKeepsNilAndZero(t *testing.T) {
	c := converter()
	out := hub{Ptr: 3, Maybe: &inner2{"stale"}}
	if err := c.Convert(&old{}, &out); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(out, hub{}) {
		t.Errorf("nothing became %+v", out)
	}
}

func TestConvertErrors(t *testing.T) {
	type a struct{ X []string }
	type b struct{ X int }
	if err := New().Convert(&a{}, &b{}); err == nil || !strings.Contains(err.Error(), "no way") {
		t.Errorf("a list to a number gives %v", err)
	}
	if err := New().Convert(a{}, &b{}); err == nil {
		t.Error("a value is no pointer")
	}
	refuse := errors.New("refused")
	c := New(Instead(func(*inner, *inner2) error { return refuse }))
	if err := c.Convert(&old{Many: []inner{{}}}, &hub{}); !errors.Is(err, refuse) {
		t.Errorf("a hook's error becomes %v", err)
	}
}

// A pair is planned once, whoever comes first.
func TestConvertByMany(t *testing.T) {
	c := converter()
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			var out hub
			if err := c.Convert(&old{Was: "w", Self: &old{}}, &out); err != nil || out.Is != "w" || out.Self == nil {
				t.Errorf("converted to %+v, %v", out, err)
			}
		})
	}
	wg.Wait()
}

type gone struct{}

func (gone) APILifecycleDeprecated() (int, int) { return 1, 9 }
func (gone) APILifecycleRemoved() (int, int)    { return 1, 16 }
func (gone) APILifecycleReplacement() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
}

func TestDeprecation(t *testing.T) {
	gvk := schema.GroupVersionKind{Group: "apps", Version: "v1beta2", Kind: "Deployment"}
	want := "apps/v1beta2 Deployment is deprecated in v1.9+, unavailable in v1.16+; use apps/v1 Deployment"
	if have := Deprecation(gvk, gone{}); have != want {
		t.Errorf("%q, want %q", have, want)
	}
	if have := Deprecation(gvk, inner{}); have != "" {
		t.Errorf("a current type gives %q", have)
	}
}

func BenchmarkConvert(b *testing.B) {
	c := converter()
	in := &old{Many: []inner{{"1"}, {"2"}}, Maybe: &inner{"3"}}
	b.ReportAllocs()
	for b.Loop() {
		var out hub
		if err := c.Convert(in, &out); err != nil {
			b.Fatal(err)
		}
	}
}
