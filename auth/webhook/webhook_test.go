package webhook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"skiff.dev/skiff/auth"
)

// server answers over TLS with what reply returns.
func server(t testing.TB, reply func(body string) (code int, answer string)) (*Caller, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		body, _ := io.ReadAll(r.Body)
		code, answer := reply(string(body))
		w.WriteHeader(code)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: srv.URL + "/review", CertificateAuthorityData: ca}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c"}
	c.CurrentContext = "x"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
	caller, err := FromKubeconfig(path)
	if err != nil {
		t.Fatal(err)
	}
	caller.Pause = time.Millisecond
	return caller, &asked
}

func TestTokens(t *testing.T) {
	const jane = `"authenticated":true,"user":{"username":"jane","uid":"7","groups":["a"],"extra":{"k":["v"]}}`
	for _, c := range []struct {
		name, version, answer string
		code                  int
		audiences             []string
		want                  string
		asked                 int32 // of two questions
	}{
		{"known", "v1", `{"status":{` + jane + `}}`, 200, nil, "jane 7 [a] map[k:[v]] [api]", 1},
		{"in the old version", "v1beta1", `{"status":{` + jane + `}}`, 201, nil, "jane 7 [a] map[k:[v]] [api]", 1},
		{"for another audience", "v1", `{"status":{` + jane + `,"audiences":["x"]}}`, 200, []string{"x", "y"}, "jane 7 [a] map[k:[v]] [x]", 1},
		{"that does not speak of audiences", "v1", `{"status":{` + jane + `}}`, 200, []string{"x"}, "none", 1},
		{"that grants what was not asked", "v1", `{"status":{` + jane + `,"audiences":["z"]}}`, 200, []string{"x"}, "none", 1},
		{"unknown", "v1", `{"status":{"authenticated":false}}`, 200, nil, "none", 1},
		{"unknown, and why", "v1", `{"status":{"error":"revoked"}}`, 200, nil, "revoked", 2},
		{"garbage", "v1", `hello`, 200, nil, "webhook: the answer cannot be read: invalid character 'h' looking for beginning of value", 2},
		{"refusal", "v1", ``, 403, nil, "webhook: the server answered 403 Forbidden", 2},
		{"down", "v1", ``, 503, nil, "webhook: the server answered 503 Service Unavailable", 10},
		{"too much", "v1", strings.Repeat(" ", maxAnswer+1), 200, nil, "webhook: the answer has more than 1048576 bytes", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			caller, asked := server(t, func(body string) (int, string) {
				if !strings.Contains(body, `"apiVersion":"authentication.k8s.io/`+c.version+`"`) || !strings.Contains(body, `"token":"secret"`) {
					t.Errorf("asked %s", body)
				}
				return c.code, c.answer
			})
			tokens, err := NewTokens(caller, c.version, []string{"api"}, time.Minute, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				u, matched, ok, err := tokens.AuthenticateToken("secret", c.audiences)
				got := "none"
				if err != nil {
					got = err.Error()
				} else if ok {
					got = fmt.Sprint(u.Name, " ", u.UID, " ", u.Groups, " ", u.Extra, " ", matched)
				}
				if got != c.want {
					t.Errorf("got %s, want %s", got, c.want)
				}
			}
			if asked.Load() != c.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), c.asked)
			}
		})
	}
	if _, err := NewTokens(nil, "v2", nil, 0, nil); err == nil {
		t.Error("any version does")
	}
}

