package filters

import "testing"

func TestParse(t *testing.T) {
	a, err := Parse(`{"label":{"a=b":true,"c":true},"name":{"x":true}}`)
	if err != nil || len(a["label"]) != 2 || a["name"][0] != "x" {
		t.Fatalf("%v %v", a, err)
	}
	if !a.Labels("label", map[string]string{"a": "b", "c": ""}) || a.Labels("label", map[string]string{"a": "d", "c": ""}) {
		t.Error("labels")
	}
	if err := a.Check("label"); err == nil || err.Error() != "invalid filter 'name'" {
		t.Error(err)
	}
	if _, err := Parse(`[]`); err == nil {
		t.Error("a list is no filter")
	}
	if b, err := (Args{"dangling": {"0"}}).Bool("dangling", true); b || err != nil {
		t.Error(b, err)
	}
	if !(Args{"name": {"^x$"}}).Match("name", "x") || (Args{"name": {"^x$"}}).Match("name", "xy") {
		t.Error("match")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"label":["a"]}`)
	f.Add(`{"label":{"a":true}}`)
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := Parse(s); err == nil {
			a.Match("name", "x")
			a.Glob("name", "x")
		}
	})
}
