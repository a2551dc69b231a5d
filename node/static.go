package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// Annotations of static pods (pkg/kubelet/types of Kubernetes).
const (
	annotationHash   = "kubernetes.io/config.hash"
	annotationSource = "kubernetes.io/config.source"
	annotationSeen   = "kubernetes.io/config.seen"
)

// maxManifest bounds a file of a static pod.
const maxManifest = 10 << 20

// staticPod makes a pod that runs here of a manifest: its UID is made of what the
// file says, its name ends with the node's, and nothing evicts it
// (pkg/kubelet/config/common.go of Kubernetes).
func staticPod(data []byte, file, node string, prepare func(*v1.Pod) error) (*v1.Pod, error) {
	pod := &v1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, err
	}
	if pod.Kind != "Pod" || pod.APIVersion != "v1" {
		return nil, fmt.Errorf("is a %s %s, not a v1 Pod", pod.APIVersion, pod.Kind)
	}
	if pod.Name == "" {
		return nil, errors.New("has no name")
	}
	if pod.UID == "" {
		sum := sha256.Sum256(fmt.Appendf(nil, "host:%s file:%s %s", node, file, data))
		pod.UID = types.UID(hex.EncodeToString(sum[:16]))
	}
	pod.Name += "-" + strings.ToLower(node)
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	pod.Spec.NodeName = node
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[annotationHash], pod.Annotations[annotationSource] = string(pod.UID), "file"
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, v1.Toleration{Operator: v1.TolerationOpExists, Effect: v1.TaintEffectNoExecute})
	pod.Status = v1.PodStatus{Phase: v1.PodPending}
	if prepare != nil {
		if err := prepare(pod); err != nil {
			return nil, err
		}
	}
	return pod, nil
}

// manifests reads the directory of static pods. Files whose names begin with a dot
// are left out; of one that cannot be used the pod of before, if any, is kept.
func (n *Node) manifests() (map[types.UID]*v1.Pod, error) {
	entries, err := os.ReadDir(n.o.StaticPods)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := map[types.UID]*v1.Pod{}
	for _, e := range entries {
		name := filepath.Join(n.o.StaticPods, e.Name())
		info, err := os.Stat(name)
		if strings.HasPrefix(e.Name(), ".") || err != nil || !info.Mode().IsRegular() {
			continue
		}
		if info.Size() > maxManifest {
			n.log.Error("a static pod's file is too large", "file", name)
			continue
		}
		data, err := os.ReadFile(name)
		var pod *v1.Pod
		if err == nil {
			pod, err = staticPod(data, name, n.o.Name, n.o.Prepare)
		}
		if err != nil {
			n.log.Error("a static pod's file cannot be used", "file", name, "error", err)
			continue
		}
		out[pod.UID] = pod
	}
	return out, nil
}

// syncStatic brings the static pods to what the directory has. Run alone calls it.
func (n *Node) syncStatic() {
	if n.o.StaticPods == "" {
		return
	}
	want, err := n.manifests()
	if err != nil {
		n.log.Error("cannot read static pods", "error", err)
		return
	}
	taken := map[string]bool{}
	for _, w := range n.allWorkers() {
		if !w.static {
			continue
		}
		w.mu.Lock()
		pod := w.pod
		w.mu.Unlock()
		if want[pod.UID] == nil && pod.DeletionTimestamp == nil {
			w.update(ended(pod))
		}
		taken[pod.Namespace+"/"+pod.Name] = true
		delete(want, pod.UID)
	}
	for _, pod := range want {
		if taken[pod.Namespace+"/"+pod.Name] {
			continue // when the one before has ended
		}
		pod.Annotations[annotationSeen] = time.Now().Format(time.RFC3339Nano)
		n.take(pod, true)
	}
	for _, w := range n.allWorkers() {
		if w.static {
			n.spawn(w.ensureMirror)
		}
	}
}

// ended is the pod as one that is being deleted.
func ended(pod *v1.Pod) *v1.Pod {
	gone := pod.DeepCopy()
	grace := int64(30)
	if g := pod.Spec.TerminationGracePeriodSeconds; g != nil {
		grace = *g
	}
	now := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	gone.DeletionTimestamp, gone.DeletionGracePeriodSeconds = &now, &grace
	return gone
}

// mirrorOf finds the static pod that a mirror pod shows.
func (n *Node) mirrorOf(mirror *v1.Pod) *worker {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.workers[types.UID(mirror.Annotations[v1.MirrorPodAnnotationKey])]
	if w == nil || !w.static {
		return nil
	}
	return w
}

// mirrorChanged takes the state of a mirror pod. One that shows no static pod, or
// that somebody deletes, goes; the next look at the directory makes it again.
func (n *Node) mirrorChanged(mirror *v1.Pod) {
	w := n.mirrorOf(mirror)
	if w == nil || mirror.DeletionTimestamp != nil {
		n.spawn(func() {
			if err := n.deletePod(n.ctx, mirror); err != nil && n.ctx.Err() == nil {
				n.log.Warn("cannot delete a mirror pod", "pod", mirror.Name, "namespace", mirror.Namespace, "error", err)
			}
		})
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	st := mirror.Status
	w.mirror, w.written = mirror.UID, &st
	w.kickLocked()
}

// mirrorDeleted has the mirror pod made again while its pod lives.
func (n *Node) mirrorDeleted(mirror *v1.Pod) {
	w := n.mirrorOf(mirror)
	if w == nil {
		// The mirror of an earlier form of the pod made way for that of this one.
		if next := n.find(mirror.Namespace, mirror.Name); next != nil && next.static {
			n.spawn(next.ensureMirror)
		}
		return
	}
	w.mu.Lock()
	same := w.mirror == mirror.UID
	if same {
		w.mirror, w.written = "", nil
	}
	w.mu.Unlock()
	if same {
		n.spawn(w.ensureMirror)
	}
}

// ensureMirror makes the object by which the API shows a static pod.
func (w *worker) ensureMirror() {
	w.mu.Lock()
	pod, there := w.pod, w.mirror != "" || w.closed || w.pod.DeletionTimestamp != nil
	w.mu.Unlock()
	if there {
		return
	}
	mirror := pod.DeepCopy()
	mirror.UID, mirror.ResourceVersion = "", ""
	mirror.Annotations[v1.MirrorPodAnnotationKey] = string(pod.UID)
	yes := true
	mirror.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: w.n.o.Name, UID: w.n.nodeUID(), Controller: &yes}}
	err := w.n.o.Client.Create(w.ctx, mirror)
	if err != nil && !apierrors.IsAlreadyExists(err) && w.ctx.Err() == nil {
		w.n.log.Warn("cannot make a mirror pod", "pod", pod.Name, "namespace", pod.Namespace, "error", err)
	}
}

// endMirror deletes the mirror pod of a static pod that has ended.
func (w *worker) endMirror(ctx context.Context, pod *v1.Pod) error {
	w.mu.Lock()
	uid := w.mirror
	w.mu.Unlock()
	if uid == "" {
		return nil
	}
	shown := &v1.Pod{}
	shown.Name, shown.Namespace, shown.UID = pod.Name, pod.Namespace, uid
	return w.n.deletePod(ctx, shown)
}
