package crash

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	clients  = 64
	charging = 8 // of them create what a quota counts
	own      = 4 // objects of each of the others
	kills    = 200
)

// TestKill kills the server 200 times while 64 clients create, update, patch and
// delete. After each start every acknowledged write is there with the revision that
// was answered, what was under way has happened whole or not at all, and a quota,
// which changes in one transaction with what it counts, counts right.
func TestKill(t *testing.T) {
	rounds := kills
	if testing.Short() {
		rounds = 10
	}
	dir := t.TempDir()
	all := make([]*client, clients)
	for i := range all {
		all[i] = &client{id: i, objects: map[string]state{}}
	}
	acked := 0
	for round := range rounds {
		s := start(t, dir)
		if round == 0 {
			makeQuota(t, s)
		}
		verify(t, s, all)
		if t.Failed() {
			t.Fatalf("after kill %d, %d writes acknowledged", round, acked)
		}
		acked += load(t, s, all)
	}
	s := start(t, dir)
	verify(t, s, all)
	s.kill()
	if acked < rounds*clients {
		t.Errorf("only %d writes were acknowledged in %d lives: the test shows nothing", acked, rounds)
	}
	t.Logf("%d kills, %d acknowledged writes", rounds, acked)
}

// server is one life of the process.
type server struct {
	url string
	cmd *exec.Cmd
}

func start(t *testing.T, dir string) *server {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), storeDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &server{cmd: cmd}
	t.Cleanup(s.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server does not start: %v", err)
	}
	s.url = strings.TrimSpace(line)
	return s
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it may be dead already
	_ = s.cmd.Wait()
}

// state is an object as the server has told of it; the zero state is none.
type state struct{ revision, value string }

// client is one client with objects of its own.
type client struct {
	id      int
	objects map[string]state
	turn    int

	// pending is a write without an answer: value is what it would make of name, ""
	// for a deletion.
	pending bool
	name    string
	value   string

	http *http.Client
	base string
}

func (c *client) connect(s *server) {
	c.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
	}}
	ns := "default"
	if c.id < charging {
		ns = "counted"
	}
	c.base = s.url + "/api/v1/namespaces/" + ns + "/configmaps"
}

// do sends a request; a status that is not 2xx is an error.
func (c *client) do(ctx context.Context, method, url, contentType string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return statusError(fmt.Sprintf("%s %s: %d %s", method, url, resp.StatusCode, raw))
	}
	return json.Unmarshal(raw, out)
}

// statusError is an answer, as opposed to the lack of one.
type statusError string

func (e statusError) Error() string { return string(e) }

// write does the client's next write: creation, update, patch, deletion in turns.
func (c *client) write(ctx context.Context) error {
	c.turn++
	value := fmt.Sprintf("%d-%d-%s", c.id, c.turn, strings.Repeat("x", c.turn*37%3000))
	cm := &corev1.ConfigMap{Data: map[string]string{"v": value}}
	if c.id < charging {
		cm.Name = fmt.Sprintf("q%02d-%06d", c.id, c.turn)
		return c.note(ctx, cm.Name, value, "POST", c.base, "application/json", cm)
	}
	cm.Name = fmt.Sprintf("c%02d-%d", c.id, c.turn%own)
	old, there := c.objects[cm.Name]
	at := c.base + "/" + cm.Name
	switch kind := c.turn / own % 4; {
	case !there:
		return c.note(ctx, cm.Name, value, "POST", c.base, "application/json", cm)
	case kind == 0:
		cm.ResourceVersion = old.revision
		return c.note(ctx, cm.Name, value, "PUT", at, "application/json", cm)
	case kind == 3:
		return c.note(ctx, cm.Name, "", "DELETE", at, "application/json", nil)
	}
	return c.note(ctx, cm.Name, value, "PATCH", at, "application/merge-patch+json", map[string]any{"data": cm.Data})
}

func (c *client) note(ctx context.Context, name, value, method, url, contentType string, in any) error {
	c.pending, c.name, c.value = true, name, value
	var out corev1.ConfigMap
	if err := c.do(ctx, method, url, contentType, in, &out); err != nil {
		return err
	}
	c.pending = false
	if value == "" {
		delete(c.objects, name)
		return nil
	}
	if out.Data["v"] != value || out.ResourceVersion == "" {
		return statusError(fmt.Sprintf("%s %s was answered with %+v", method, url, out))
	}
	c.objects[name] = state{out.ResourceVersion, value}
	return nil
}

