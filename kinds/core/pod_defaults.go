package core

import (
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"
)

// defaultPod fills in what a Pod, but not a pod template, gets, and then what both
// get.
func defaultPod(pod *v1.Pod) {
	spec := &pod.Spec
	for _, list := range [][]v1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			r := &list[i].Resources
			if r.Limits != nil && r.Requests == nil {
				r.Requests = make(v1.ResourceList, len(r.Limits))
			}
			r.Requests = fillMissing(r.Requests, r.Limits)
		}
	}
	defaultPodLevelResources(pod)
	if spec.EnableServiceLinks == nil {
		spec.EnableServiceLinks = ptr.To(v1.DefaultEnableServiceLinks)
	}
	if spec.HostNetwork {
		hostPorts(spec.Containers)
		hostPorts(spec.InitContainers)
	}
	pod.Annotations = withoutOldInitContainers(pod.Annotations)
	DefaultPodSpec(spec)
	if g := spec.TerminationGracePeriodSeconds; *g < 0 {
		spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	}
	syncPodIPs(&pod.Status)
}

// DefaultPodTemplate fills in a pod template of any kind.
func DefaultPodTemplate(t *v1.PodTemplateSpec) {
	t.Annotations = withoutOldInitContainers(t.Annotations)
	DefaultPodSpec(&t.Spec)
}

// DefaultPodSpec fills in what every pod spec gets, in a Pod or in a template.
func DefaultPodSpec(spec *v1.PodSpec) {
	if spec.DNSPolicy == "" {
		spec.DNSPolicy = v1.DNSClusterFirst
	}
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = v1.RestartPolicyAlways
	}
	if spec.SecurityContext == nil {
		spec.SecurityContext = &v1.PodSecurityContext{}
	}
	if spec.TerminationGracePeriodSeconds == nil {
		spec.TerminationGracePeriodSeconds = ptr.To[int64](v1.DefaultTerminationGracePeriodSeconds)
	}
	if spec.SchedulerName == "" {
		spec.SchedulerName = v1.DefaultSchedulerName
	}
	// serviceAccount is an old alias of serviceAccountName, which wins.
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = spec.DeprecatedServiceAccount
	}
	spec.DeprecatedServiceAccount = spec.ServiceAccountName

	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i])
	}
	for i := range spec.InitContainers {
		defaultContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		defaultContainer(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		defaultContainer((*v1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	roundResources(spec.Overhead)
	if spec.Resources != nil {
		roundResources(spec.Resources.Limits)
		roundResources(spec.Resources.Requests)
	}
}

func defaultContainer(c *v1.Container) {
	if c.ImagePullPolicy == "" {
		c.ImagePullPolicy = pullPolicy(c.Image)
	}
	if c.TerminationMessagePath == "" {
		c.TerminationMessagePath = v1.TerminationMessagePathDefault
	}
	if c.TerminationMessagePolicy == "" {
		c.TerminationMessagePolicy = v1.TerminationMessageReadFile
	}
	for i := range c.Ports {
		if c.Ports[i].Protocol == "" {
			c.Ports[i].Protocol = v1.ProtocolTCP
		}
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			defaultFieldRef(from.FieldRef)
			if from.FileKeyRef != nil && from.FileKeyRef.Optional == nil {
				from.FileKeyRef.Optional = ptr.To(false)
			}
		}
	}
	roundResources(c.Resources.Limits)
	roundResources(c.Resources.Requests)
	defaultProbe(c.LivenessProbe)
	defaultProbe(c.ReadinessProbe)
	defaultProbe(c.StartupProbe)
	if l := c.Lifecycle; l != nil {
		if l.PostStart != nil {
			defaultHTTPGet(l.PostStart.HTTPGet)
		}
		if l.PreStop != nil {
			defaultHTTPGet(l.PreStop.HTTPGet)
		}
	}
}

func defaultProbe(p *v1.Probe) {
	if p == nil {
		return
	}
	if p.TimeoutSeconds == 0 {
		p.TimeoutSeconds = 1
	}
	if p.PeriodSeconds == 0 {
		p.PeriodSeconds = 10
	}
	if p.SuccessThreshold == 0 {
		p.SuccessThreshold = 1
	}
	if p.FailureThreshold == 0 {
		p.FailureThreshold = 3
	}
	defaultHTTPGet(p.HTTPGet)
	if p.GRPC != nil && p.GRPC.Service == nil {
		p.GRPC.Service = ptr.To("")
	}
}

func defaultHTTPGet(h *v1.HTTPGetAction) {
	if h == nil {
		return
	}
	if h.Path == "" {
		h.Path = "/"
	}
	if h.Scheme == "" {
		h.Scheme = v1.URISchemeHTTP
	}
}

func defaultFieldRef(f *v1.ObjectFieldSelector) {
	if f != nil && f.APIVersion == "" {
		f.APIVersion = "v1"
	}
}

// hostPorts gives each port of a pod on the host's network its own number there.
func hostPorts(containers []v1.Container) {
	for i := range containers {
		for j := range containers[i].Ports {
			if p := &containers[i].Ports[j]; p.HostPort == 0 {
				p.HostPort = p.ContainerPort
			}
		}
	}
}

// defaultPodLevelResources completes spec.resources from the containers' own
// (KEP-2837): limits of huge pages first, then requests.
func defaultPodLevelResources(pod *v1.Pod) {
	r := pod.Spec.Resources
	if r == nil {
		return
	}
	if len(r.Limits) > 0 || len(r.Requests) > 0 {
		for name, q := range resource.AggregateContainerLimits(pod, resource.PodResourcesOptions{}) {
			_, requested := r.Requests[name]
			if isHugePages(name) && resource.IsSupportedPodLevelResource(name) && !requested {
				r.Limits = fillMissing(r.Limits, v1.ResourceList{name: q})
			}
		}
	}
	if len(r.Limits) == 0 {
		return
	}
	for name, q := range resource.AggregateContainerRequests(pod, resource.PodResourcesOptions{}) {
		if resource.IsSupportedPodLevelResource(name) && overcommits(name) {
			r.Requests = fillMissing(r.Requests, v1.ResourceList{name: q})
		}
	}
	for name, q := range r.Limits {
		if resource.IsSupportedPodLevelResource(name) {
			r.Requests = fillMissing(r.Requests, v1.ResourceList{name: q})
		}
	}
}

// withoutOldInitContainers leaves out the annotations in which init containers
// were written before they were fields.
func withoutOldInitContainers(annotations map[string]string) map[string]string {
	out, copied := annotations, false
	for key := range annotations {
		rest, ok := strings.CutPrefix(key, "pod.")
		if !ok {
			continue
		}
		switch rest {
		case "beta.kubernetes.io/init-containers", "alpha.kubernetes.io/init-containers",
			"beta.kubernetes.io/init-container-statuses", "alpha.kubernetes.io/init-container-statuses":
			if !copied {
				out, copied = make(map[string]string, len(annotations)), true
				for k, v := range annotations {
					out[k] = v
				}
			}
			delete(out, key)
		}
	}
	return out
}

// syncPodIPs keeps podIP the first of podIPs; where they differ podIP wins.
func syncPodIPs(s *v1.PodStatus) {
	if s.PodIP != "" && (len(s.PodIPs) == 0 || s.PodIPs[0].IP != s.PodIP) {
		s.PodIPs = []v1.PodIP{{IP: s.PodIP}}
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}
