package podspec

import (
	"fmt"
	"path"
	"strconv"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/lifecycle"
	"skiff.dev/skiff/volume"
)

// Labels by which sandboxes and containers are found again after a restart. The
// io.kubernetes ones are the kubelet's.
const (
	LabelUID        = "io.kubernetes.pod.uid"
	LabelPod        = "io.kubernetes.pod.name"
	LabelNamespace  = "io.kubernetes.pod.namespace"
	LabelContainer  = "io.kubernetes.container.name"
	LabelAttempt    = "io.kubernetes.container.restartCount"
	LabelHash       = "io.kubernetes.container.hash"
	LabelGrace      = "io.kubernetes.pod.terminationGracePeriod"
	LabelTermPath   = "io.kubernetes.container.terminationMessagePath"
	LabelTermPolicy = "io.kubernetes.container.terminationMessagePolicy"
)

// Build is everything that a container's spec depends on.
type Build struct {
	Pod       *v1.Pod
	Container *v1.Container
	Kind      lifecycle.Kind
	Attempt   int
	Sandbox   string
	Sources   *Sources
	// Volumes by name, as volume.Mounts; SubPath resolves a mount's subPath within a
	// volume to a path that is safe to bind.
	Volumes map[string]volume.Mount
	SubPath func(mount int, base volume.Mount, sub string) (string, error)

	Image     string // what the engine is to run
	ImageUser string

	// Files of the node's own making; "" leaves one out.
	HostsFile, ResolvFile, HostnameFile, TerminationFile string

	LogPath        string
	MemoryCapacity int64
	SeccompRoot    string
}

// LogRotation is the kubelet's default (containerLogMaxSize, containerLogMaxFiles).
const (
	logMaxBytes = 10 << 20
	logMaxFiles = 5
)

// Spec computes the engine's spec. A *ConfigError tells what the container
// refers to and is not there.
func (b *Build) Spec() (engine.ContainerSpec, error) {
	pod, c := b.Pod, b.Container
	env, err := MakeEnv(pod, c, b.Sources)
	if err != nil {
		return engine.ContainerSpec{}, err
	}
	user, groups, err := identity(pod, c, b.ImageUser)
	if err != nil {
		return engine.ContainerSpec{}, err
	}
	spec := engine.ContainerSpec{
		Name:    fmt.Sprintf("k8s_%s_%s_%s_%s_%d", c.Name, pod.Name, pod.Namespace, pod.UID, b.Attempt),
		Sandbox: b.Sandbox, Image: b.Image,
		Labels: b.labels(),
		// The engine takes a Command without Args as the whole.
		Command: expandAll(c.Command, env.Lookup), Args: expandAll(c.Args, env.Lookup),
		Env: env.List(), WorkingDir: c.WorkingDir, User: user, Groups: groups,
		TTY: c.TTY, Stdin: c.Stdin, StdinOnce: c.StdinOnce,
		Resources:   ContainerResources(&c.Resources),
		OOMScoreAdj: OOMScore(pod, c, b.Kind, b.MemoryCapacity),
		LogPath:     b.LogPath, LogMaxBytes: logMaxBytes, LogMaxFiles: logMaxFiles,
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		spec.StopSignal = string(*c.Lifecycle.StopSignal)
	}
	secure(&spec, pod, c, b.SeccompRoot)
	if spec.Mounts, err = b.mounts(env); err != nil {
		return engine.ContainerSpec{}, err
	}
	return spec, nil
}

func (b *Build) labels() map[string]string {
	pod, c := b.Pod, b.Container
	l := make(map[string]string, len(pod.Labels)+9)
	for k, v := range pod.Labels {
		l[k] = v
	}
	l[LabelUID], l[LabelPod], l[LabelNamespace] = string(pod.UID), pod.Name, pod.Namespace
	l[LabelContainer] = c.Name
	l[LabelAttempt] = strconv.Itoa(b.Attempt)
	l[LabelHash] = lifecycle.Hash(c)
	l[LabelTermPath] = c.TerminationMessagePath
	l[LabelTermPolicy] = string(c.TerminationMessagePolicy)
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		l[LabelGrace] = strconv.FormatInt(*g, 10)
	}
	return l
}

func (b *Build) mounts(env *Env) ([]engine.Mount, error) {
	c := b.Container
	var out []engine.Mount
	taken := map[string]bool{}
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		v, ok := b.Volumes[m.Name]
		if !ok {
			return nil, configErrorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		source := v.Path
		sub := m.SubPath
		if m.SubPathExpr != "" {
			var err error
			if sub, err = expandStrict(m.SubPathExpr, env); err != nil {
				return nil, &ConfigError{err}
			}
		}
		if sub != "" {
			var err error
			if source, err = b.SubPath(i, v, sub); err != nil {
				return nil, configErrorf("failed to prepare subPath for volumeMount %q of container %q: %w", m.Name, c.Name, err)
			}
		}
		target := m.MountPath
		if !path.IsAbs(target) {
			target = "/" + target
		}
		out = append(out, engine.Mount{
			Source: source, Target: target, ReadOnly: m.ReadOnly || v.ReadOnly,
			RecursiveReadOnly: m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != v1.RecursiveReadOnlyDisabled,
			Propagation:       propagation(m.MountPropagation),
		})
		taken[path.Clean(target)] = true
	}
	readOnlyRoot := c.SecurityContext != nil && c.SecurityContext.ReadOnlyRootFilesystem != nil && *c.SecurityContext.ReadOnlyRootFilesystem
	file := func(source, target string, ro bool) {
		if source != "" && !taken[path.Clean(target)] {
			out = append(out, engine.Mount{Source: source, Target: target, ReadOnly: ro})
		}
	}
	file(b.HostsFile, "/etc/hosts", readOnlyRoot)
	file(b.ResolvFile, "/etc/resolv.conf", readOnlyRoot)
	file(b.HostnameFile, "/etc/hostname", readOnlyRoot)
	if c.TerminationMessagePath != "" {
		file(b.TerminationFile, c.TerminationMessagePath, false)
	}
	return out, nil
}

// expandStrict is for subPathExpr, where a name that is not there is an error.
func expandStrict(s string, env *Env) (string, error) {
	missing := ""
	out := Expand(s, func(name string) (string, bool) {
		v, ok := env.Lookup(name)
		if !ok && missing == "" {
			missing = name
		}
		return v, ok
	})
	if missing != "" {
		return "", fmt.Errorf("missing value for %q", missing)
	}
	return out, nil
}

func propagation(p *v1.MountPropagationMode) string {
	if p == nil {
		return "private"
	}
	switch *p {
	case v1.MountPropagationHostToContainer:
		return "rslave"
	case v1.MountPropagationBidirectional:
		return "rshared"
	}
	return "private"
}