// load lets all clients write until the server is killed, at a random moment after
// the first answers, and returns how many writes were acknowledged.
func load(t *testing.T, s *server, all []*client) int {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var acked atomic.Int64
	under := make(chan struct{}) // closed when the load is full
	var once sync.Once
	var wg sync.WaitGroup
	for _, c := range all {
		c.connect(s)
		wg.Go(func() {
			defer c.http.CloseIdleConnections()
			for {
				err := c.write(ctx)
				var told statusError
				if errors.As(err, &told) {
					t.Errorf("client %d: %v", c.id, err)
				}
				if err != nil {
					return
				}
				if acked.Add(1) == clients {
					once.Do(func() { close(under) })
				}
			}
		})
	}
	<-under
	time.AfterFunc(time.Duration(rand.IntN(40000))*time.Microsecond, s.kill)
	wg.Wait()
	return int(acked.Load())
}

// verify compares what the server has with what it had acknowledged.
func verify(t *testing.T, s *server, all []*client) {
	t.Helper()
	c := &client{id: charging}
	c.connect(s)
	defer c.http.CloseIdleConnections()
	var list corev1.ConfigMapList
	if err := c.do(context.Background(), "GET", c.base, "", nil, &list); err != nil {
		t.Fatal(err)
	}
	have := map[string]state{}
	for i := range list.Items {
		cm := &list.Items[i]
		have[cm.Name] = state{cm.ResourceVersion, cm.Data["v"]}
	}
	for _, x := range all {
		if x.id < charging {
			x.verifyCounted(t, s)
			continue
		}
		for n := range own {
			name := fmt.Sprintf("c%02d-%d", x.id, n)
			x.settle(t, name, have[name])
			delete(have, name)
		}
		x.pending = false
	}
	for name := range have {
		t.Errorf("%s is there and nobody made it", name)
	}
	verifyQuota(t, s)
}

// settle compares one object; a write without an answer may have happened.
func (c *client) settle(t *testing.T, name string, got state) {
	t.Helper()
	want := c.objects[name]
	if got == want {
		return
	}
	if c.pending && c.name == name && got.value == c.value && got.revision != want.revision {
		if got == (state{}) {
			delete(c.objects, name)
		} else {
			c.objects[name] = got
		}
		return
	}
	t.Errorf("%s is %.40v, acknowledged was %.40v, under way %v %.40s", name, got, want, c.pending && c.name == name, c.value)
}

// verifyCounted looks for the last objects that the client was told of, and for the
// one that it was not.
func (c *client) verifyCounted(t *testing.T, s *server) {
	t.Helper()
	c.connect(s)
	defer c.http.CloseIdleConnections()
	for name, want := range c.objects {
		var got corev1.ConfigMap
		if err := c.do(context.Background(), "GET", c.base+"/"+name, "", nil, &got); err != nil {
			t.Errorf("%s was acknowledged: %v", name, err)
		} else if have := (state{got.ResourceVersion, got.Data["v"]}); have != want {
			t.Errorf("%s is %.40v, acknowledged was %.40v", name, have, want)
		}
	}
	clear(c.objects)
	c.pending = false
}

func makeQuota(t *testing.T, s *server) {
	t.Helper()
	c := &client{}
	c.connect(s)
	defer c.http.CloseIdleConnections()
	hard := map[string]any{"count/configmaps": "1000000"}
	for _, step := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/api/v1/namespaces", map[string]any{"metadata": map[string]any{"name": "counted"}}},
		{"POST", "/api/v1/namespaces/counted/resourcequotas", map[string]any{"metadata": map[string]any{"name": "q"}, "spec": map[string]any{"hard": hard}}},
		{"PUT", "/api/v1/namespaces/counted/resourcequotas/q/status", map[string]any{"metadata": map[string]any{"name": "q"},
			"status": map[string]any{"hard": hard, "used": map[string]any{"count/configmaps": "0"}}}},
	} {
		if err := c.do(context.Background(), step.method, s.url+step.path, "application/json", step.body, &map[string]any{}); err != nil {
			t.Fatal(err)
		}
	}
}

func verifyQuota(t *testing.T, s *server) {
	t.Helper()
	c := &client{}
	c.connect(s)
	defer c.http.CloseIdleConnections()
	var list corev1.ConfigMapList
	if err := c.do(context.Background(), "GET", c.base+"?limit=1", "", nil, &list); err != nil {
		t.Fatal(err)
	}
	count := int64(len(list.Items))
	if list.RemainingItemCount != nil {
		count += *list.RemainingItemCount
	}
	var q corev1.ResourceQuota
	if err := c.do(context.Background(), "GET", s.url+"/api/v1/namespaces/counted/resourcequotas/q", "", nil, &q); err != nil {
		t.Fatal(err)
	}
	used := q.Status.Used["count/configmaps"]
	if used.Value() != count {
		t.Errorf("the quota counts %v, there are %d", used.Value(), count)
	}
}
