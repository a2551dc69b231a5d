package apiserver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/telemetry"
)

func TestWarningHeaders(t *testing.T) {
	long := strings.Repeat("ä", 1000)
	for name, c := range map[string]struct {
		in   []string
		want []string
	}{
		"none":            {nil, []string{}},
		"quoted":          {[]string{`say "a"`}, []string{`299 - "say \"a\""`}},
		"no header":       {[]string{"a\nb", "c"}, []string{`299 - "c"`}},
		"within limits":   {[]string{long, long}, []string{`299 - "` + long + `"`, `299 - "` + long + `"`}},
		"too much is cut": {[]string{long, long, long, long, long}, slices.Repeat([]string{`299 - "` + strings.Repeat("ä", 256) + `"`}, 5)},
		"far too much":    {slices.Repeat([]string{long}, 100), slices.Repeat([]string{`299 - "` + strings.Repeat("ä", 256) + `"`}, 16)},
	} {
		if got := warningHeaders(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%s: %d headers, want %d: %.200v", name, len(got), len(c.want), got)
		}
	}
}

func FuzzTrace(f *testing.F) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for s, want := range map[string]bool{
		good: true, "01" + good[2:] + "-more": true, good + "-more": false, "ff" + good[2:]: false, strings.ToUpper(good): false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false, "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false, "": false,
	} {
		if validTrace(s) != want {
			f.Errorf("%q: %v", s, !want)
		}
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if validTrace(s) && strings.ContainsAny(s, "\r\n") && len(s) <= 55 {
			t.Errorf("%q is taken for a trace", s)
		}
	})
}

func TestBoundedContext(t *testing.T) {
	parent, cancel := context.WithCancel(context.Background())
	b := &boundedContext{Context: parent, trace: "t"}
	if b.Done() != parent.Done() || telemetry.Trace(b) != "t" {
		t.Error("a context without an end is not its parent")
	}
	over := &boundedContext{Context: parent, end: time.Now().Add(-time.Second)}
	<-over.Done()
	if !errors.Is(over.Err(), context.DeadlineExceeded) {
		t.Error(over.Err())
	}
	over.stop()
	open := &boundedContext{Context: parent, end: time.Now().Add(time.Hour)}
	if d, ok := open.Deadline(); !ok || !d.Equal(open.end) || open.Err() != nil {
		t.Error(d, ok, open.Err())
	}
	cancel()
	<-open.Done()
	if !errors.Is(open.Err(), context.Canceled) {
		t.Error(open.Err())
	}
	open.stop()
}

func TestRemovedRelease(t *testing.T) {
	for text, want := range map[string]string{
		"policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+; use policy/v1 PodDisruptionBudget": "1.25",
		"v1 ComponentStatus is deprecated in v1.19+": "",
	} {
		if got := removedRelease(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestNegotiatePage(t *testing.T) {
	for accept, want := range map[string][2]string{
		"":                 {"text/plain", ""},
		"text/plain":       {"text/plain", ""},
		"*/*":              {"text/plain", ""},
		"application/json": {},
		"application/json;g=config.k8s.io;v=v1beta1;as=Statusz":             {"application/json", "v1beta1"},
		"application/yaml; g=config.k8s.io; v=v1alpha1; as=Statusz":         {"application/yaml", "v1alpha1"},
		"application/json;g=config.k8s.io;v=v2;as=Statusz,text/plain":       {"text/plain", ""},
		"application/vnd.kubernetes.protobuf;g=config.k8s.io;v=v1;as=Flagz": {},
	} {
		if media, version := negotiatePage(accept, "Statusz"); media != want[0] || version != want[1] {
			t.Errorf("%q: %q %q", accept, media, version)
		}
	}
}
