package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
)

// hookOutput bounds what is kept of a hook's answer.
const hookOutput = 10 << 10

// preStop runs the hook, for grace at most. Its failure is told and otherwise
// ignored.
func (w *worker) preStop(pod *v1.Pod, name, id string, grace time.Duration) {
	c, _, ok := lifecycle.Find(pod, name)
	if !ok || c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return
	}
	ctx, cancel := context.WithTimeout(w.ctx, grace)
	defer cancel()
	if err := w.hook(ctx, pod, c, id, c.Lifecycle.PreStop); err != nil && ctx.Err() == nil {
		w.n.log.Info("preStop hook failed", "pod", pod.Name, "namespace", pod.Namespace, "container", name, "error", err)
		w.n.containerEvent(pod, name, v1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
}

// postStart runs the hook of a container that has just started.
func (w *worker) postStart(pod *v1.Pod, c *v1.Container) error {
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil
	}
	w.mu.Lock()
	id := w.container(c.Name).ID
	w.mu.Unlock()
	w.kick() // the container runs, though its start has not ended
	if err := w.hook(w.ctx, pod, c, id, c.Lifecycle.PostStart); err != nil {
		w.n.log.Info("postStart hook failed", "pod", pod.Name, "namespace", pod.Namespace, "container", c.Name, "error", err)
		w.n.containerEvent(pod, c.Name, v1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
		return err
	}
	return nil
}

func (w *worker) hook(ctx context.Context, pod *v1.Pod, c *v1.Container, id string, h *v1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		out := &limited{n: hookOutput}
		code, err := w.n.o.Engine.Exec(ctx, id, engine.ExecSpec{Args: h.Exec.Command}, engine.Streams{Stdout: out, Stderr: out})
		if err == nil && code != 0 {
			err = fmt.Errorf("command %q exited with %d: %s", strings.Join(h.Exec.Command, " "), code, out)
		}
		return err
	case h.HTTPGet != nil:
		w.mu.Lock()
		host := first(w.obs.IPs)
		w.mu.Unlock()
		req, err := httpRequest(ctx, h.HTTPGet, c, host, "kube-lifecycle/1.36")
		if err != nil {
			return err
		}
		resp, err := probeTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, io.LimitReader(resp.Body, hookOutput))
		if resp.StatusCode < 200 || resp.StatusCode >= 400 {
			return fmt.Errorf("HTTP status %d", resp.StatusCode)
		}
		return nil
	case h.Sleep != nil:
		t := time.NewTimer(time.Duration(h.Sleep.Seconds) * time.Second)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("hook without a handler")
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// portOf resolves a port by number or by the name of a container port.
func portOf(p intstr.IntOrString, c *v1.Container) (int, error) {
	n := p.IntValue()
	if p.Type == intstr.String {
		found := false
		for _, cp := range c.Ports {
			if cp.Name == p.StrVal {
				n, found = int(cp.ContainerPort), true
			}
		}
		if !found && n == 0 {
			return 0, fmt.Errorf("couldn't find port: %q in container", p.StrVal)
		}
	}
	if n <= 0 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", n)
	}
	return n, nil
}

// httpRequest builds the request of an httpGet handler.
func httpRequest(ctx context.Context, h *v1.HTTPGetAction, c *v1.Container, podIP, agent string) (*http.Request, error) {
	port, err := portOf(h.Port, c)
	if err != nil {
		return nil, err
	}
	host := h.Host
	if host == "" {
		host = podIP
	}
	scheme := strings.ToLower(string(h.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	path := h.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, fmt.Sprint(port))+path, nil)
	if err != nil {
		return nil, err
	}
	for _, hd := range h.HTTPHeaders {
		if strings.EqualFold(hd.Name, "Host") {
			req.Host = hd.Value
			continue
		}
		req.Header.Add(hd.Name, hd.Value)
	}
	// An empty value given for a header takes the default away.
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header.Set("User-Agent", agent)
	}
	if _, ok := req.Header["Accept"]; !ok {
		req.Header.Set("Accept", "*/*")
	}
	return req, nil
}

// limited keeps the first n bytes written to it.
type limited struct {
	n   int
	buf []byte
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.n - len(l.buf); room > 0 {
		l.buf = append(l.buf, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (l *limited) String() string { return string(l.buf) }
