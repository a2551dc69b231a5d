package all

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

func compareWarnings(s step, to target, have []string) string {
	var want []string
	for _, w := range asList(s.ResponseHeaders["Warning"]) {
		if !strings.Contains(w, "unknown field") && !strings.Contains(w, "duplicate field") {
			want = append(want, w)
		}
	}
	if s.Status == 422 {
		return "" // warnings of refused objects are the server's business
	}
	for i := range have {
		have[i] = fmt.Sprintf("299 - %q", have[i])
	}
	sort.Strings(have)
	if len(want) != len(have) || len(want) > 0 && !reflect.DeepEqual(want, have) {
		return fmt.Sprintf("warnings are\n   %q, want\n   %q", have, want)
	}
	return ""
}

func asList(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return nil
}

func (p *player) compare(s step, to target, obj kinds.Object, errs field.ErrorList) string {
	if s.Status == 422 {
		name := obj.GetName()
		have := apierrors.NewInvalid(schema.GroupKind{Group: to.kind.Group, Kind: to.kind.Kind}, name, errs).Status()
		var want metav1.Status
		raw, _ := json.Marshal(s.Response)
		if json.Unmarshal(raw, &want) != nil || want.Details == nil {
			return ""
		}
		return compareCauses(have.Details.Causes, want.Details.Causes)
	}
	if len(errs) > 0 {
		return fmt.Sprintf("refused: %v", errs.ToAggregate())
	}
	var out runtime.Object = obj
	if to.version.FromHub != nil {
		var err error
		if out, err = to.version.FromHub(obj); err != nil {
			return err.Error()
		}
	}
	raw, _ := json.Marshal(out)
	var have map[string]any
	_ = json.Unmarshal(raw, &have)
	want, ok := s.Response.(map[string]any)
	if !ok {
		return ""
	}
	have = without(have, s.Mask).(map[string]any)
	return diff("", trim(have), trim(want))
}

// trim leaves what the rules decide: no identity, no times, no managed fields.
func trim(obj map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range obj {
		switch k {
		case "kind", "apiVersion":
		case "metadata":
			m, _ := v.(map[string]any)
			for _, key := range []string{"labels", "annotations"} {
				if e, ok := m[key]; ok {
					out["metadata."+key] = e
				}
			}
		default:
			out[k] = v
		}
	}
	return out
}

func without(obj any, paths []string) any {
	for _, path := range paths {
		drop(obj, strings.Split(strings.Trim(path, "/"), "/"))
	}
	return obj
}

func drop(v any, path []string) {
	m, ok := v.(map[string]any)
	if !ok || len(path) == 0 {
		return
	}
	if len(path) == 1 {
		delete(m, path[0])
		return
	}
	drop(m[path[0]], path[1:])
}

func compareCauses(have, want []metav1.StatusCause) string {
	list := func(in []metav1.StatusCause) []string {
		var out []string
		for _, c := range in {
			c.Message = strings.ReplaceAll(c.Message, anyUID, "<uid>")
			if i := strings.Index(c.Message, "\n@@ "); i >= 0 {
				c.Message = c.Message[:i] + " <diff>"
			}
			if i := strings.Index(c.Message, `Invalid value: "{`); i >= 0 {
				if j := strings.Index(c.Message[i:], `}": `); j >= 0 {
					c.Message = c.Message[:i] + `Invalid value: "<object>"` + c.Message[i+j+2:]
				}
			}
			out = append(out, fmt.Sprintf("%s %s: %s", c.Type, c.Field, c.Message))
		}
		sort.Strings(out)
		return out
	}
	h, w := list(have), list(want)
	if reflect.DeepEqual(h, w) {
		return ""
	}
	var b strings.Builder
	in := func(s string, l []string) bool {
		for _, e := range l {
			if e == s {
				return true
			}
		}
		return false
	}
	for _, e := range h {
		if !in(e, w) {
			fmt.Fprintf(&b, "\n   too much: %s", e)
		}
	}
	for _, e := range w {
		if !in(e, h) {
			fmt.Fprintf(&b, "\n   missing:  %s", e)
		}
	}
	if b.Len() == 0 {
		fmt.Fprintf(&b, "\n   have %d causes, want %d", len(h), len(w))
	}
	return b.String()
}

func diff(at string, have, want any) string {
	if w, ok := want.(string); ok && strings.Contains(w, "<") {
		if _, ok := have.(string); ok {
			return ""
		}
	}
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return fmt.Sprintf("\n   %s is %v, want %v", at, have, want)
		}
		var b strings.Builder
		for k := range w {
			b.WriteString(diff(at+"."+k, h[k], w[k]))
		}
		for k := range h {
			if _, ok := w[k]; !ok {
				fmt.Fprintf(&b, "\n   %s.%s is %v, want none", at, k, h[k])
			}
		}
		return b.String()
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return fmt.Sprintf("\n   %s is %v, want %v", at, have, want)
		}
		var b strings.Builder
		for i := range w {
			b.WriteString(diff(fmt.Sprintf("%s[%d]", at, i), h[i], w[i]))
		}
		return b.String()
	}
	if !reflect.DeepEqual(have, want) {
		return fmt.Sprintf("\n   %s is %v, want %v", at, have, want)
	}
	return ""
}