func TestSlowServerIsAskedOnce(t *testing.T) {
	begun, release := make(chan struct{}, 1), make(chan struct{})
	caller, asked := server(t, func(string) (int, string) {
		begun <- struct{}{}
		<-release
		return 200, `{"status":{"authenticated":true,"user":{"username":"jane"}}}`
	})
	tokens, err := NewTokens(caller, "v1", []string{"api"}, time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ask := func() {
		if u, _, ok, err := tokens.AuthenticateToken("t", nil); err != nil || !ok || u.Name != "jane" {
			t.Errorf("%v %v %v", u, ok, err)
		}
	}
	wg.Go(ask)
	<-begun
	for range 20 {
		wg.Go(ask)
	}
	close(release)
	wg.Wait()
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestServerThatHangs(t *testing.T) {
	done := make(chan struct{})
	caller, _ := server(t, func(string) (int, string) { <-done; return 200, "{}" })
	defer close(done)
	caller.Timeout = 20 * time.Millisecond
	z, err := NewAuthorizer(caller, Options{Version: "v1", OnError: auth.Deny})
	if err != nil {
		t.Fatal(err)
	}
	if d, _, err := z.Authorize(t.Context(), &auth.Attributes{Verb: "get", Path: "/x"}); d != auth.Deny || err == nil {
		t.Errorf("%v %v", d, err)
	}
}

func TestAuthorizer(t *testing.T) {
	now := time.Now()
	var last string
	answer, code := `{"status":{"allowed":true,"reason":"because"}}`, 200
	caller, asked := server(t, func(body string) (int, string) { last = body; return code, answer })
	z, err := NewAuthorizer(caller, Options{Version: "v1", Authorized: time.Minute, Unauthorized: time.Second, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	a := &auth.Attributes{User: &auth.User{Name: "jane", Groups: []string{"g"}}, Verb: "list", Resource: "pods", Version: "v1", IsResource: true,
		FieldSelector: "spec.nodeName=n1,a!=b", LabelSelector: "x in (y),!z,q>1"}
	ask := func(want string) {
		t.Helper()
		d, reason, err := z.Authorize(t.Context(), a)
		if got := fmt.Sprintf("%d %s %v", d, reason, err); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	ask("1 because <nil>")
	for _, part := range []string{`"user":"jane","groups":["g"]`, `"verb":"list"`, `"fieldSelector":{"requirements":[{"key":"a","operator":"NotIn","values":["b"]},{"key":"spec.nodeName","operator":"In","values":["n1"]}]}`,
		`{"key":"x","operator":"In","values":["y"]}`, `{"key":"z","operator":"DoesNotExist"}`} {
		if !strings.Contains(last, part) {
			t.Errorf("asked %s\nwithout %s", last, part)
		}
	}
	answer = `{"status":{"allowed":false,"reason":"no"}}`
	now = now.Add(59 * time.Second)
	ask("1 because <nil>")
	now = now.Add(2 * time.Second)
	ask("0 no <nil>")
	answer = `{"status":{"allowed":true,"denied":true}}`
	ask("0 no <nil>")
	now = now.Add(2 * time.Second)
	ask("2  webhook subject access review returned both allow and deny response")
	now = now.Add(2 * time.Minute)
	answer = `{"status":{"denied":true,"reason":"never"}}`
	ask("2 never <nil>")
	now = now.Add(2 * time.Second)
	code = 500
	ask("0  webhook: the server answered 500 Internal Server Error")
	code, answer = 200, `{"status":{"allowed":true}}`
	ask("1  <nil>")
	before := asked.Load()
	a.LabelSelector = strings.Repeat("x", maxRemembered)
	ask("1  <nil>")
	ask("1  <nil>")
	if n := asked.Load() - before; n != 2 {
		t.Errorf("a question of %d bytes was asked %d times", maxRemembered, n)
	}

	skipped := z.o
	skipped.Match = func(_ context.Context, r *authorizationv1.SubjectAccessReview) (bool, error) {
		return r.Spec.User == "joe", nil
	}
	z.o = skipped
	ask("0  <nil>")

	old, err := NewAuthorizer(caller, Options{Version: "v1beta1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := old.Authorize(t.Context(), a); err != nil || !strings.Contains(last, `"apiVersion":"authorization.k8s.io/v1beta1"`) || !strings.Contains(last, `"group":["g"]`) {
		t.Errorf("%v %s", err, last)
	}
}

func TestKubeconfigErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	for text, want := range map[string]string{
		"{": "yaml", "apiVersion: v1\nkind: Config\n": "invalid configuration",
		`{"clusters":[{"name":"c","cluster":{"server":"https://x","certificate-authority":"/none"}}],"contexts":[{"name":"x","context":{"cluster":"c"}}],"current-context":"x"}`: "/none",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := FromKubeconfig(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	var text string
	caller, _ := server(f, func(string) (int, string) { return 200, text })
	f.Add(`{"status":{"authenticated":true,"user":{"username":"jane","extra":{"k":null}}}}`)
	f.Add(`{"status":{"allowed":true,"denied":1}}`)
	f.Fuzz(func(t *testing.T, s string) {
		text = s
		tokens, _ := NewTokens(caller, "v1", []string{"api"}, 0, nil)
		if _, _, ok, _ := tokens.AuthenticateToken("t", nil); ok && !json.Valid([]byte(s)) {
			t.Errorf("%q authenticates", s)
		}
	})
}

func FuzzSelectors(f *testing.F) {
	f.Add("a=b,c!=d", "x in (y),!z")
	f.Fuzz(func(t *testing.T, fields, labels string) {
		if _, err := json.Marshal(spec(&auth.Attributes{Verb: "list", IsResource: true, FieldSelector: fields, LabelSelector: labels})); err != nil {
			t.Error(err)
		}
	})
}
