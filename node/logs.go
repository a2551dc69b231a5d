package node

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/engine/logs"
	"skiff.dev/skiff/node/lifecycle"
)

// logQuery is what a client asks of a container's log.
type logQuery struct {
	Follow, Previous, Timestamps bool
	SinceSeconds                 *int64
	SinceTime                    *time.Time
	Tail, Limit                  *int64
	Stream                       string // "", "All", "Stdout", "Stderr"
}

// parseLogQuery reads the parameters of v1.PodLogOptions.
func parseLogQuery(q url.Values) (logQuery, error) {
	var out logQuery
	for name, dst := range map[string]*bool{"follow": &out.Follow, "previous": &out.Previous, "timestamps": &out.Timestamps} {
		s := q.Get(name)
		if s == "" {
			// "?follow" alone means true, as it does to Kubernetes.
			*dst = q.Has(name)
			continue
		}
		b, err := strconv.ParseBool(s)
		if err != nil {
			return out, fmt.Errorf("%s: invalid value %q", name, s)
		}
		*dst = b
	}
	for name, dst := range map[string]**int64{"sinceSeconds": &out.SinceSeconds, "tailLines": &out.Tail, "limitBytes": &out.Limit} {
		s := q.Get(name)
		if s == "" || name == "tailLines" && s == "all" {
			continue
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || n == 0 && name != "tailLines" {
			return out, fmt.Errorf("%s: invalid value %q", name, s)
		}
		*dst = &n
	}
	if s := q.Get("sinceTime"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return out, fmt.Errorf("sinceTime: invalid value %q", s)
		}
		out.SinceTime = &t
	}
	if out.SinceSeconds != nil && out.SinceTime != nil {
		return out, errors.New("at most one of `sinceTime` or `sinceSeconds` may be specified")
	}
	switch out.Stream = q.Get("stream"); out.Stream {
	case "", v1.LogStreamAll, v1.LogStreamStdout, v1.LogStreamStderr:
	default:
		return out, fmt.Errorf("stream: invalid value %q", out.Stream)
	}
	return out, nil
}

func (q logQuery) options(now time.Time) logs.Options {
	o := logs.Options{Follow: q.Follow, Tail: q.Tail, LimitBytes: q.Limit, Timestamps: q.Timestamps}
	if q.SinceTime != nil {
		o.Since = *q.SinceTime
	}
	if q.SinceSeconds != nil {
		o.Since = now.Add(-time.Duration(*q.SinceSeconds) * time.Second)
	}
	return o
}

func (n *Node) serveLogs(rw http.ResponseWriter, r *http.Request) {
	q, err := parseLogQuery(r.URL.Query())
	if err != nil {
		http.Error(rw, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	namespace, name, container := r.PathValue("namespace"), r.PathValue("pod"), r.PathValue("container")
	w := n.find(namespace, name)
	if w == nil {
		http.Error(rw, fmt.Sprintf("pod %q does not exist", name), http.StatusNotFound)
		return
	}
	path, done, stop, status, err := w.logSource(container, q.Previous)
	if err != nil {
		http.Error(rw, err.Error(), status)
		return
	}
	defer stop()
	o := q.options(time.Now())
	o.Done = done
	if _, err := os.Stat(path); err != nil {
		http.Error(rw, fmt.Sprintf("failed to open the log of container %q: %v", container, err), http.StatusInternalServerError)
		return
	}
	rw.Header().Set("Content-Type", "text/plain")
	rw.WriteHeader(http.StatusOK)
	out := flushing(rw, q.Follow)
	stdout, stderr := io.Writer(out), io.Writer(out)
	switch q.Stream {
	case v1.LogStreamStdout:
		stderr = nil
	case v1.LogStreamStderr:
		stdout = nil
	}
	if err := logs.Read(r.Context(), path, o, stdout, stderr); err != nil && r.Context().Err() == nil {
		n.log.Debug("log stream ended", "pod", name, "container", container, "error", err)
	}
}

// logSource finds the file of the instance that is asked for, and a channel that
// is closed when the instance has ended. Messages are the kubelet's.
func (w *worker) logSource(container string, previous bool) (path string, done <-chan struct{}, stop func(), status int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	nop := func() {}
	if _, _, ok := lifecycle.Find(w.pod, container); !ok {
		return "", nil, nop, http.StatusNotFound, fmt.Errorf("container %q is not found in pod %q", container, w.pod.Name+"_"+w.pod.Namespace)
	}
	c := w.container(container)
	attempt := c.Attempt
	switch {
	case previous && (c.Last == nil || attempt == 0):
		if c.State != lifecycle.Exited || c.Waiting == nil && time.Now().After(c.Crash.Until(c.FinishedAt)) {
			return "", nil, nop, http.StatusBadRequest, fmt.Errorf("previous terminated container %q in pod %q not found", container, w.pod.Name)
		}
		// It waits for its next instance: the newest one is the previous.
	case previous && c.State != lifecycle.Exited:
		attempt--
	case previous:
		if !time.Now().Before(c.Crash.Until(c.FinishedAt)) {
			attempt--
		}
	case c.State == lifecycle.None && c.Last == nil || c.State == lifecycle.Created:
		reason := lifecycle.ContainerCreating
		if c.Waiting != nil {
			reason = c.Waiting.Reason
		} else if len(w.pod.Spec.InitContainers) > 0 {
			reason = lifecycle.PodInitializing
		}
		switch reason {
		case reasonPull, "ImagePullBackOff", reasonNeverPull, reasonInvalidName:
			return "", nil, nop, http.StatusBadRequest, fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", container, w.pod.Name)
		}
		return "", nil, nop, http.StatusBadRequest, fmt.Errorf("container %q in pod %q is waiting to start: %v", container, w.pod.Name, reason)
	}
	path = w.n.logPath(w.pod, container, attempt)
	ch := make(chan struct{})
	if attempt != c.Attempt || c.State != lifecycle.Running {
		close(ch)
		return path, ch, nop, 0, nil
	}
	return path, ch, w.onExit(c.ID, ch), 0, nil
}

// flushing sends every write on at once where the client follows.
func flushing(rw http.ResponseWriter, follow bool) io.Writer {
	if !follow {
		return rw
	}
	c := http.NewResponseController(rw)
	c.Flush()
	return flushWriter{rw, c}
}

type flushWriter struct {
	io.Writer
	c *http.ResponseController
}

func (f flushWriter) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}
