package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/kernel/mount"
)

// Options of Volumes.
type Options struct {
	// Reader finds ConfigMaps, Secrets, PersistentVolumeClaims, PersistentVolumes and the
	// node itself.
	Reader client.Reader
	Tokens TokenSource
	// RootDir holds a directory "pods/<uid>/volumes" a pod.
	RootDir string
	Mounter Mounter // the kernel's where nil
	// Allocatable is what resourceFieldRef takes for limits that are not set; may be
	// nil.
	Allocatable func() v1.ResourceList
	// Refresh, when not nil, is called when a token of the pod is due to be renewed:
	// Mount does it.
	Refresh func(uid types.UID)
}

// Mounter is the part of the kernel that volumes need.
type Mounter interface {
	Tmpfs(target string, size int64, mode os.FileMode) error
	IsMount(dir string) (bool, error)
	Unmount(target string) error
	UnmountBelow(dir string) error
	MkdirIn(root, sub string, mode os.FileMode) error
	BindIn(root, sub, target string) error
	Chown(path string, uid, gid int) error
}

// Kernel is the real Mounter.
type Kernel struct{}

// Tmpfs and the others are those of kernel/mount.
func (Kernel) Tmpfs(target string, size int64, mode os.FileMode) error {
	return mount.Tmpfs(target, size, mode)
}

// IsMount implements Mounter.
func (Kernel) IsMount(dir string) (bool, error) { return mount.IsMount(dir) }

// Unmount implements Mounter.
func (Kernel) Unmount(target string) error { return mount.Unmount(target) }

// UnmountBelow implements Mounter.
func (Kernel) UnmountBelow(dir string) error { return mount.UnmountBelow(dir) }

// MkdirIn implements Mounter.
func (Kernel) MkdirIn(root, sub string, mode os.FileMode) error {
	return mount.MkdirIn(root, sub, mode)
}

// BindIn implements Mounter.
func (Kernel) BindIn(root, sub, target string) error { return mount.BindIn(root, sub, target) }

// Chown implements Mounter.
func (Kernel) Chown(path string, uid, gid int) error { return os.Lchown(path, uid, gid) }

// Volumes mounts the volumes of a node's pods. It is safe for concurrent use.
type Volumes struct {
	o Options

	mu   sync.Mutex
	pods map[types.UID]*podState
}

// podState serialises the work on one pod and remembers when its tokens need to be
// renewed.
type podState struct {
	mu     sync.Mutex
	tokens map[string]token
	renew  *time.Timer
	gone   bool
}

// New returns Volumes below o.RootDir.
func New(o Options) *Volumes {
	if o.Mounter == nil {
		o.Mounter = Kernel{}
	}
	return &Volumes{o: o, pods: map[types.UID]*podState{}}
}

// source mounts one kind of volume at dir, again and again without harm.
type source func(ctx context.Context, v *Volumes, r *request) (Mount, error)

// request is one volume of one pod.
type request struct {
	pod   *v1.Pod
	vol   *v1.Volume
	state *podState
	dir   string
}

// sourceOf is the list of what can be mounted.
func sourceOf(vol *v1.Volume) (plugin string, s source, err error) {
	switch {
	case vol.EmptyDir != nil:
		return "kubernetes.io~empty-dir", mountEmptyDir, nil
	case vol.HostPath != nil:
		return "", mountHostPath, nil
	case vol.ConfigMap != nil:
		return "kubernetes.io~configmap", mountConfigMap, nil
	case vol.Secret != nil:
		return "kubernetes.io~secret", mountSecret, nil
	case vol.DownwardAPI != nil:
		return "kubernetes.io~downward-api", mountDownwardAPI, nil
	case vol.Projected != nil:
		return "kubernetes.io~projected", mountProjected, nil
	case vol.PersistentVolumeClaim != nil, vol.Ephemeral != nil:
		return "", mountClaim, nil
	}
	if vol.VolumeSource == (v1.VolumeSource{}) {
		// An empty source means emptyDir.
		return "kubernetes.io~empty-dir", mountEmptyDir, nil
	}
	return "", nil, errNoPlugin
}

