package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"skiff.dev/skiff/test/workload"
)

const benchImage = "skiff/bench:1"

// benchPods measures from a Deployment's creation to its being available.
func benchPods(ctx context.Context, t *table, i *instance) error {
	archive, err := benchArchive(i.dir)
	if err != nil {
		return err
	}
	if out, err := i.skiff(ctx, "image", "load", archive); err != nil {
		return fmt.Errorf("load the image: %w\n%s", err, out)
	}
	c, err := workload.Client(i.kubeconfig(), "")
	if err != nil {
		return err
	}
	first, err := available(ctx, c, "first", 1)
	if err != nil {
		return err
	}
	t.row("1-pod Deployment to Available, first", first.Seconds(), 0, "s", false)
	var best time.Duration
	for n := range 3 {
		d, err := available(ctx, c, fmt.Sprintf("one-%d", n), 1)
		if err != nil {
			return err
		}
		if best == 0 || d < best {
			best = d
		}
	}
	t.row("1-pod Deployment to Available", best.Seconds(), 0.25, "s", false)
	before, _, err := workload.Memory(i.pids())
	if err != nil {
		return err
	}
	d, err := available(ctx, c, "fifty", 50)
	if err != nil {
		return err
	}
	t.row("50 pods to Available", d.Seconds(), 3, "s", false)
	after, _, err := workload.Memory(i.pids())
	if err != nil {
		return err
	}
	t.row("memory for 50 pods beyond the pods, RSS", float64(after-before)/1e6, 60, "MB", false)
	return c.AppsV1().Deployments("default").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
}

// available creates a Deployment and returns how long it took until all of its
// pods were available.
func available(ctx context.Context, c kubernetes.Interface, name string, replicas int32) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	w, err := c.AppsV1().Deployments("default").Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	begin := time.Now()
	if _, err := c.AppsV1().Deployments("default").Create(ctx, deployment(name, replicas), metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	for e := range w.ResultChan() {
		if d, ok := e.Object.(*appsv1.Deployment); ok && d.Status.AvailableReplicas == replicas {
			return time.Since(begin), nil
		}
	}
	return 0, fmt.Errorf("deployment %s was not available in time", name)
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "main", Image: benchImage, Command: []string{"/busybox", "sleep", "100000"},
					ReadinessProbe: &corev1.Probe{
						ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/busybox", "true"}}},
						PeriodSeconds: 1,
					},
				}}},
			},
		},
	}
}

// benchArchive makes an image of Debian's static busybox.
func benchArchive(dir string) (string, error) {
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return "", err
	}
	layer, err := tarOf(map[string][]byte{"busybox": data}, 0o755)
	if err != nil {
		return "", err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"/busybox", "sh"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return "", err
	}
	manifest := fmt.Sprintf(`[{"Config":"config.json","RepoTags":[%q],"Layers":["layer.tar"]}]`, benchImage)
	archive, err := tarOf(map[string][]byte{"layer.tar": layer, "config.json": config, "manifest.json": []byte(manifest)}, 0o644)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "image.tar")
	return path, os.WriteFile(path, archive, 0o600)
}

func tarOf(files map[string][]byte, mode int64) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}
