package podspec

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"skiff.dev/skiff/volume"
)

// Sources answer what an environment refers to. Errors of ConfigMap and Secret are
// the API's own (a NotFound of an optional reference is none).
type Sources struct {
	ConfigMap func(name string) (*v1.ConfigMap, error)
	Secret    func(name string) (*v1.Secret, error)
	// Services of the pod's namespace, and the master service of namespace default.
	Services    []*v1.Service
	IPs         []string
	HostIPs     []string
	Allocatable v1.ResourceList
}

// Env is an environment in order.
type Env struct {
	Names  []string
	Values map[string]string
}

func (e *Env) set(name, value string) {
	if _, ok := e.Values[name]; !ok {
		e.Names = append(e.Names, name)
	}
	e.Values[name] = value
}

// Lookup is for Expand.
func (e *Env) Lookup(name string) (string, bool) {
	v, ok := e.Values[name]
	return v, ok
}

// List renders KEY=value lines.
func (e *Env) List() []string {
	out := make([]string, len(e.Names))
	for i, n := range e.Names {
		out[i] = n + "=" + e.Values[n]
	}
	return out
}

// ConfigError is a reference of a container that cannot be resolved: the pod waits
// with CreateContainerConfigError.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

func configErrorf(format string, args ...any) error {
	return &ConfigError{fmt.Errorf(format, args...)}
}

// MakeEnv computes a container's environment: variables of services first, then
// envFrom, then env; later ones win, and env may refer to all before.
func MakeEnv(pod *v1.Pod, c *v1.Container, src *Sources) (*Env, error) {
	services := ServiceEnv(pod, src.Services)
	e := &Env{Values: make(map[string]string, len(services.Names)+len(c.Env))}
	// References see service variables, but what the container defines itself comes
	// first in its list, as the kubelet has it.
	seen := &Env{Values: maps.Clone(services.Values)}
	for i := range c.EnvFrom {
		if err := envFrom(pod, &c.EnvFrom[i], src, e, seen); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		v := &c.Env[i]
		value := v.Value
		if v.ValueFrom != nil {
			var skip bool
			var err error
			if value, skip, err = valueFrom(pod, c, v.ValueFrom, src); err != nil {
				return nil, err
			}
			if skip {
				continue
			}
		} else {
			value = Expand(value, seen.Lookup)
		}
		seen.Values[v.Name] = value
		e.set(v.Name, value)
	}
	for _, n := range services.Names {
		if _, ok := e.Values[n]; !ok {
			e.set(n, services.Values[n])
		}
	}
	return e, nil
}

func envFrom(pod *v1.Pod, from *v1.EnvFromSource, src *Sources, e, seen *Env) error {
	data := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		ref := from.ConfigMapRef
		cm, err := src.ConfigMap(ref.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && optional(ref.Optional) {
				return nil
			}
			return &ConfigError{err}
		}
		data = cm.Data
	case from.SecretRef != nil:
		ref := from.SecretRef
		s, err := src.Secret(ref.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && optional(ref.Optional) {
				return nil
			}
			return &ConfigError{err}
		}
		for k, v := range s.Data {
			data[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		name := from.Prefix + k
		// What cannot be a variable's name is left out (RelaxedEnvironmentVariableValidation).
		if strings.ContainsAny(name, "=\x00") {
			continue
		}
		e.set(name, data[k])
		seen.Values[name] = data[k]
	}
	return nil
}

func optional(p *bool) bool { return p != nil && *p }

// valueFrom resolves one reference; skip tells that it is optional and absent.
func valueFrom(pod *v1.Pod, c *v1.Container, from *v1.EnvVarSource, src *Sources) (value string, skip bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = field(pod, from.FieldRef.FieldPath, src)
		if err != nil {
			err = &ConfigError{err}
		}
		return value, false, err
	case from.ResourceFieldRef != nil:
		target := c
		if n := from.ResourceFieldRef.ContainerName; n != "" && n != c.Name {
			if target = containerOf(pod, n); target == nil {
				return "", false, configErrorf("container %s not found", n)
			}
		}
		if value, err = volume.ResourceField(target, from.ResourceFieldRef, src.Allocatable); err != nil {
			err = &ConfigError{err}
		}
		return value, false, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, err := src.ConfigMap(ref.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && optional(ref.Optional) {
				return "", true, nil
			}
			return "", false, &ConfigError{err}
		}
		if v, ok := cm.Data[ref.Key]; ok {
			return v, false, nil
		}
		if optional(ref.Optional) {
			return "", true, nil
		}
		return "", false, configErrorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, pod.Namespace, ref.Name)
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s, err := src.Secret(ref.Name)
		if err != nil {
			if apierrors.IsNotFound(err) && optional(ref.Optional) {
				return "", true, nil
			}
			return "", false, &ConfigError{err}
		}
		if v, ok := s.Data[ref.Key]; ok {
			return string(v), false, nil
		}
		if optional(ref.Optional) {
			return "", true, nil
		}
		return "", false, configErrorf("couldn't find key %v in Secret %v/%v", ref.Key, pod.Namespace, ref.Name)
	}
	return "", false, configErrorf("unsupported source of an environment variable")
}

func field(pod *v1.Pod, path string, src *Sources) (string, error) {
	first := func(ips []string) string {
		if len(ips) == 0 {
			return ""
		}
		return ips[0]
	}
	switch path {
	case "status.podIP":
		return first(src.IPs), nil
	case "status.podIPs":
		return strings.Join(src.IPs, ","), nil
	case "status.hostIP":
		return first(src.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(src.HostIPs, ","), nil
	}
	return volume.Field(pod, path)
}

func containerOf(pod *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// ServiceEnv are the variables that describe services, as Docker's links and
// Kubernetes' own: those of the pod's namespace if it wants them, and always those
// of default/kubernetes.
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
func ServiceEnv(pod *v1.Pod, services []*v1.Service) *Env {
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	chosen := map[string]*v1.Service{}
	for _, s := range services {
		if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == v1.ClusterIPNone || len(s.Spec.Ports) == 0 {
			continue
		}
		master := s.Namespace == metav1Default && s.Name == "kubernetes"
		switch {
		case s.Namespace == pod.Namespace && (links || master):
			chosen[s.Name] = s
		case master && chosen[s.Name] == nil:
			chosen[s.Name] = s
		}
	}
	e := &Env{Values: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		oneService(chosen[name], e)
	}
	return e
}

const metav1Default = "default"

func oneService(s *v1.Service, e *Env) {
	prefix := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
	ip := s.Spec.ClusterIP
	e.set(prefix+"_SERVICE_HOST", ip)
	e.set(prefix+"_SERVICE_PORT", strconv.Itoa(int(s.Spec.Ports[0].Port)))
	for _, p := range s.Spec.Ports {
		if p.Name != "" {
			e.set(prefix+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_")), strconv.Itoa(int(p.Port)))
		}
	}
	for i, p := range s.Spec.Ports {
		proto := string(p.Protocol)
		if proto == "" {
			proto = string(v1.ProtocolTCP)
		}
		port := strconv.Itoa(int(p.Port))
		url := strings.ToLower(proto) + "://" + net.JoinHostPort(ip, port)
		if i == 0 {
			e.set(prefix+"_PORT", url)
		}
		pp := prefix + "_PORT_" + port + "_" + strings.ToUpper(proto)
		e.set(pp, url)
		e.set(pp+"_PROTO", strings.ToLower(proto))
		e.set(pp+"_PORT", port)
		e.set(pp+"_ADDR", ip)
	}
}
