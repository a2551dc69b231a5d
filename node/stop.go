package node

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/engine/logs"
	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/podspec"
)

// stopContainer ends one instance: preStop, stop signal, kill, all within the
// action's grace. again tells that it is being stopped already and only the grace
// has become shorter.
func (w *worker) stopContainer(pod *v1.Pod, a lifecycle.Action, id string, again bool) {
	grace := a.Grace
	if !again {
		w.n.containerEvent(pod, a.Container, v1.EventTypeNormal, "Killing", "%s", a.Message)
		if grace > 0 {
			began := time.Now()
			w.preStop(pod, a.Container, id, grace)
			grace = max(grace-time.Since(began), lifecycle.MinGrace)
		}
	}
	err := w.n.o.Engine.Stop(w.ctx, id, grace)
	if err != nil && !errors.Is(err, engine.ErrNotFound) && w.ctx.Err() == nil {
		w.n.log.Warn("cannot stop container", "pod", pod.Name, "container", a.Container, "error", err)
		w.n.containerEvent(pod, a.Container, v1.EventTypeWarning, "FailedKillPod", "error killing container: %v", err)
		// Let the plan try again, a little later.
		select {
		case <-time.After(time.Second):
		case <-w.ctx.Done():
		}
	}
	now, getErr := w.n.o.Engine.Get(w.ctx, id)
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.container(a.Container)
	if c.ID != id {
		return
	}
	switch {
	case getErr == nil:
		w.apply(a.Container, c, now)
	case errors.Is(getErr, engine.ErrNotFound) && c.State != lifecycle.Exited:
		w.apply(a.Container, c, &engine.Container{State: engine.Exited, StartedAt: c.StartedAt, FinishedAt: time.Now(), ExitCode: 137})
	}
	c.Stopping = false
}

// maxTerminationMessage and its neighbours bound a termination message as
// Kubernetes does.
const (
	maxTerminationMessage = 4096
	maxFallbackBytes      = 2048
	maxFallbackLines      = 80
)

// terminationMessage is what a container left at its terminationMessagePath or, by
// policy, the end of its log.
func (n *Node) terminationMessage(pod *v1.Pod, name string, e *engine.Container) string {
	msg := ""
	if e.Spec.Labels[podspec.LabelTermPath] != "" {
		if f, err := os.Open(n.terminationFile(pod, name, attemptOf(e))); err == nil {
			buf := make([]byte, maxTerminationMessage)
			k, _ := f.Read(buf)
			f.Close()
			msg = string(buf[:max(k, 0)])
		}
	}
	if msg == "" && e.ExitCode != 0 && e.Spec.Labels[podspec.LabelTermPolicy] == string(v1.TerminationMessageFallbackToLogsOnError) && e.Spec.LogPath != "" {
		var b bytes.Buffer
		tail := int64(maxFallbackLines)
		if logs.Read(context.Background(), e.Spec.LogPath, logs.Options{Tail: &tail, CurrentOnly: true}, &b, &b) == nil {
			out := b.Bytes()
			if len(out) > maxFallbackBytes {
				out = out[len(out)-maxFallbackBytes:]
			}
			msg = string(out)
		}
	}
	if msg == "" {
		msg = e.Message
	}
	return msg
}

// deletePod removes the API object for good, if it is still the same pod.
func (n *Node) deletePod(ctx context.Context, pod *v1.Pod) error {
	target := &v1.Pod{}
	target.Namespace, target.Name = pod.Namespace, pod.Name
	err := n.o.Client.Delete(ctx, target, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
