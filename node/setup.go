package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/network"
	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/node/podspec"
	"skiff.dev/skiff/volume"
)

// acquire takes one of the places for starts under way.
func (n *Node) acquire(ctx context.Context) bool {
	select {
	case n.starting <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (n *Node) relinquish() { <-n.starting }

func (n *Node) podDir(uid string) string { return filepath.Join(n.o.RootDir, "pods", uid) }

func (n *Node) logDir(pod *v1.Pod) string {
	return filepath.Join(n.o.LogDir, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

func (n *Node) logPath(pod *v1.Pod, container string, attempt int) string {
	return filepath.Join(n.logDir(pod), container, fmt.Sprintf("%d.log", attempt))
}

// setup makes what containers of the pod share: volumes, namespaces, network,
// files. After a restart of this process it looks up again what is there.
func (w *worker) setup() {
	w.mu.Lock()
	pod, sandbox, attempt, lost := w.pod, w.sandbox, w.attempt, w.lostSandbox
	w.mu.Unlock()
	if !w.n.acquire(w.ctx) {
		return
	}
	defer w.n.relinquish()

	if lost != "" {
		if err := w.n.o.Engine.RemoveSandbox(w.ctx, lost); err != nil {
			w.n.log.Warn("cannot remove a lost sandbox", "sandbox", lost, "error", err)
		}
	}
	vols, ips, sandbox, err := w.prepare(pod, sandbox, attempt)

	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle()
	w.sandbox = sandbox
	if sandbox != "" {
		w.obs.HadSandbox = true
	}
	if sandbox != lost {
		w.lostSandbox = ""
	}
	if err != nil {
		w.setupFailed(pod, err)
		return
	}
	if w.lostSandbox != "" {
		w.kickLocked() // lost meanwhile
		return
	}
	w.volumes, w.obs.IPs, w.obs.SandboxReady = vols, ips, true
	w.obs.RetrySetup, w.mountErr = time.Time{}, ""
	w.retries = lifecycle.Backoff{}
}

// volumeError is a failure of volumes, told by its own event.
type volumeError struct{ err error }

func (e *volumeError) Error() string { return e.err.Error() }
func (e *volumeError) Unwrap() error { return e.err }

func (w *worker) prepare(pod *v1.Pod, sandbox string, attempt int) (map[string]volume.Mount, []string, string, error) {
	ctx := w.ctx
	if err := os.MkdirAll(w.n.podDir(string(pod.UID)), 0o750); err != nil {
		return nil, nil, sandbox, err
	}
	vols, err := w.n.o.Volumes.Mount(ctx, pod)
	if err != nil {
		return nil, nil, sandbox, &volumeError{err}
	}
	netns, sandbox, err := w.ensureSandbox(ctx, pod, sandbox, attempt)
	if err != nil {
		return nil, nil, sandbox, err
	}
	ips := w.n.o.NodeIPs
	if !pod.Spec.HostNetwork {
		st, err := w.n.o.Network.Add(ctx, network.PodRequest{
			UID: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, NetNS: netns, HostPorts: hostPorts(pod),
		})
		if err != nil {
			return nil, nil, sandbox, fmt.Errorf("set up the pod's network: %w", err)
		}
		ips = st.IPs
	}
	if err := w.n.writeFiles(pod, ips); err != nil {
		return nil, nil, sandbox, err
	}
	return vols, ips, sandbox, nil
}

// ensureSandbox finds the pod's sandbox or makes one.
func (w *worker) ensureSandbox(ctx context.Context, pod *v1.Pod, id string, attempt int) (netns, sandbox string, err error) {
	if id != "" {
		all, err := w.n.o.Engine.Sandboxes(ctx)
		if err != nil {
			return "", id, err
		}
		for _, s := range all {
			if s.Spec.ID == id {
				return s.NetNS, id, nil
			}
		}
		attempt++
	}
	spec := sandboxSpec(pod, attempt, w.n.o.ClusterDomain)
	s, err := w.n.o.Engine.CreateSandbox(ctx, spec)
	if errors.Is(err, engine.ErrExists) {
		// Left half made by a crash.
		if err = w.n.o.Engine.RemoveSandbox(ctx, spec.ID); err == nil {
			s, err = w.n.o.Engine.CreateSandbox(ctx, spec)
		}
	}
	if err != nil {
		return "", "", err
	}
	w.mu.Lock()
	w.attempt = attempt
	w.mu.Unlock()
	return s.NetNS, spec.ID, nil
}

func sandboxSpec(pod *v1.Pod, attempt int, domain string) engine.SandboxSpec {
	hostname, sub := podspec.Hostname(pod, domain)
	if pod.Spec.SetHostnameAsFQDN != nil && *pod.Spec.SetHostnameAsFQDN && sub != "" {
		hostname += "." + sub
	}
	labels := maps.Clone(pod.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[podspec.LabelUID], labels[podspec.LabelPod], labels[podspec.LabelNamespace] = string(pod.UID), pod.Name, pod.Namespace
	spec := engine.SandboxSpec{
		ID: fmt.Sprintf("%s_%d", pod.UID, attempt), Hostname: hostname, Labels: labels,
		HostNetwork: pod.Spec.HostNetwork, HostIPC: pod.Spec.HostIPC, HostPID: pod.Spec.HostPID,
		PIDShared:    pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace,
		CgroupParent: podspec.CgroupParent(pod), Resources: podspec.PodResources(pod),
	}
	if pod.Spec.HostNetwork {
		spec.Hostname = ""
	}
	if sc := pod.Spec.SecurityContext; sc != nil && len(sc.Sysctls) > 0 {
		spec.Sysctls = map[string]string{}
		for _, s := range sc.Sysctls {
			spec.Sysctls[s.Name] = s.Value
		}
	}
	return spec
}

func hostPorts(pod *v1.Pod) []network.HostPort {
	var out []network.HostPort
	add := func(c *v1.Container) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			proto := p.Protocol
			if proto == "" {
				proto = v1.ProtocolTCP
			}
			out = append(out, network.HostPort{Protocol: proto, HostIP: p.HostIP, Host: uint16(p.HostPort), Pod: uint16(p.ContainerPort)})
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; lifecycle.KindOf(c) == lifecycle.Sidecar {
			add(c)
		}
	}
	return out
}

// setupFailed tells why and chooses the next try: at once after half a second,
// then doubling to two minutes, as the kubelet's volume manager does.
func (w *worker) setupFailed(pod *v1.Pod, err error) {
	if w.ctx.Err() != nil {
		return
	}
	w.obs.SandboxReady = false
	var ve *volumeError
	if errors.As(err, &ve) {
		w.n.event(pod, v1.EventTypeWarning, "FailedMount", "%s", err.Error())
	} else {
		w.n.event(pod, v1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
	}
	delay := min(max(w.retries.Delay*2, 500*time.Millisecond), 122*time.Second)
	w.retries.Delay = delay
	w.obs.RetrySetup = time.Now().Add(delay)
	w.n.log.Warn("cannot set up pod", "pod", pod.Name, "namespace", pod.Namespace, "error", err, "again", delay)
}

// writeFiles makes the pod's hosts, resolv.conf and hostname files.
func (n *Node) writeFiles(pod *v1.Pod, ips []string) error {
	hostResolv, err := os.ReadFile(n.o.ResolvConf)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	resolv := podspec.PodResolv(pod, podspec.ParseResolv(hostResolv), n.o.ClusterDNS, n.o.ClusterDomain)
	name, domain := podspec.Hostname(pod, n.o.ClusterDomain)
	var hostHosts []byte
	if pod.Spec.HostNetwork {
		if hostHosts, err = os.ReadFile(n.o.HostsFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if h, err := os.Hostname(); err == nil {
			name = h
		}
	}
	dir := n.podDir(string(pod.UID))
	for file, data := range map[string][]byte{
		"etc-hosts":    podspec.Hosts(pod, hostHosts, ips, name, domain),
		"etc-resolv":   resolv.Render(),
		"etc-hostname": []byte(name + "\n"),
	} {
		path := filepath.Join(dir, file)
		if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
			continue // containers have it mounted
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// refreshVolumes brings changed sources into mounted volumes.
func (w *worker) refreshVolumes() {
	w.volMu.Lock()
	defer w.volMu.Unlock()
	w.mu.Lock()
	pod, ready := w.pod, w.obs.SandboxReady && !w.obs.TornDown && !w.tearing
	w.mu.Unlock()
	if !ready || w.ctx.Err() != nil {
		return
	}
	if _, err := w.n.o.Volumes.Mount(w.ctx, pod); err != nil {
		w.n.event(pod, v1.EventTypeWarning, "FailedMount", "%s", err.Error())
	}
}

// RefreshVolumes mounts the pod's volumes again, for contents that have become old.
func (n *Node) RefreshVolumes(uid types.UID) {
	n.mu.Lock()
	w := n.workers[uid]
	n.mu.Unlock()
	if w != nil {
		w.effect(w.refreshVolumes)
	}
}

// teardown takes network and volumes away when nothing of the pod runs.
func (w *worker) teardown() {
	w.mu.Lock()
	pod := w.pod
	w.mu.Unlock()
	uid := string(pod.UID)
	w.volMu.Lock()
	defer w.volMu.Unlock()
	err := w.n.o.Network.Remove(w.ctx, uid)
	if err == nil {
		err = w.n.o.Volumes.Unmount(w.ctx, uid)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tearing = false
	if err != nil {
		w.later("tear down pod", err, &w.tearing)
		return
	}
	w.obs.TornDown = true
	w.n.release(pod.UID)
}

// later tries an ending again after a second. w.mu is held; flag keeps the plan
// from trying at once.
func (w *worker) later(what string, err error, flag *bool) {
	if w.ctx.Err() != nil {
		return
	}
	w.n.log.Warn("cannot "+what+"; trying again", "pod", w.pod.Name, "namespace", w.pod.Namespace, "error", err)
	*flag = true
	time.AfterFunc(time.Second, func() {
		w.mu.Lock()
		*flag = false
		w.mu.Unlock()
		w.kick()
	})
}

// finish removes every trace of the pod on this machine and, last, its API object.
func (w *worker) finish() {
	w.mu.Lock()
	pod, sandbox, gone := w.pod, w.sandbox, w.obs.Gone
	w.mu.Unlock()
	err := w.n.erase(w.ctx, pod, sandbox)
	if w.static {
		if err == nil {
			err = w.endMirror(w.ctx, pod)
		}
	} else if err == nil && !gone {
		err = w.n.deletePod(w.ctx, pod)
	}
	if err != nil {
		w.mu.Lock()
		w.ending = false
		w.later("remove pod", err, &w.ending)
		w.mu.Unlock()
		return
	}
	w.n.forget(w, pod.UID)
}

func (n *Node) erase(ctx context.Context, pod *v1.Pod, sandbox string) error {
	if sandbox != "" {
		if err := n.o.Engine.RemoveSandbox(ctx, sandbox); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(n.podDir(string(pod.UID))); err != nil {
		return err
	}
	return os.RemoveAll(n.logDir(pod))
}
