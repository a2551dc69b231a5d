package imagestore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"skiff.dev/skiff/engine"
)

var linux = imagespec.Platform{OS: "linux", Architecture: "amd64"}

type answer = func(http.ResponseWriter, *http.Request) bool

// pullFrom pulls from a registry with a fault into a new store.
func pullFrom(t *testing.T, fault answer, change func(*Store)) (*registry, *Store, error) {
	t.Helper()
	g := newRegistry(linux)
	g.fault = fault
	srv := httptest.NewServer(g)
	t.Cleanup(srv.Close)
	s := openStore(t, t.TempDir(), used{})
	if change != nil {
		change(s)
	}
	_, err := s.Pull(t.Context(), strings.TrimPrefix(srv.URL, "http://")+"/app:v1", engine.PullOptions{})
	return g, s, err
}

// reset ends a connection without a farewell.
func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

// TestPullGoesOn: what is cut off, refused for a while or moved is fetched all the
// same, and nothing twice.
func TestPullGoesOn(t *testing.T) {
	var n atomic.Int32
	part := func(cut func(http.ResponseWriter)) answer {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) {
				return false
			}
			if n.Add(1) > 1 {
				var at int
				if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at); err != nil || at != 100 {
					t.Errorf("the rest is asked for by %q", r.Header.Get("Range"))
				}
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(layer2)-1, len(layer2)))
				w.WriteHeader(http.StatusPartialContent)
				w.Write(layer2[at:])
				return true
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(layer2)))
			w.Write(layer2[:100])
			w.(http.Flusher).Flush()
			cut(w)
			return true
		}
	}
	busy := func(status int, after string) answer {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) || n.Add(1) > 2 {
				return false
			}
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			http.Error(w, "busy", status)
			return true
		}
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("another server is told the credentials")
		}
		w.Write(layer2)
	}))
	defer other.Close()
	for name, fault := range map[string]answer{
		"closed":              part(func(http.ResponseWriter) {}),
		"reset":               part(reset),
		"429 for a second":    busy(http.StatusTooManyRequests, "1"),
		"429 without a time":  busy(http.StatusTooManyRequests, ""),
		"503 until a date":    busy(http.StatusServiceUnavailable, time.Now().UTC().Format(http.TimeFormat)),
		"moved":               func(w http.ResponseWriter, r *http.Request) bool { return isLayer(r) && redirect(w, r, other.URL+"/x") },
		"stands still":        part(func(w http.ResponseWriter) { time.Sleep(300 * time.Millisecond) }),
		"manifest is renamed": renamed("v1", "v2"),
	} {
		n.Store(0)
		_, s, err := pullFrom(t, fault, func(s *Store) {
			if name == "stands still" {
				s.dialer.idle = 100 * time.Millisecond
			}
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if imgs, err := s.List(t.Context()); err != nil || len(imgs) != 1 {
			t.Errorf("%s: %d images, %v", name, len(imgs), err)
		}
	}
}

func redirect(w http.ResponseWriter, r *http.Request, to string) bool {
	http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	return true
}

func renamed(from, to string) answer {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if p, ok := strings.CutSuffix(r.URL.Path, "/"+to); ok {
			r.URL.Path = p + "/" + from
			return false
		}
		p, ok := strings.CutSuffix(r.URL.Path, "/"+from)
		return ok && redirect(w, r, p+"/"+to)
	}
}

// TestPullGivesUp: a registry that lies, leads in circles or says nothing is given up
// with the reason, and nothing of it stays.
func TestPullGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		fault  answer
		reason engine.PullReason
	}{
		"redirects in a circle": {func(w http.ResponseWriter, r *http.Request) bool { return redirect(w, r, r.URL.Path) }, engine.PullUnreachable},
		"layer in a circle":     {func(w http.ResponseWriter, r *http.Request) bool { return isLayer(r) && redirect(w, r, r.URL.Path) }, engine.PullUnreachable},
		"tokens in a circle": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				w.Write([]byte(`{"token":"t"}`))
				return true
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s",scope="repository:app:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, engine.PullUnauthorized},
		"token server in a circle": {func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				return redirect(w, r, "/token")
			}
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, engine.PullUnreachable},
		"layer without an end": {func(w http.ResponseWriter, r *http.Request) bool {
			for isLayer(r) {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return true
				}
			}
			return false
		}, engine.PullCorrupt},
		"always cut at the same place": {func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) {
				return false
			}
			reset(w)
			return true
		}, engine.PullUnreachable},
		"says nothing": {func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r) {
				return false
			}
			<-r.Context().Done()
			return true
		}, engine.PullUnreachable},
		"manifest of another digest": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/v1") {
				return false
			}
			w.Header().Set("Content-Type", imagespec.MediaTypeImageManifest)
			w.Header().Set("Docker-Content-Digest", digest.FromString("another").String())
			w.Header().Set("Content-Length", "2")
			w.Write([]byte("{}"))
			return true
		}, engine.PullNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			_, s, err := pullFrom(t, c.fault, func(s *Store) { s.dialer.idle = 200 * time.Millisecond })
			var pe *engine.PullError
			if !errors.As(err, &pe) || pe.Reason != c.reason {
				t.Errorf("%v, want %s", err, c.reason)
			}
			if n := files(t, s); n != 0 {
				t.Errorf("%d files stay", n)
			}
		})
	}
}

