package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagehelpers "k8s.io/component-helpers/storage/volume"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ClaimError says why the volume behind a claim is not known. Its text is that of the
// kubelet's FailedMount event.
type ClaimError struct {
	Volume string
	Err    error
}

func (e *ClaimError) Error() string {
	return fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: %v", e.Volume, e.Volume, e.Err)
}
func (e *ClaimError) Unwrap() error { return e.Err }

// errNoPlugin is the kubelet's word for a source that it cannot mount.
var errNoPlugin = errors.New("no volume plugin matched")

// pvcProtection keeps a claim that is being deleted; without it a pod must not start.
const pvcProtection = "kubernetes.io/pvc-protection"

// claimName names the claim behind a volume, "" if there is none.
func claimName(pod *v1.Pod, vol *v1.Volume) string {
	switch {
	case vol.PersistentVolumeClaim != nil:
		return vol.PersistentVolumeClaim.ClaimName
	case vol.Ephemeral != nil:
		return pod.Name + "-" + vol.Name
	}
	return ""
}

// mountClaim mounts the volume that a claim is bound to.
func mountClaim(ctx context.Context, v *Volumes, r *request) (Mount, error) {
	pv, err := v.volumeOf(ctx, r)
	if err != nil {
		return Mount{}, &ClaimError{r.vol.Name, err}
	}
	m, err := v.mountVolume(ctx, r, pv)
	m.ReadOnly = m.ReadOnly || r.vol.PersistentVolumeClaim != nil && r.vol.PersistentVolumeClaim.ReadOnly
	var me *MountError
	if err != nil && !errors.As(err, &me) {
		err = &MountError{Volume: pv.Name, Err: err}
	}
	return m, err
}

func (v *Volumes) volumeOf(ctx context.Context, r *request) (*v1.PersistentVolume, error) {
	name := claimName(r.pod, r.vol)
	pv, err := v.boundVolume(ctx, r.pod, name, r.vol.Ephemeral != nil)
	if err != nil {
		return nil, fmt.Errorf("error processing PVC %s/%s: %w", r.pod.Namespace, name, err)
	}
	mode := v1.PersistentVolumeFilesystem
	if pv.Spec.VolumeMode != nil {
		mode = *pv.Spec.VolumeMode
	}
	mounted, device := uses(r.pod, r.vol.Name)
	switch {
	case mounted && mode != v1.PersistentVolumeFilesystem:
		return nil, fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeMounts", r.vol.Name, mode)
	case device && mode != v1.PersistentVolumeBlock:
		return nil, fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeDevices", r.vol.Name, mode)
	}
	return pv, nil
}

func (v *Volumes) boundVolume(ctx context.Context, pod *v1.Pod, name string, ephemeral bool) (*v1.PersistentVolume, error) {
	var claim v1.PersistentVolumeClaim
	err := v.o.Reader.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: name}, &claim)
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	case claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, pvcProtection):
		return nil, errors.New("PVC is being deleted")
	case claim.Status.Phase != v1.ClaimBound:
		return nil, errors.New("PVC is not bound")
	case claim.Spec.VolumeName == "":
		return nil, errors.New("PVC has empty pvc.Spec.VolumeName")
	case ephemeral && !metav1.IsControlledBy(&claim, pod):
		return nil, fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", claim.Namespace, claim.Name, pod.Namespace, pod.Name)
	}
	pv := &v1.PersistentVolume{}
	err = v.o.Reader.Get(ctx, client.ObjectKey{Name: claim.Spec.VolumeName}, pv)
	switch {
	case err != nil:
		return nil, fmt.Errorf("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err)
	case pv.Spec.ClaimRef == nil:
		return nil, fmt.Errorf("found PV object %s but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim", pv.Name)
	case pv.Spec.ClaimRef.UID != claim.UID:
		return nil, fmt.Errorf("found PV object %s but its pv.Spec.ClaimRef.UID %s does not point to claim.UID %s", pv.Name, pv.Spec.ClaimRef.UID, claim.UID)
	}
	return pv, nil
}

// uses tells how the containers of a pod use a volume.
func uses(pod *v1.Pod, name string) (mounted, device bool) {
	for _, cs := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range cs {
			mounted = mounted || slices.ContainsFunc(cs[i].VolumeMounts, func(m v1.VolumeMount) bool { return m.Name == name })
			device = device || slices.ContainsFunc(cs[i].VolumeDevices, func(d v1.VolumeDevice) bool { return d.Name == name })
		}
	}
	return mounted, device
}

func (v *Volumes) mountVolume(ctx context.Context, r *request, pv *v1.PersistentVolume) (Mount, error) {
	if pv.Spec.NodeAffinity != nil {
		var node v1.Node
		if err := v.o.Reader.Get(ctx, client.ObjectKey{Name: r.pod.Spec.NodeName}, &node); err != nil {
			return Mount{}, err
		}
		if err := storagehelpers.CheckNodeAffinity(pv, node.Labels); err != nil {
			return Mount{}, &MountError{Step: "NodeAffinity check", Volume: pv.Name, Err: err}
		}
	}
	switch {
	case pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == v1.PersistentVolumeBlock:
		return Mount{}, fmt.Errorf("volumeMode Block: %w", errNoPlugin)
	case pv.Spec.HostPath != nil:
		return hostPath(pv.Spec.HostPath)
	case pv.Spec.Local != nil:
		return v.local(r, pv)
	}
	return Mount{}, errNoPlugin
}

// local gives a directory of the machine, which is the pod's fsGroup's from the pod's
// first use of it on.
func (v *Volumes) local(r *request, pv *v1.PersistentVolume) (Mount, error) {
	m := Mount{Path: pv.Spec.Local.Path}
	fail := func(err error) error {
		return &MountError{Step: "NewMounter initialization", Volume: pv.Name, Err: err}
	}
	switch info, err := os.Stat(m.Path); {
	case errors.Is(err, fs.ErrNotExist):
		return m, fail(fmt.Errorf("path %q does not exist", m.Path))
	case err != nil:
		return m, fail(err)
	case info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0:
		return m, fail(fmt.Errorf("%q is a block device: %w", m.Path, errNoPlugin))
	case !info.IsDir():
		return m, fail(errors.New("only directory and block device are supported"))
	}
	if r.vol.PersistentVolumeClaim != nil && r.vol.PersistentVolumeClaim.ReadOnly {
		return m, nil
	}
	if _, err := os.Lstat(v.readyFile(r)); err == nil {
		return m, nil
	}
	if err := v.own(r, m.Path); err != nil {
		return m, err
	}
	if err := os.MkdirAll(v.podDir(r.pod.UID)+"/volumes", 0o750); err != nil {
		return m, err
	}
	return m, v.setReady(r)
}
