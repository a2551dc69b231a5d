// Package kube writes a compose application as Kubernetes manifests. It is pure,
// apart from reading the files of configs and secrets. What Kubernetes has no word
// for comes back as notes instead of being left out silently.
package kube

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/cli/compose/spec"
)

type converter struct {
	p *types.Project
	Options
	notes []string
	out   []runtime.Object
	// objects are configs and secrets that are written already, by their names.
	objects map[string]bool
}

// Volumes is what a named volume becomes.
type Volumes string

// What a named volume becomes: a directory of the node with a claim to it, which
// runs on any cluster of one node; a claim alone, for clusters whose default class
// makes volumes; or a directory that goes with the pod.
const (
	Directories Volumes = "persistentVolume"
	Claims      Volumes = "persistentVolumeClaim"
	Scratch     Volumes = "emptyDir"
)

// Options of Manifests.
type Options struct {
	// Separator stands between the parts of an image's name.
	Separator string
	Volumes   Volumes
	// Dir is where the node keeps the directories of Directories.
	Dir string
}

// Manifests are the application's objects as YAML documents, and notes about what
// they do not say.
func Manifests(p *types.Project, o Options) ([]byte, []string, error) {
	if !slices.Contains([]Volumes{Directories, Claims, Scratch}, o.Volumes) {
		return nil, nil, fmt.Errorf("unsupported volumes %q: persistentVolume, persistentVolumeClaim or emptyDir", o.Volumes)
	}
	c := &converter{p: p, Options: o, objects: map[string]bool{}}
	for _, key := range slices.Sorted(maps.Keys(p.Volumes)) {
		c.volume(key, p.Volumes[key])
	}
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		if err := c.service(p.Services[name]); err != nil {
			return nil, nil, fmt.Errorf("service %q: %w", name, err)
		}
	}
	var text bytes.Buffer
	for i, o := range c.out {
		one, err := document(o)
		if err != nil {
			return nil, nil, err
		}
		if i > 0 {
			text.WriteString("---\n")
		}
		text.Write(one)
	}
	return text.Bytes(), c.notes, nil
}

// document is an object without the fields that only a server fills in.
func document(o runtime.Object) ([]byte, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	delete(m, "status")
	prune(m)
	return yaml.Marshal(m)
}

// prune takes out null creation times and empty strategies and resources.
func prune(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			if prune(v); len(v) == 0 && (k == "strategy" || k == "resources" || k == "metadata") {
				delete(m, k)
			}
		case []any:
			for _, item := range v {
				if im, ok := item.(map[string]any); ok {
					prune(im)
				}
			}
		}
	}
}

func (c *converter) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

var notName = regexp.MustCompile(`[^a-z0-9-]+`)

// name is a name that Kubernetes takes.
func name(s string) string {
	return strings.Trim(notName.ReplaceAllString(strings.ToLower(s), "-"), "-")
}

func (c *converter) meta(n, service string) metav1.ObjectMeta {
	l := map[string]string{"app.kubernetes.io/part-of": name(c.p.Name)}
	if service != "" {
		l["app.kubernetes.io/name"] = name(service)
	}
	return metav1.ObjectMeta{Name: name(n), Labels: l}
}

func (c *converter) service(s types.ServiceConfig) error {
	pod := corev1.PodSpec{Hostname: s.Hostname, HostNetwork: s.NetworkMode == "host", HostPID: s.Pid == "host", HostIPC: s.Ipc == "host"}
	main, err := c.container(s)
	if err != nil {
		return err
	}
	if err := c.mounts(s, &pod, &main); err != nil {
		return err
	}
	pod.Containers = []corev1.Container{main}
	if s.StopGracePeriod != nil {
		seconds := int64(durationSeconds(s.StopGracePeriod))
		pod.TerminationGracePeriodSeconds = &seconds
	}
	hosts(s, &pod)
	c.unsaid(s)
	replicas := int32(s.GetScale())
	meta := c.meta(s.Name, s.Name)
	selector := map[string]string{"app.kubernetes.io/name": name(s.Name), "app.kubernetes.io/part-of": name(c.p.Name)}
	template := metav1.ObjectMeta{Labels: selector, Annotations: maps.Clone(map[string]string(s.Annotations))}
	d := &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: selector}, Template: corev1.PodTemplateSpec{ObjectMeta: template, Spec: pod}},
	}
	for _, v := range pod.Volumes {
		if v.PersistentVolumeClaim != nil { // a claim is one node's: the old pod goes first
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		}
	}
	c.out = append(c.out, d)
	c.ports(s, selector)
	return nil
}

