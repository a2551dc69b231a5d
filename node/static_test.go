package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func manifest(name, image string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: default}\nspec:\n  restartPolicy: Always\n  terminationGracePeriodSeconds: 1\n  containers: [{name: app, image: " + image + "}]\n"
}

func TestStaticPods(t *testing.T) {
	dir, manifests := t.TempDir(), t.TempDir()
	file := filepath.Join(manifests, "web.yaml")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(manifest("web", "busybox"))
	if err := os.WriteFile(filepath.Join(manifests, ".hidden.yaml"), []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dir)
		r.staticPods = manifests
		r.start()
		defer func() { r.stop() }()
		r.wait(time.Second)
		r.expect("web-n1", "Running ready=True app:running")
		mirror := r.pod("web-n1")
		hash := mirror.Annotations[v1.MirrorPodAnnotationKey]
		if hash == "" || hash == string(mirror.UID) || mirror.Annotations[annotationSource] != "file" || mirror.OwnerReferences[0].Kind != "Node" || mirror.OwnerReferences[0].Name != "n1" {
			t.Errorf("%+v", mirror.ObjectMeta)
		}
		r.delete("web-n1") // of the mirror: the pod runs on
		r.wait(time.Second)
		r.expect("web-n1", "Running ready=True app:running")
		id := r.id("app")
		r.stop()
		r.start()
		r.wait(time.Second)
		r.expect("web-n1", "Running ready=True app:running")
		if now := r.id("app"); now != id {
			t.Errorf("restarted: %s, was %s", now, id)
		}
		r.engine.Exit(id, 1)
		r.wait(time.Second)
		r.expect("web-n1", "Running ready=True app:runningx1")

		write(manifest("web", "busybox:latest")) // changed: another pod of that name
		r.wait(3 * leaseInterval)
		r.expect("web-n1", "Running ready=True app:running")
		if m := r.pod("web-n1"); m.Annotations[v1.MirrorPodAnnotationKey] == hash || m.Spec.Containers[0].Image != "busybox:latest" {
			t.Errorf("%+v", m.ObjectMeta)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		r.wait(2 * leaseInterval)
		r.expect("web-n1", "gone")
		if all, _ := r.engine.List(t.Context(), nil); len(all) != 0 {
			t.Errorf("%d containers are left", len(all))
		}
		// A mirror of what does not exist goes.
		p := &v1.Pod{}
		p.Name, p.Namespace, p.Spec.NodeName = "stray", "default", "n1"
		p.Annotations = map[string]string{v1.MirrorPodAnnotationKey: "x"}
		if err := r.api.Create(t.Context(), p, &client.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		r.wait(time.Second)
		r.expect("stray", "gone")
	})
}

func FuzzStaticPod(f *testing.F) {
	f.Add(manifest("web", "busybox"))
	f.Add("apiVersion: v1\nkind: Secret\n")
	f.Add("{")
	f.Fuzz(func(t *testing.T, data string) {
		pod, err := staticPod([]byte(data), "/f", "N1", nil)
		if err != nil {
			return
		}
		if pod.UID == "" || pod.Namespace == "" || !strings.HasSuffix(pod.Name, "-n1") || pod.Spec.NodeName != "N1" || pod.Annotations[annotationSource] != "file" {
			t.Errorf("%+v", pod.ObjectMeta)
		}
	})
}
