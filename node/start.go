package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/podspec"
	"skiff.dev/skiff/volume"
)

// Waiting reasons, and how long each failure shows before its back-off does.
const (
	reasonConfigError = "CreateContainerConfigError"
	reasonCreateError = "CreateContainerError"
	reasonRunError    = "RunContainerError"
	retryConfig       = 10 * time.Second
	settleAfter       = 2 * time.Second
)

// start makes and starts the next instance of a container.
func (w *worker) start(name string, attempt int) {
	w.mu.Lock()
	pod, vols, sandbox, ips := w.pod, w.volumes, w.sandbox, w.obs.IPs
	w.mu.Unlock()
	c, kind, ok := lifecycle.Find(pod, name)
	if !ok {
		w.startEnded(name, nil)
		return
	}
	img, failure := w.ensureImage(pod, c)
	if failure != nil {
		w.startFailed(name, sandbox, failure)
		return
	}
	if !w.n.acquire(w.ctx) {
		w.startEnded(name, nil)
		return
	}
	err := w.create(pod, c, kind, attempt, sandbox, ips, vols, img)
	w.n.relinquish()
	if err != nil {
		w.startFailed(name, sandbox, err)
		return
	}
	w.startEnded(name, w.postStart(pod, c))
}

// startError is why an instance does not run. Settle names the reason that follows
// it.
type startError struct {
	reason, message string
	delay           time.Duration // until the next try
	settle          *v1.ContainerStateWaiting
	ran             bool // it counts as an instance that ended
}

func (e *startError) Error() string { return e.reason + ": " + e.message }

func (w *worker) create(pod *v1.Pod, c *v1.Container, kind lifecycle.Kind, attempt int, sandbox string, ips []string, vols map[string]volume.Mount, img *engine.Image) error {
	n, ctx := w.n, w.ctx
	spec, err := n.containerSpec(ctx, pod, c, kind, attempt, sandbox, ips, vols, img)
	if err != nil {
		var ce *podspec.ConfigError
		reason := reasonCreateError
		if errors.As(err, &ce) {
			reason = reasonConfigError
		}
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, "Failed", "Error: %v", err)
		return &startError{reason: reason, message: err.Error(), delay: retryConfig}
	}
	if spec.PIDOf, err = w.target(pod, c.Name); err != nil {
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, "Failed", "Error: %v", err)
		return &startError{reason: reasonConfigError, message: err.Error(), delay: retryConfig}
	}
	made, err := n.o.Engine.Create(ctx, spec)
	if errors.Is(err, engine.ErrExists) {
		// A crash came between this container's creation and its start.
		if err = n.o.Engine.Remove(ctx, spec.Name, true); err == nil {
			made, err = n.o.Engine.Create(ctx, spec)
		}
	}
	if err != nil {
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, "Failed", "Error: %v", err)
		return &startError{reason: reasonCreateError, message: err.Error(), delay: retryConfig}
	}
	n.containerEvent(pod, c.Name, v1.EventTypeNormal, "Created", "Container created")

	w.mu.Lock()
	st := w.container(c.Name)
	if st.State == lifecycle.Exited {
		st.Last, st.Crash = st.Terminated(), st.Crash.Next(time.Now())
	}
	*st = lifecycle.Container{
		ID: made.Spec.ID, State: lifecycle.Created, Attempt: attempt, Last: st.Last, Starting: true,
		Image: c.Image, ImageID: imageID(made), Crash: st.Crash, Hash: lifecycle.Hash(c),
		Resources: c.Resources.DeepCopy(), User: podspec.ContainerUser(&spec, img.Config.Config.User),
	}
	if isTag(img, c.Image) {
		st.Image = img.Names[0]
	}
	old := w.keepID(c.Name, made.Spec.ID)
	w.mu.Unlock()

	err = n.o.Engine.Start(ctx, made.Spec.ID)
	n.removeOld(pod, c.Name, old, attempt)
	if err != nil {
		n.containerEvent(pod, c.Name, v1.EventTypeWarning, "Failed", "Error: %v", err)
		return &startError{reason: reasonRunError, message: err.Error(), ran: true}
	}
	n.containerEvent(pod, c.Name, v1.EventTypeNormal, "Started", "Container started")
	now, err := n.o.Engine.Get(ctx, made.Spec.ID)
	if err != nil {
		now = &engine.Container{State: engine.Running, StartedAt: time.Now()}
	}
	w.mu.Lock()
	w.apply(c.Name, w.container(c.Name), now)
	w.mu.Unlock()
	return nil
}

