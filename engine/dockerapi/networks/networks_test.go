package networks

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"

	"skiff.dev/skiff/engine/bridge"
	"skiff.dev/skiff/engine/dockerapi"
	"skiff.dev/skiff/engine/dockerapi/event"
	"skiff.dev/skiff/engine/dockerapi/route"
	"skiff.dev/skiff/test/recorded/judge"
	"skiff.dev/skiff/test/recordeddocker"
)

func server(a *Area) http.Handler {
	return dockerapi.New(dockerapi.Options{Version: "test", Areas: func(context.Context) ([]dockerapi.Area, error) { return []dockerapi.Area{a}, nil }})
}

// TestRecorded plays what a Docker engine answered about networks on the fake. It
// uses the recordings beside the repository.
func TestRecorded(t *testing.T) {
	f, err := recordeddocker.Read(filepath.Join(judge.Dir(t, "recorded-docker"), "e-network-crud.json"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: withInfo(server(New(Options{Networks: bridge.NewFake(), Events: &event.Hub{}})))}
	go srv.Serve(l) //nolint:errcheck // ends with the test
	defer srv.Close()
	e, err := recordeddocker.Dial("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	results, err := recordeddocker.Play(t.Context(), e, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Compared && !r.Equal {
			t.Errorf("step %d: %s %s (%s)\n%s", r.Index, r.Step.Method, r.Step.Path, r.Step.About, recordeddocker.Diff(r.Want, r.Got))
		}
	}
}

// withInfo answers what the player asks of every engine.
func withInfo(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/info") {
			json.NewEncoder(w).Encode(map[string]string{"DockerRootDir": "/none"})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// containers notes what it is asked.
type containers struct{ asked []string }

func (c *containers) ConnectNetwork(_ context.Context, container string, n *bridge.Network, s *network.EndpointSettings) error {
	c.asked = append(c.asked, "connect "+container+" "+n.Name+" "+strings.Join(s.Aliases, ","))
	return nil
}

func (c *containers) DisconnectNetwork(_ context.Context, container string, n *bridge.Network, force bool) error {
	c.asked = append(c.asked, "disconnect "+container+" "+n.Name)
	return route.NotFoundf("No such container: %s", container)
}

func TestConnect(t *testing.T) {
	c, hub := &containers{}, &event.Hub{}
	h := server(New(Options{Networks: bridge.NewFake(), Containers: c, Events: hub}))
	for _, x := range []struct {
		path, body string
		status     int
	}{
		{"/networks/bridge/connect", `{"Container":"a","EndpointConfig":{"Aliases":["x"]}}`, 200},
		{"/networks/bridge/disconnect", `{"Container":"a"}`, 404},
		{"/networks/bridge/disconnect", `{"Container":"a","Force":true}`, 200},
		{"/networks/nothing/connect", `{"Container":"a"}`, 404},
	} {
		r := httptest.NewRequest("POST", x.path, strings.NewReader(x.body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != x.status {
			t.Errorf("%s %s: %d %s", x.path, x.body, w.Code, w.Body)
		}
	}
	if got := strings.Join(c.asked, "; "); got != "connect a bridge x; disconnect a bridge; disconnect a bridge" {
		t.Error(got)
	}
	Tell(hub)("connect", &bridge.Network{ID: "i", Name: "n", Driver: "bridge"}, "c")
	past, _ := hub.Subscribe(t.Context(), time.Unix(1, 0), time.Time{}, func(*events.Message) bool { return true })
	if len(past) != 1 || past[0].Actor.Attributes["container"] != "c" || past[0].Actor.Attributes["type"] != "bridge" {
		t.Error(past)
	}
}

func FuzzCreate(f *testing.F) {
	f.Add([]byte(`{"Name":"x","IPAM":{"Config":[{"Subnet":"10.0.0.0/24","Gateway":null}]},"EnableIPv6":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/networks/create", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		server(New(Options{Networks: bridge.NewFake(), Events: &event.Hub{}})).ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != 503 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