func (v *Volumes) podDir(uid types.UID) string {
	return filepath.Join(v.o.RootDir, "pods", string(uid))
}

func (v *Volumes) state(uid types.UID) *podState {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.pods[uid]
	if s == nil {
		s = &podState{tokens: map[string]token{}}
		v.pods[uid] = s
	}
	return s
}

// Mount prepares every volume that the pod names.
func (v *Volumes) Mount(ctx context.Context, pod *v1.Pod) (map[string]Mount, error) {
	st := v.state(pod.UID)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return nil, fmt.Errorf("volumes of pod %s are gone", pod.UID)
	}
	out := make(map[string]Mount, len(pod.Spec.Volumes))
	for i := range pod.Spec.Volumes {
		vol := &pod.Spec.Volumes[i]
		plugin, s, err := sourceOf(vol)
		if err == nil {
			r := &request{pod: pod, vol: vol, state: st}
			if plugin != "" {
				r.dir = filepath.Join(v.podDir(pod.UID), "volumes", plugin, vol.Name)
			}
			out[vol.Name], err = s(ctx, v, r)
		}
		if err != nil {
			return nil, mountError(vol.Name, err)
		}
	}
	v.planRenewal(pod.UID, st)
	return out, nil
}

// MountError names the volume that could not be mounted. Its text is the message
// of the kubelet's FailedMount event.
type MountError struct {
	Step   string // SetUp where empty
	Volume string
	Err    error
}

func (e *MountError) Error() string {
	step := e.Step
	if step == "" {
		step = "SetUp"
	}
	return fmt.Sprintf("MountVolume.%s failed for volume %q : %v", step, e.Volume, e.Err)
}
func (e *MountError) Unwrap() error { return e.Err }

// mountError makes a failure one that is told as it is.
func mountError(name string, err error) error {
	var me *MountError
	var ce *ClaimError
	if errors.As(err, &me) || errors.As(err, &ce) {
		return err
	}
	return &MountError{Volume: name, Err: err}
}

// Unmount takes all volumes of the pod away with what lived in them.
func (v *Volumes) Unmount(_ context.Context, podUID string) error {
	uid := types.UID(podUID)
	st := v.state(uid)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.renew != nil {
		st.renew.Stop()
	}
	dir := v.podDir(uid)
	for _, sub := range []string{"volume-subpaths", "volumes"} {
		path := filepath.Join(dir, sub)
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := v.o.Mounter.UnmountBelow(path); err != nil {
			return err
		}
		// Nothing is mounted below any more, so nothing of others can be deleted.
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	st.gone = true
	v.mu.Lock()
	if v.pods[uid] == st {
		delete(v.pods, uid)
	}
	v.mu.Unlock()
	return nil
}

// SubPath makes what sub names inside base mountable; see node.SubPaths.
func (v *Volumes) SubPath(_ context.Context, pod *v1.Pod, c *v1.Container, index int, base Mount, sub string) (string, error) {
	if err := cleanSub(sub); err != nil {
		return "", err
	}
	m := v.o.Mounter
	name := c.VolumeMounts[index].Name
	target := filepath.Join(v.podDir(pod.UID), "volume-subpaths", name, c.Name, fmt.Sprint(index))
	st := v.state(pod.UID)
	st.mu.Lock()
	defer st.mu.Unlock()
	info, err := os.Stat(base.Path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("volume %q is not a directory", name)
	}
	// A container that starts again sees what is there now.
	if err := m.UnmountBelow(target); err != nil {
		return "", err
	}
	if err := os.RemoveAll(target); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return "", err
	}
	if !base.ReadOnly {
		if err := m.MkdirIn(base.Path, sub, info.Mode().Perm()); err != nil {
			return "", err
		}
	}
	if err := m.BindIn(base.Path, sub, target); err != nil {
		return "", err
	}
	return target, nil
}

// cleanSub refuses what Kubernetes' validation refuses; links are the kernel's to
// contain.
func cleanSub(sub string) error {
	if filepath.IsAbs(sub) {
		return errors.New("must be a relative path")
	}
	if !filepath.IsLocal(sub) {
		return errors.New("must not contain '..'")
	}
	return nil
}