// target is the container whose processes an ephemeral container asks to see; ""
// for none.
func (w *worker) target(pod *v1.Pod, name string) (string, error) {
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		if e.Name != name || e.TargetContainerName == "" {
			continue
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if c := w.container(e.TargetContainerName); c.ID != "" {
			return c.ID, nil
		}
		return "", fmt.Errorf("unable to find target container %s", e.TargetContainerName)
	}
	return "", nil
}

// isTag: the name that the pod uses is one that the store knows in full.
func isTag(img *engine.Image, ref string) bool {
	full, err := engine.NormalizeRef(ref)
	return err == nil && len(img.Names) == 1 && img.Names[0] == full
}

// removeOld drops instances and logs that are older than the previous one.
func (n *Node) removeOld(pod *v1.Pod, name string, ids []string, attempt int) {
	for _, id := range ids {
		if err := n.o.Engine.Remove(n.ctx, id, false); err != nil && !errors.Is(err, engine.ErrNotFound) {
			n.log.Warn("cannot remove an old container", "pod", pod.Name, "container", name, "error", err)
		}
	}
	if attempt > 1 {
		old := n.logPath(pod, name, attempt-2)
		os.Remove(old)
		if rotated, err := filepath.Glob(old + ".*"); err == nil {
			for _, r := range rotated {
				os.Remove(r)
			}
		}
		os.Remove(n.terminationFile(pod, name, attempt-2))
	}
}

func (n *Node) terminationFile(pod *v1.Pod, name string, attempt int) string {
	return filepath.Join(n.podDir(string(pod.UID)), "containers", name, strconv.Itoa(attempt))
}

func (n *Node) containerSpec(ctx context.Context, pod *v1.Pod, c *v1.Container, kind lifecycle.Kind, attempt int, sandbox string, ips []string, vols map[string]volume.Mount, img *engine.Image) (engine.ContainerSpec, error) {
	sources, err := n.sources(ctx, pod, ips)
	if err != nil {
		return engine.ContainerSpec{}, err
	}
	dir := n.podDir(string(pod.UID))
	b := podspec.Build{
		Pod: pod, Container: c, Kind: kind, Attempt: attempt, Sandbox: sandbox, Sources: sources, Volumes: vols,
		Image: img.ID, ImageUser: img.Config.Config.User,
		HostsFile: filepath.Join(dir, "etc-hosts"), ResolvFile: filepath.Join(dir, "etc-resolv"), HostnameFile: filepath.Join(dir, "etc-hostname"),
		LogPath: n.logPath(pod, c.Name, attempt), MemoryCapacity: n.machine.memory, SeccompRoot: filepath.Join(n.o.RootDir, "seccomp"),
		SubPath: func(i int, base volume.Mount, sub string) (string, error) {
			sp, ok := n.o.Volumes.(SubPaths)
			if !ok {
				return "", errors.New("this node's volumes have no subPath")
			}
			return sp.SubPath(ctx, pod, c, i, base, sub)
		},
	}
	if c.TerminationMessagePath != "" {
		b.TerminationFile = n.terminationFile(pod, c.Name, attempt)
		if err := os.MkdirAll(filepath.Dir(b.TerminationFile), 0o755); err != nil {
			return engine.ContainerSpec{}, err
		}
		if err := os.WriteFile(b.TerminationFile, nil, 0o666); err != nil {
			return engine.ContainerSpec{}, err
		}
		// WriteFile is subject to the umask, and any user of the container may write.
		if err := os.Chmod(b.TerminationFile, 0o666); err != nil {
			return engine.ContainerSpec{}, err
		}
	}
	return b.Spec()
}

