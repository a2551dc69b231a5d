package podspec

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/engine"
)

// PodLabel is how the kubelet's messages name a pod.
func PodLabel(pod *v1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}

// identity decides whom a container runs as, from the pod's and the container's
// security contexts (the container's wins) and the image's user.
func identity(pod *v1.Pod, c *v1.Container, imageUser string) (user string, groups []int64, err error) {
	var uid, gid *int64
	var nonRoot *bool
	if p := pod.Spec.SecurityContext; p != nil {
		uid, gid, nonRoot = p.RunAsUser, p.RunAsGroup, p.RunAsNonRoot
		if p.FSGroup != nil {
			groups = append(groups, *p.FSGroup)
		}
		for _, g := range p.SupplementalGroups {
			if !slices.Contains(groups, g) {
				groups = append(groups, g)
			}
		}
	}
	if s := c.SecurityContext; s != nil {
		if s.RunAsUser != nil {
			uid = s.RunAsUser
		}
		if s.RunAsGroup != nil {
			gid = s.RunAsGroup
		}
		if s.RunAsNonRoot != nil {
			nonRoot = s.RunAsNonRoot
		}
	}
	if nonRoot != nil && *nonRoot {
		if err := verifyNonRoot(pod, c, uid, imageUser); err != nil {
			return "", nil, err
		}
	}
	base, imageGroup, _ := strings.Cut(imageUser, ":")
	switch {
	case uid != nil && gid != nil:
		user = fmt.Sprintf("%d:%d", *uid, *gid)
	case uid != nil:
		user = strconv.FormatInt(*uid, 10)
	case gid != nil:
		if base == "" {
			base = "0"
		}
		user = fmt.Sprintf("%s:%d", base, *gid)
	default:
		_ = imageGroup // the engine applies the image's own user and group
	}
	return user, groups, nil
}

// verifyNonRoot words its errors as the kubelet's verifyRunAsNonRoot.
func verifyNonRoot(pod *v1.Pod, c *v1.Container, uid *int64, imageUser string) error {
	if uid != nil {
		if *uid == 0 {
			return configErrorf("container's runAsUser breaks non-root policy (pod: %q, container: %s)", PodLabel(pod), c.Name)
		}
		return nil
	}
	name, _, _ := strings.Cut(imageUser, ":")
	n, err := strconv.ParseInt(name, 10, 64)
	switch {
	case name == "" || err == nil && n == 0:
		return configErrorf("container has runAsNonRoot and image will run as root (pod: %q, container: %s)", PodLabel(pod), c.Name)
	case err != nil:
		return configErrorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root (pod: %q, container: %s)", name, PodLabel(pod), c.Name)
	}
	return nil
}

// ContainerUser is what the status shows of identity, where numbers are known.
func ContainerUser(spec *engine.ContainerSpec, imageUser string) *v1.ContainerUser {
	u := spec.User
	if u == "" {
		u = imageUser
	}
	name, group, _ := strings.Cut(u, ":")
	if name == "" {
		name = "0"
	}
	uid, err := strconv.ParseInt(name, 10, 64)
	if err != nil {
		return nil
	}
	gid := int64(0)
	if group != "" {
		if gid, err = strconv.ParseInt(group, 10, 64); err != nil {
			return nil
		}
	}
	l := &v1.LinuxContainerUser{UID: uid, GID: gid, SupplementalGroups: []int64{gid}}
	for _, g := range spec.Groups {
		if !slices.Contains(l.SupplementalGroups, g) {
			l.SupplementalGroups = append(l.SupplementalGroups, g)
		}
	}
	return &v1.ContainerUser{Linux: l}
}

// secure sets what a container may do. seccompRoot is the directory that localhost
// profiles are relative to.
func secure(spec *engine.ContainerSpec, pod *v1.Pod, c *v1.Container, seccompRoot string) {
	s := c.SecurityContext
	if s == nil {
		s = &v1.SecurityContext{}
	}
	spec.Privileged = s.Privileged != nil && *s.Privileged
	spec.ReadonlyRoot = s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem
	if a := s.AllowPrivilegeEscalation; a != nil && !*a && !spec.Privileged {
		spec.NoNewPrivileges = true
	}
	if s.Capabilities != nil {
		for _, a := range s.Capabilities.Add {
			spec.CapAdd = append(spec.CapAdd, capName(string(a)))
		}
		for _, d := range s.Capabilities.Drop {
			spec.CapDrop = append(spec.CapDrop, capName(string(d)))
		}
	}
	if s.ProcMount != nil && *s.ProcMount == v1.UnmaskedProcMount {
		spec.Unmasked = true
	}
	profile := s.SeccompProfile
	if profile == nil && pod.Spec.SecurityContext != nil {
		profile = pod.Spec.SecurityContext.SeccompProfile
	}
	// Without a profile Kubernetes runs containers unconfined unless the node says
	// otherwise (SeccompDefault); this node does say so.
	switch {
	case spec.Privileged:
		spec.Seccomp = "Unconfined"
	case profile == nil || profile.Type == v1.SeccompProfileTypeRuntimeDefault:
		spec.Seccomp = "RuntimeDefault"
	case profile.Type == v1.SeccompProfileTypeUnconfined:
		spec.Seccomp = "Unconfined"
	case profile.LocalhostProfile != nil:
		spec.Seccomp = filepath.Join(seccompRoot, filepath.Join("/", *profile.LocalhostProfile))
	}
}

func capName(s string) string { return strings.TrimPrefix(strings.ToUpper(s), "CAP_") }