// TestCredentialsStay: neither a mirror nor where a redirect leads is told them.
func TestCredentialsStay(t *testing.T) {
	curious := func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a != "" {
			t.Errorf("another server is told %q", a)
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
	}
	mirror := httptest.NewServer(http.HandlerFunc(curious))
	defer mirror.Close()
	g := newRegistry(linux)
	g.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u == "user" && p == "secret" {
			return isLayer(r) && redirect(w, r, mirror.URL+"/x") // the same address, another port
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		http.Error(w, "no", http.StatusUnauthorized)
		return true
	}
	srv := httptest.NewServer(g)
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	s := openStore(t, t.TempDir(), used{})
	if err := s.Configure(engine.RegistryConfig{Mirrors: map[string][]string{host: {mirror.URL}}}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Pull(t.Context(), host+"/app:v1", engine.PullOptions{Credentials: func(string) (string, string, error) { return "user", "secret", nil }})
	var pe *engine.PullError
	if !errors.As(err, &pe) || pe.Reason != engine.PullUnauthorized {
		t.Error(err)
	}
}

// TestMirrors: the registry itself is asked where its mirrors do not have the image
// or do not answer.
func TestMirrors(t *testing.T) {
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	status := func(code int) string {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(srv.Close)
		return srv.URL
	}
	good := newRegistry(linux)
	mirror := httptest.NewServer(good)
	defer mirror.Close()
	own := newRegistry(linux)
	srv := httptest.NewServer(own)
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	for name, c := range map[string]struct {
		mirrors []string
		by      *registry
	}{
		"good": {[]string{mirror.URL}, good}, "down": {[]string{down.URL}, own}, "404": {[]string{status(404)}, own}, "500": {[]string{status(500)}, own},
		"401": {[]string{status(401)}, own}, "the second": {[]string{down.URL, status(503), mirror.URL}, good},
	} {
		good.requests.Store(0)
		own.requests.Store(0)
		s := openStore(t, t.TempDir(), used{})
		if err := s.Configure(engine.RegistryConfig{Mirrors: map[string][]string{host: c.mirrors}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Pull(t.Context(), host+"/app:v1", engine.PullOptions{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.by.requests.Load() == 0 || good.requests.Load()*own.requests.Load() != 0 {
			t.Errorf("%s: the mirror was asked %d times, the registry %d", name, good.requests.Load(), own.requests.Load())
		}
	}
}

func TestInsecure(t *testing.T) {
	c := engine.RegistryConfig{Insecure: []string{"reg.example", "other.example:5000", "10.1.0.0/16", "127.0.0.0/8"}}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.9:1": true, "[::1]:5000": true, "reg.example": true, "reg.example:5000": true,
		"other.example:5000": true, "other.example": false, "other.example:5001": false, "10.1.2.3:5000": true, "10.2.0.1": false, "docker.invalid": false,
	} {
		if got := insecure(t.Context(), c, host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	// A name is looked up where there are ranges.
	if name, err := os.Hostname(); err == nil {
		addrs, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip4", name)
		if err == nil && len(addrs) > 0 {
			if !insecure(t.Context(), engine.RegistryConfig{Insecure: []string{addrs[0].Unmap().String() + "/32"}}, name+":5000") {
				t.Errorf("%s has an address of the range", name)
			}
		}
	}
}

// tokens is a token server in front of a registry.
type tokens struct {
	http.Handler
	url      string
	asked    []url.Values
	user     string
	password string
	oauth    bool // it takes the password by POST
}

func (k *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		u, p, basic := r.BasicAuth()
		q := r.URL.Query()
		if r.Method == http.MethodPost {
			if !k.oauth {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			r.ParseForm()
			q, u, p, basic = r.PostForm, r.PostForm.Get("username"), r.PostForm.Get("password"), true
		}
		if basic && (u != k.user || p != k.password) {
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"bad password"}]}`, http.StatusUnauthorized)
			return
		}
		k.asked = append(k.asked, q)
		json.NewEncoder(w).Encode(map[string]string{map[bool]string{true: "access_token", false: "token"}[k.oauth]: base64.StdEncoding.EncodeToString([]byte(u + " " + strings.Join(q["scope"], " ")))})
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	b, err := base64.StdEncoding.DecodeString(token)
	if !ok || err != nil || !strings.HasPrefix(string(b), k.user+" ") || !strings.Contains(string(b), "repository:team/app:pull") {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q,service=%q,scope=%q", k.url+"/token", "the registry", "repository:team/app:pull"))
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	k.Handler.ServeHTTP(w, r)
}

func TestPullByToken(t *testing.T) {
	k := &tokens{Handler: newRegistry(linux), user: "user", password: "secret"}
	srv := httptest.NewTLSServer(k)
	defer srv.Close()
	k.url = srv.URL
	s := openStore(t, t.TempDir(), used{})
	ref := strings.TrimPrefix(srv.URL, "https://") + "/team/app:v1"
	pull := func(o engine.PullOptions) error {
		o.Insecure = true
		_, err := s.Pull(t.Context(), ref, o)
		return err
	}
	as := func(password string) engine.PullOptions {
		return engine.PullOptions{Credentials: func(string) (string, string, error) { return "user", password, nil }}
	}
	var pe *engine.PullError
	for name, o := range map[string]engine.PullOptions{
		"nobody": {}, "wrong password": as("wrong"), "wrong token": {Token: func(string) string { return "x" }},
	} {
		if err := pull(o); !errors.As(err, &pe) || pe.Reason != engine.PullUnauthorized {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, k.oauth = range []bool{false, true} {
		if err := pull(as("secret")); err != nil {
			t.Errorf("by POST %v: %v", k.oauth, err)
		}
		if q := k.asked[len(k.asked)-1]; q.Get("service") != "the registry" || !strings.Contains(q.Get("scope"), "repository:team/app:pull") {
			t.Errorf("the token server is asked with %v", q)
		}
		if err := s.Remove(t.Context(), ref); err != nil {
			t.Error(err)
		}
	}
	if err := pull(engine.PullOptions{Token: func(string) string {
		return base64.StdEncoding.EncodeToString([]byte("user repository:team/app:pull"))
	}}); err != nil {
		t.Errorf("with the caller's token: %v", err)
	}
}

// TestPullSharedLayers: two images with the same layers, pulled at once, fetch each
// layer once.
func TestPullSharedLayers(t *testing.T) {
	var layers atomic.Int32
	g := newRegistry(linux)
	g.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") && (bytes.Equal(g.blobs[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]], layer1) || isLayer(r)) {
			layers.Add(1)
			time.Sleep(20 * time.Millisecond)
		}
		return false
	}
	srv := httptest.NewServer(g)
	defer srv.Close()
	s := openStore(t, t.TempDir(), used{})
	done := make(chan error)
	for _, app := range []string{"a", "b", "c", "d"} {
		go func() {
			_, err := s.Pull(t.Context(), strings.TrimPrefix(srv.URL, "http://")+"/"+app+":v1", engine.PullOptions{})
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := layers.Load(); n != 2 {
		t.Errorf("%d fetches of 2 layers", n)
	}
}

// TestPullCancelled: nothing of a pull that its client gave up stays, and it can be
// done again.
func TestPullCancelled(t *testing.T) {
	g := newRegistry(linux)
	began, release := make(chan struct{}, 8), make(chan struct{})
	g.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !isLayer(r) {
			return false
		}
		w.Write(layer2[:10])
		w.(http.Flusher).Flush()
		began <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	}
	srv := httptest.NewServer(g)
	defer srv.Close()
	s := openStore(t, t.TempDir(), used{})
	ref := strings.TrimPrefix(srv.URL, "http://") + "/app:v1"
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := s.Pull(ctx, ref, engine.PullOptions{})
		gone <- err
	}()
	<-began
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(release)
	g.fault = nil
	if _, err := s.Pull(t.Context(), ref, engine.PullOptions{}); err != nil {
		t.Error(err)
	}
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Error(err)
	}
	if n := files(t, s); n != 0 {
		t.Errorf("%d files stay", n)
	}
}

func TestWaitFor(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		status int
		after  string
		want   time.Duration
	}{
		{200, "5", 0}, {500, "5", 0}, {429, "5", 5 * time.Second}, {503, "5", 5 * time.Second}, {503, "", 0}, {429, "", someWait},
		{429, "nonsense", someWait}, {429, "0", time.Millisecond}, {503, "Fri, 02 Jan 2026 03:04:15 GMT", 10 * time.Second}, {503, "Fri, 02 Jan 2026 03:00:00 GMT", time.Millisecond},
	} {
		resp := &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.after}}, Body: io.NopCloser(strings.NewReader(""))}
		if got := waitFor(resp, 0, now); got != c.want {
			t.Errorf("%d after %q: %v", c.status, c.after, got)
		}
	}
}