// sources answers references of environments through the client.
func (n *Node) sources(ctx context.Context, pod *v1.Pod, ips []string) (*podspec.Sources, error) {
	s := &podspec.Sources{IPs: ips, HostIPs: n.o.NodeIPs, Allocatable: n.allocatable()}
	s.ConfigMap = func(name string) (*v1.ConfigMap, error) {
		cm := &v1.ConfigMap{}
		return cm, n.o.Client.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: name}, cm)
	}
	s.Secret = func(name string) (*v1.Secret, error) {
		sec := &v1.Secret{}
		return sec, n.o.Client.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: name}, sec)
	}
	spaces := []string{metav1.NamespaceDefault}
	if pod.Namespace != metav1.NamespaceDefault && (pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks) {
		spaces = append(spaces, pod.Namespace)
	}
	for _, ns := range spaces {
		var list v1.ServiceList
		if err := n.o.Cache.List(ctx, &list, client.InNamespace(ns)); err != nil {
			return nil, fmt.Errorf("list services: %w", err)
		}
		for i := range list.Items {
			s.Services = append(s.Services, &list.Items[i])
		}
	}
	return s, nil
}

// startFailed keeps why the container waits, and counts the try towards its back-off
// as one that made an instance is counted; unless it could not be made in a sandbox
// that has been found to be gone meanwhile: it is made again in the next one.
func (w *worker) startFailed(name, sandbox string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle()
	c := w.container(name)
	c.Starting = false
	var se *startError
	if !errors.As(err, &se) {
		se = &startError{reason: reasonCreateError, message: err.Error(), delay: retryConfig}
	}
	if se.reason == reasonCreateError && (w.lostSandbox == sandbox || w.sandbox != sandbox) {
		return
	}
	now := time.Now()
	c.CrashBefore = c.Crash
	if c.State == lifecycle.Exited {
		c.Crash = c.Crash.Next(now)
	}
	c.Waiting = &v1.ContainerStateWaiting{Reason: se.reason, Message: se.message}
	if se.delay > 0 {
		c.NotBefore = now.Add(se.delay)
	}
	if se.settle != nil {
		c.SettleAt = now.Add(min(settleAfter, se.delay/2))
	}
	if se.ran {
		// What containerd reports of a task that could not be started.
		c.State, c.ExitCode, c.Reason, c.Message = lifecycle.Exited, 128, "StartError", se.message
		c.StartedAt, c.FinishedAt, c.Announced = time.Unix(0, 0).UTC(), now, false
		c.SettleAt = now.Add(settleAfter)
	}
}

// startEnded ends a start that succeeded, unless the postStart hook failed.
func (w *worker) startEnded(name string, hookErr error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle()
	c := w.container(name)
	c.Starting = false
	c.Waiting, c.NotBefore, c.SettleAt = nil, time.Time{}, time.Time{}
	if c.State != lifecycle.Running {
		return
	}
	if hookErr != nil {
		pod, id := w.pod, c.ID
		c.Stopping, c.StopBy = true, time.Now().Add(lifecycle.Grace(pod, &w.obs))
		a := lifecycle.Action{Verb: lifecycle.Stop, Container: name, Grace: lifecycle.Grace(pod, &w.obs), Message: "FailedPostStartHook"}
		w.effect(func() { w.stopContainer(pod, a, id, false) })
		return
	}
	w.startProbes(name, c)
}

// settle moves a failed start on to the back-off that followed it.
func (w *worker) settle(name string) {
	c := w.container(name)
	c.SettleAt = time.Time{}
	if c.Waiting == nil {
		return
	}
	switch c.Waiting.Reason {
	case reasonPull, reasonUnavailable:
		image := name
		if spec, _, ok := lifecycle.Find(w.pod, name); ok {
			image = spec.Image
		}
		msg := fmt.Sprintf("Back-off pulling image %q", image)
		w.n.containerEvent(w.pod, name, v1.EventTypeNormal, "BackOff", "%s", msg)
		w.n.containerEvent(w.pod, name, v1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		c.Waiting = &v1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: fmt.Sprintf("%s: %s: %s", msg, c.Waiting.Reason, c.Waiting.Message)}
	default:
		c.Waiting = nil // the crash loop shows
	}
}
