package audit

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"skiff.dev/skiff/auth"
)

const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

func TestPolicy(t *testing.T) {
	p, err := ParsePolicy([]byte(head + `
omitStages: [RequestReceived]
rules:
- {level: None, users: [robot]}
- {level: Request, userGroups: [ops], omitManagedFields: true}
- {level: None, verbs: [watch]}
- {level: RequestResponse, resources: [{group: "", resources: ["pods"]}], namespaces: [kube-system]}
- {level: Metadata, resources: [{group: "", resources: ["pods/log", "*/status", "services/*"]}], omitStages: [ResponseStarted]}
- {level: Request, resources: [{group: "", resources: ["configmaps"], resourceNames: [one]}]}
- {level: Metadata, resources: [{group: "apps"}]}
- {level: Metadata, nonResourceURLs: ["/logs*", "/version"]}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a    auth.Attributes
		want auditv1.Level
	}{
		{auth.Attributes{User: &auth.User{Name: "robot"}, IsResource: true, Group: "apps"}, "None"},
		{auth.Attributes{User: &auth.User{Groups: []string{"x", "ops"}}}, "Request"},
		{auth.Attributes{Verb: "watch", IsResource: true, Group: "apps"}, "None"},
		{auth.Attributes{IsResource: true, Resource: "pods", Namespace: "kube-system"}, "RequestResponse"},
		{auth.Attributes{IsResource: true, Resource: "pods", Namespace: "default"}, "None"},
		{auth.Attributes{IsResource: true, Resource: "pods", Subresource: "log"}, "Metadata"},
		{auth.Attributes{IsResource: true, Resource: "pods", Subresource: "exec"}, "None"},
		{auth.Attributes{IsResource: true, Resource: "nodes", Subresource: "status"}, "Metadata"},
		{auth.Attributes{IsResource: true, Resource: "services", Subresource: "proxy"}, "Metadata"},
		{auth.Attributes{IsResource: true, Resource: "services"}, "Metadata"},
		{auth.Attributes{IsResource: true, Resource: "configmaps", Name: "one"}, "Request"},
		{auth.Attributes{IsResource: true, Resource: "configmaps", Name: "two"}, "None"},
		{auth.Attributes{IsResource: true, Group: "apps", Resource: "deployments"}, "Metadata"},
		{auth.Attributes{Path: "/logs/x"}, "Metadata"},
		{auth.Attributes{Path: "/version/x"}, "None"},
	} {
		if got := p.Choose(&c.a); got.Level != c.want {
			t.Errorf("%+v: %s, want %s", c.a, got.Level, c.want)
		}
	}
	c := p.Choose(&auth.Attributes{IsResource: true, Resource: "pods", Subresource: "log"})
	if len(c.OmitStages) != 2 || c.OmitManagedFields {
		t.Errorf("%+v", c)
	}
}

func TestPolicyErrors(t *testing.T) {
	for text, want := range map[string]string{
		"rules: [{level: None}]":              `apiVersion "", kind ""`,
		head:                                  "a policy with no rules records nothing",
		head + "rules: [{level: Everything}]": `rules[0].level: Unsupported value: "Everything"`,
		head + "rules: [{level: None, user: [x]}]":                 `unknown field "rules[0].user"`,
		head + "rules: [{level: None, nonResourceURLs: [\"x\"]}]":  "rules[0].nonResourceURLs[0]: Invalid value",
		head + "rules: [{level: None}]\nomitStages: [Never]":       `omitStages[0]: Invalid value: "Never"`,
		head + "rules: [{level: None, namespaces: [\"\"], bad: }]": `unknown field "rules[0].bad"`,
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot %v, want %s", text, err, want)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "audit.log")
	s, err := NewFile(FileOptions{Path: path, MaxSize: 1, MaxBackups: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	line := append(bytes.Repeat([]byte("x"), 600<<10), '\n')
	for range 3 {
		if err := s.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "audit*.log"))
	if err != nil || len(files) < 2 {
		t.Errorf("not rotated: %v %v", files, err)
	}
	for _, f := range files {
		if i, err := os.Stat(f); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, i.Mode(), err)
		}
	}
	if _, err := NewFile(FileOptions{Path: filepath.Dir(path)}, nil); err == nil {
		t.Error("a directory is no log")
	}
}

func TestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got [][]int
		release := make(chan struct{})
		b := NewBatch(BatchOptions{BufferSize: 3, MaxSize: 2, MaxWait: time.Second}, slog.New(slog.DiscardHandler), func(lines [][]byte) error {
			<-release
			var sizes []int
			for _, l := range lines {
				sizes = append(sizes, int(l[0]-'0'))
			}
			got = append(got, sizes)
			return nil
		})
		write := func(s string) error { return b.Write([]byte(s)) }
		_ = write("1")
		time.Sleep(2 * time.Second) // alone, it goes when the wait is over
		for _, s := range []string{"2", "3", "4"} {
			if err := write(s); err != nil {
				t.Error(err)
			}
		}
		if err := write("5"); err == nil || err.Error() != "the buffer of 3 events is full" {
			t.Error(err)
		}
		close(release)
		b.Close()
		want, _ := json.Marshal([][]int{{1}, {2, 3}, {4}})
		if have, _ := json.Marshal(got); string(have) != string(want) {
			t.Errorf("got %s, want %s", have, want)
		}
		if write("6") == nil {
			t.Error("a closed log takes events")
		}
	})
}

func TestWebhook(t *testing.T) {
	var tries atomic.Int32
	var list struct {
		Kind  string
		Items []struct{ N int }
	}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tries.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	s := NewWebhook(&Webhook{Client: srv.Client(), URL: srv.URL, Backoff: time.Millisecond}, true, true, BatchOptions{}, nil)
	if err := s.Write([]byte("{\"n\":7}\n")); err != nil || tries.Load() != 2 || list.Kind != "EventList" || len(list.Items) != 1 || list.Items[0].N != 7 {
		t.Errorf("%v %d %+v", err, tries.Load(), list)
	}
	s.Close()
	gone := NewWebhook(&Webhook{Client: srv.Client(), URL: srv.URL + "/x", Backoff: time.Hour}, true, true, BatchOptions{}, nil)
	gone.Close()
	srv.Close()
	if err := gone.Write([]byte("{}\n")); err == nil {
		t.Error("a webhook that is down has taken an event")
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(head + "rules: [{level: None, users: [robot]}]"))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParsePolicy(b); err == nil {
			p.Choose(&auth.Attributes{IsResource: true, Resource: "pods", Subresource: "log", User: &auth.User{}})
			p.Choose(&auth.Attributes{Path: "/x"})
		}
	})
}

func FuzzWithoutManagedFields(f *testing.F) {
	f.Add([]byte(`{"metadata":{"managedFields":[1]},"items":[{"metadata":{"managedFields":[]}},1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if json.Valid(b) && !json.Valid(withoutManagedFields(b)) {
			t.Errorf("%s became invalid", b)
		}
	})
}
