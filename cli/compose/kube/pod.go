package kube

import (
	"fmt"
	"math"
	"path"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mounts gives a pod its volumes, configs and secrets.
func (c *converter) mounts(s types.ServiceConfig, pod *corev1.PodSpec, m *corev1.Container) error {
	add := func(source corev1.VolumeSource, mount corev1.VolumeMount) {
		mount.Name = fmt.Sprintf("v%d", len(pod.Volumes))
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: mount.Name, VolumeSource: source})
		m.VolumeMounts = append(m.VolumeMounts, mount)
	}
	for _, v := range s.Volumes {
		mount := corev1.VolumeMount{MountPath: v.Target, ReadOnly: v.ReadOnly}
		switch {
		case v.Type == types.VolumeTypeBind:
			c.note("service %q: %s is a path of the node on which the pod runs", s.Name, v.Source)
			add(corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: v.Source}}, mount)
		case v.Type == types.VolumeTypeTmpfs:
			e := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
			if v.Tmpfs != nil && v.Tmpfs.Size > 0 {
				e.SizeLimit = resource.NewQuantity(int64(v.Tmpfs.Size), resource.BinarySI)
			}
			add(corev1.VolumeSource{EmptyDir: e}, mount)
		case v.Type == types.VolumeTypeVolume && v.Source != "":
			key := v.Source
			if known := c.p.Volumes[key]; c.scratch(known) {
				e := &corev1.EmptyDirVolumeSource{}
				if known.DriverOpts["type"] == "tmpfs" {
					e.Medium = corev1.StorageMediumMemory
				}
				add(corev1.VolumeSource{EmptyDir: e}, mount)
				continue
			}
			if known := c.p.Volumes[key]; bool(known.External) {
				key = known.Name
			}
			if v.Volume != nil {
				mount.SubPath = v.Volume.Subpath
			}
			add(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name(key)}}, mount)
		case v.Type == types.VolumeTypeVolume:
			add(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, mount)
		case v.Type == types.VolumeTypeImage:
			add(corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: v.Source}}, mount)
		default:
			c.note("service %q: a volume of type %s is not carried over", s.Name, v.Type)
		}
	}
	for _, t := range s.Tmpfs {
		add(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}}, corev1.VolumeMount{MountPath: t})
	}
	if s.ShmSize > 0 {
		limit := resource.NewQuantity(int64(s.ShmSize), resource.BinarySI)
		add(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: limit}}, corev1.VolumeMount{MountPath: "/dev/shm"})
	}
	for _, ref := range s.Configs {
		key := name(ref.Source)
		target := place(types.FileReferenceConfig(ref), "/")
		if err := c.config(ref.Source); err != nil {
			return err
		}
		add(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: key}, Items: items(types.FileReferenceConfig(ref)),
		}}, corev1.VolumeMount{MountPath: target, SubPath: "content", ReadOnly: true})
	}
	for _, ref := range s.Secrets {
		key := name(ref.Source)
		target := place(types.FileReferenceConfig(ref), "/run/secrets/")
		if err := c.secret(ref.Source); err != nil {
			return err
		}
		add(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: key, Items: items(types.FileReferenceConfig(ref))}},
			corev1.VolumeMount{MountPath: target, SubPath: "content", ReadOnly: true})
	}
	return nil
}

func place(ref types.FileReferenceConfig, dir string) string {
	target := ref.Target
	if target == "" {
		target = ref.Source
	}
	if !path.IsAbs(target) {
		target = dir + target
	}
	return target
}

func items(ref types.FileReferenceConfig) []corev1.KeyToPath {
	item := corev1.KeyToPath{Key: "content", Path: "content"}
	if ref.Mode != nil {
		mode := int32(*ref.Mode)
		item.Mode = &mode
	}
	return []corev1.KeyToPath{item}
}

func (c *converter) config(key string) error {
	o := types.FileObjectConfig(c.p.Configs[key])
	if c.objects["config/"+key] || bool(o.External) {
		return nil
	}
	c.objects["config/"+key] = true
	text, err := c.file(o)
	if err != nil {
		return fmt.Errorf("config %q: %w", key, err)
	}
	c.out = append(c.out, &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: c.meta(key, ""), Data: map[string]string{"content": string(text)},
	})
	return nil
}

func (c *converter) secret(key string) error {
	o := types.FileObjectConfig(c.p.Secrets[key])
	if c.objects["secret/"+key] || bool(o.External) {
		return nil
	}
	c.objects["secret/"+key] = true
	text, err := c.file(o)
	if err != nil {
		return fmt.Errorf("secret %q: %w", key, err)
	}
	c.out = append(c.out, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: c.meta(key, ""), Data: map[string][]byte{"content": text},
	})
	return nil
}

func resources(s types.ServiceConfig) corev1.ResourceRequirements {
	limits, requests := corev1.ResourceList{}, corev1.ResourceList{}
	cpu := func(l corev1.ResourceList, cpus float64) {
		if cpus > 0 {
			l[corev1.ResourceCPU] = *resource.NewMilliQuantity(int64(math.Round(cpus*1000)), resource.DecimalSI)
		}
	}
	memory := func(l corev1.ResourceList, n types.UnitBytes) {
		if n > 0 {
			l[corev1.ResourceMemory] = *resource.NewQuantity(int64(n), resource.BinarySI)
		}
	}
	cpu(limits, float64(s.CPUS))
	memory(limits, s.MemLimit)
	memory(requests, s.MemReservation)
	if s.Deploy != nil {
		if l := s.Deploy.Resources.Limits; l != nil {
			cpu(limits, float64(l.NanoCPUs))
			memory(limits, l.MemoryBytes)
		}
		if r := s.Deploy.Resources.Reservations; r != nil {
			cpu(requests, float64(r.NanoCPUs))
			memory(requests, r.MemoryBytes)
		}
	}
	var out corev1.ResourceRequirements
	if len(limits) > 0 {
		out.Limits = limits
	}
	if len(requests) > 0 {
		out.Requests = requests
	}
	return out
}

// probes are what a health check becomes: the readiness of the pod, as depends_on
// uses it, and its liveness.
func probes(h *types.HealthCheckConfig) (readiness, liveness *corev1.Probe) {
	if h == nil || h.Disable || len(h.Test) == 0 {
		return nil, nil
	}
	var command []string
	switch h.Test[0] {
	case "NONE":
		return nil, nil
	case "CMD":
		command = h.Test[1:]
	case "CMD-SHELL":
		command = append([]string{"/bin/sh", "-c"}, h.Test[1:]...)
	default:
		command = h.Test
	}
	p := corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: command}},
		PeriodSeconds: atLeastOne(h.Interval, 30), TimeoutSeconds: atLeastOne(h.Timeout, 30), FailureThreshold: 3,
	}
	if h.Retries != nil && *h.Retries > 0 {
		p.FailureThreshold = int32(min(*h.Retries, math.MaxInt32))
	}
	ready, live := p, p
	if h.StartPeriod != nil {
		live.InitialDelaySeconds = int32(durationSeconds(h.StartPeriod))
	}
	return &ready, &live
}

// atLeastOne is a duration in whole seconds, def where none is given.
func atLeastOne(d *types.Duration, def int32) int32 {
	if d == nil {
		return def
	}
	return max(1, int32(durationSeconds(d)))
}

func durationSeconds(d *types.Duration) float64 {
	return math.Round(time.Duration(*d).Seconds())
}