func (c *converter) container(s types.ServiceConfig) (corev1.Container, error) {
	m := corev1.Container{
		Name: name(s.Name), Image: spec.Image(c.p.Name, s, c.Separator), WorkingDir: s.WorkingDir, TTY: s.Tty, Stdin: s.StdinOpen,
		Command: escape(s.Entrypoint), Args: escape(s.Command),
		ImagePullPolicy: map[string]corev1.PullPolicy{"always": corev1.PullAlways, "never": corev1.PullNever}[s.PullPolicy],
	}
	if m.ImagePullPolicy == "" {
		m.ImagePullPolicy = corev1.PullIfNotPresent // as compose does, whatever the tag
	}
	for _, k := range slices.Sorted(maps.Keys(s.Environment)) {
		if v := s.Environment[k]; v != nil {
			m.Env = append(m.Env, corev1.EnvVar{Name: k, Value: strings.ReplaceAll(*v, "$(", "$$(")})
		}
	}
	for _, p := range s.Ports {
		port := corev1.ContainerPort{ContainerPort: int32(p.Target), Protocol: protocol(p.Protocol)}
		if !slices.ContainsFunc(m.Ports, func(have corev1.ContainerPort) bool {
			return have.ContainerPort == port.ContainerPort && have.Protocol == port.Protocol
		}) {
			m.Ports = append(m.Ports, port)
		}
	}
	security, err := c.security(s)
	if err != nil {
		return m, err
	}
	m.SecurityContext = security
	m.Resources = resources(s)
	m.ReadinessProbe, m.LivenessProbe = probes(s.HealthCheck)
	return m, nil
}

// escape keeps Kubernetes from filling in $(NAME), which compose leaves alone.
func escape(words []string) []string {
	var out []string
	for _, w := range words {
		out = append(out, strings.ReplaceAll(w, "$(", "$$("))
	}
	return out
}

func protocol(p string) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return corev1.Protocol(strings.ToUpper(p))
}

func (c *converter) security(s types.ServiceConfig) (*corev1.SecurityContext, error) {
	sc := &corev1.SecurityContext{}
	some := false
	if s.Privileged {
		sc.Privileged, some = &s.Privileged, true
	}
	if s.ReadOnly {
		sc.ReadOnlyRootFilesystem, some = &s.ReadOnly, true
	}
	if len(s.CapAdd)+len(s.CapDrop) > 0 {
		some = true
		sc.Capabilities = &corev1.Capabilities{Add: capabilities(s.CapAdd), Drop: capabilities(s.CapDrop)}
	}
	if slices.Contains(s.SecurityOpt, "no-new-privileges:true") || slices.Contains(s.SecurityOpt, "no-new-privileges") {
		no := false
		sc.AllowPrivilegeEscalation, some = &no, true
	}
	if s.User != "" {
		user, group, both := strings.Cut(s.User, ":")
		uid, err := strconv.ParseInt(user, 10, 64)
		if err != nil {
			c.note("service %q: user %q has no number; the image's user is taken", s.Name, s.User)
		} else {
			sc.RunAsUser, some = &uid, true
			if gid, err := strconv.ParseInt(group, 10, 64); both && err == nil {
				sc.RunAsGroup = &gid
			}
		}
	}
	if !some {
		return nil, nil
	}
	return sc, nil
}

func capabilities(in []string) []corev1.Capability {
	var out []corev1.Capability
	for _, n := range in {
		out = append(out, corev1.Capability(strings.TrimPrefix(strings.ToUpper(n), "CAP_")))
	}
	return out
}

