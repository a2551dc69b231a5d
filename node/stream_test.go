package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/enginetest"
)

// streamRig is a node with one running pod behind a real HTTP server.
func streamRig(t *testing.T) (*rig, *httptest.Server) {
	r := newRig(t, t.TempDir())
	r.engine.OnExec = func(ctx context.Context, _ engine.ContainerSpec, spec engine.ExecSpec, s engine.Streams) (int, error) {
		if s.Stdin != nil {
			io.Copy(s.Stdout, s.Stdin)
		}
		fmt.Fprintf(s.Stdout, "ran %s tty=%v", strings.Join(spec.Args, " "), spec.TTY)
		return len(spec.Args) - 1, nil
	}
	r.engine.OnStart = func(engine.ContainerSpec) (enginetest.Program, error) {
		return func(ctx context.Context, p *enginetest.Process) int {
			io.Copy(p.Stdout, p.Stdin)
			<-ctx.Done()
			return 0
		}, nil
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	r.make("web", one(v1.Container{Stdin: true, StdinOnce: true}))
	for deadline := time.Now().Add(10 * time.Second); r.line("web") != "Running ready=True app:running"; {
		if time.Now().After(deadline) {
			t.Fatal(r.line("web"))
		}
		time.Sleep(time.Millisecond)
	}
	s := httptest.NewServer(r.node.Handler())
	t.Cleanup(s.Close)
	return r, s
}

func TestExecStreams(t *testing.T) {
	_, s := streamRig(t)
	conf := &rest.Config{Host: s.URL}
	// The API server translates the newer protocol v5, which ends streams, to SPDY.
	for name, make := range map[string]func(*url.URL) (remotecommand.Executor, error){
		"spdy": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(conf, "POST", u)
		},
		"websocket": func(u *url.URL) (remotecommand.Executor, error) {
			return remotecommand.NewWebSocketExecutorForProtocols(conf, "GET", u.String(), "v4.channel.k8s.io")
		},
	} {
		t.Run(name, func(t *testing.T) {
			query, want, stdin := "&input=1", "in ran a b tty=false", io.Reader(strings.NewReader("in "))
			if name == "websocket" {
				query, want, stdin = "", "ran a b tty=false", nil // v4 cannot tell the end of input
			}
			u, _ := url.Parse(s.URL + "/exec/default/web/app?command=a&command=b&output=1&error=1" + query)
			e, err := make(u)
			if err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Stderr: &errs})
			var code utilexec.CodeExitError
			if !errors.As(err, &code) || code.Code != 1 {
				t.Errorf("error %v", err)
			}
			if out.String() != want {
				t.Errorf("output %q", out.String())
			}
		})
	}
	t.Run("attach", func(t *testing.T) {
		u, _ := url.Parse(s.URL + "/attach/default/web/app?input=1&output=1")
		e, err := remotecommand.NewSPDYExecutor(conf, "POST", u)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		out := &notify{want: "typed", cancel: cancel}
		in, w := io.Pipe()
		go io.WriteString(w, "typed")
		e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out})
		if out.buf.String() != "typed" {
			t.Errorf("output %q", out.buf.String())
		}
		w.Close()
	})
	t.Run("nobody", func(t *testing.T) {
		resp, err := http.Post(s.URL+"/exec/default/web/nope?command=a&output=1", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != 404 {
			t.Error(resp.Status)
		}
	})
}

type notify struct {
	buf    bytes.Buffer
	want   string
	cancel func()
}

func (n *notify) Write(p []byte) (int, error) {
	n.buf.Write(p)
	if n.buf.String() == n.want {
		n.cancel()
	}
	return len(p), nil
}

func TestPortForward(t *testing.T) {
	r, s := streamRig(t)
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	w := r.node.find("default", "web")
	w.mu.Lock()
	w.obs.IPs = []string{"127.0.0.1"}
	w.mu.Unlock()
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(s.URL + "/portForward/default/web")
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u)
	stop, ready := make(chan struct{}), make(chan struct{})
	port := echo.Addr().(*net.TCPAddr).Port
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{":" + strconv.Itoa(port)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- f.ForwardPorts() }()
	<-ready
	ports, err := f.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports[0].Local))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "there and back")
	c.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(c)
	if string(got) != "there and back" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	c.Close()
	close(stop)
	<-done
}
