package persistentvolumebinder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	recyclerNamespace = metav1.NamespaceDefault
	recyclerImage     = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6"

	// annRecycles and annClaim say on a recycler's pod which volume it empties, and after
	// which claim.
	annRecycles = "skiff.dev/recycles"
	annClaim    = "skiff.dev/recycles-after-claim"
)

func recyclerName(pv string) string { return "recycler-for-" + pv }

// recyclerPod empties a volume, as the recycler of Kubernetes does.
func recyclerPod(pv *corev1.PersistentVolume) *corev1.Pod {
	least, step := int64(60), int64(30)
	source := corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{}}
	if pv.Spec.NFS != nil {
		least = 300
		source = corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: pv.Spec.NFS.Server, Path: pv.Spec.NFS.Path}}
	} else {
		source.HostPath.Path = pv.Spec.HostPath.Path
	}
	capacity, giga := pv.Spec.Capacity[corev1.ResourceStorage], resource.MustParse("1Gi")
	limit := max(least, capacity.Value()/giga.Value()*step)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: recyclerNamespace, Name: recyclerName(pv.Name),
			Annotations: map[string]string{annRecycles: pv.Name, annClaim: string(pv.Spec.ClaimRef.UID)},
		},
		Spec: corev1.PodSpec{
			ActiveDeadlineSeconds: &limit,
			RestartPolicy:         corev1.RestartPolicyNever,
			Volumes:               []corev1.Volume{{Name: "vol", VolumeSource: source}},
			Containers: []corev1.Container{{
				Name: "pv-recycler", Image: recyclerImage, Command: []string{"/bin/sh"},
				Args:         []string{"-c", `test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1`},
				VolumeMounts: []corev1.VolumeMount{{Name: "vol", MountPath: "/scrub"}},
			}},
		},
	}
}

// temporary tells whether a path may be deleted with its volume: it lies below /tmp.
func temporary(path string) bool {
	clean := filepath.Clean(path)
	return strings.HasPrefix(clean, "/tmp/")
}

// removeTemporary deletes a path below /tmp; links do not lead it elsewhere.
func removeTemporary(path string) error {
	rel, err := filepath.Rel("/tmp", path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot("/tmp")
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.RemoveAll(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