// ports makes the Service by whose name others find this one. Published ports are
// node ports where their number is one that nodes may have.
func (c *converter) ports(s types.ServiceConfig, selector map[string]string) {
	svc := &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: c.meta(s.Name, s.Name),
		Spec: corev1.ServiceSpec{Selector: selector},
	}
	add := func(port int32, p corev1.Protocol) *corev1.ServicePort {
		for i, have := range svc.Spec.Ports {
			if have.Port == port && have.Protocol == p {
				return &svc.Spec.Ports[i]
			}
		}
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name: fmt.Sprintf("%s-%d", strings.ToLower(string(p)), port), Port: port, Protocol: p, TargetPort: intstr.FromInt32(port),
		})
		return &svc.Spec.Ports[len(svc.Spec.Ports)-1]
	}
	for _, p := range s.Ports {
		sp := add(int32(p.Target), protocol(p.Protocol))
		if p.Published == "" {
			continue
		}
		svc.Spec.Type = corev1.ServiceTypeNodePort
		if n, err := strconv.Atoi(p.Published); err == nil && n >= 30000 && n <= 32767 {
			sp.NodePort = int32(n)
		} else {
			c.note("service %q: port %d was published at %s; it gets a node port that the cluster chooses (kubectl get service %s)", s.Name, p.Target, p.Published, name(s.Name))
		}
		if p.HostIP != "" {
			c.note("service %q: port %d was published at %s only; a node port is open at every address of the nodes", s.Name, p.Target, p.HostIP)
		}
	}
	for _, e := range s.Expose {
		port, proto, _ := strings.Cut(e, "/")
		if n, err := strconv.ParseInt(port, 10, 32); err == nil {
			add(int32(n), protocol(proto))
		}
	}
	if len(svc.Spec.Ports) == 0 {
		svc.Spec.ClusterIP = corev1.ClusterIPNone // its name still leads to its pods
	}
	c.out = append(c.out, svc)
	for _, alias := range aliases(s) {
		if a := name(alias); a != name(s.Name) {
			twin := svc.DeepCopy()
			twin.Name, twin.Spec.Type = a, ""
			for i := range twin.Spec.Ports {
				twin.Spec.Ports[i].NodePort = 0
			}
			c.out = append(c.out, twin)
		}
	}
}

// aliases are the further names of a service on its networks.
func aliases(s types.ServiceConfig) []string {
	var out []string
	for _, n := range s.Networks {
		if n != nil {
			out = append(out, n.Aliases...)
		}
	}
	if s.ContainerName != "" {
		out = append(out, s.ContainerName)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func hosts(s types.ServiceConfig, pod *corev1.PodSpec) {
	for _, host := range slices.Sorted(maps.Keys(s.ExtraHosts)) {
		for _, ip := range s.ExtraHosts[host] {
			pod.HostAliases = append(pod.HostAliases, corev1.HostAlias{IP: ip, Hostnames: []string{host}})
		}
	}
	if len(s.DNS)+len(s.DNSSearch) > 0 {
		pod.DNSConfig = &corev1.PodDNSConfig{Nameservers: s.DNS, Searches: s.DNSSearch}
	}
}

// unsaid notes what the manifests do not carry.
func (c *converter) unsaid(s types.ServiceConfig) {
	if s.Build != nil {
		c.note("service %q: build the image %s first (skiff compose build)", s.Name, spec.Image(c.p.Name, s, c.Separator))
	}
	for _, k := range []struct {
		key string
		set bool
	}{
		{"restart " + s.Restart, s.Restart == "no" || s.Restart == "on-failure"},
		{"devices", len(s.Devices) > 0}, {"ulimits", len(s.Ulimits) > 0}, {"sysctls", len(s.Sysctls) > 0},
		{"network_mode " + s.NetworkMode, s.NetworkMode != "" && s.NetworkMode != "host" && s.NetworkMode != "bridge"},
		{"volumes_from", len(s.VolumesFrom) > 0}, {"logging", s.Logging != nil}, {"links to other names", len(s.Links) > 0},
	} {
		if k.set {
			c.note("service %q: %s is not carried over", s.Name, k.key)
		}
	}
	for dep, d := range s.DependsOn {
		if d.Condition == types.ServiceConditionCompletedSuccessfully {
			c.note("service %q: it does not wait for %q to complete", s.Name, dep)
		}
	}
}

// file is the content of a config or secret.
func (c *converter) file(o types.FileObjectConfig) ([]byte, error) {
	switch {
	case o.Content != "":
		return []byte(o.Content), nil
	case o.Environment != "":
		return []byte(c.p.Environment[o.Environment]), nil
	default:
		return os.ReadFile(o.File)
	}
}
