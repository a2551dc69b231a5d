package core

import (
	"math"
	"strings"

	v1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// podCheck judges one pod spec. Its methods add to the list in the order in which
// Kubernetes finds errors.
type podCheck struct {
	rules.List
	allow podAllowances
	// isPod is false for a pod template.
	isPod bool
	spec  *v1.PodSpec
	// meta is the pod's; nil in a template.
	meta *metav1.ObjectMeta
	// volumes are the valid ones, claims the names of spec.resourceClaims.
	volumes   map[string]*v1.VolumeSource
	claims    map[string]bool
	hostUsers bool
}

// ValidatePodTemplate judges a pod template of any kind. What else a kind wants of
// its template (restart policy, matching labels) is that kind's.
func ValidatePodTemplate(t *v1.PodTemplateSpec, path *field.Path) field.ErrorList {
	return validateTemplate(t, path, podAllowances{})
}

// ValidatePodTemplateUpdate judges a template that replaces old, which may be nil:
// what old already had wrong and later rules forbid may stay.
func ValidatePodTemplateUpdate(t, old *v1.PodTemplateSpec, path *field.Path) field.ErrorList {
	if old == nil {
		return ValidatePodTemplate(t, path)
	}
	return validateTemplate(t, path, allowancesFor(&old.Spec, &old.ObjectMeta))
}

func validateTemplate(t *v1.PodTemplateSpec, path *field.Path, allow podAllowances) field.ErrorList {
	c := podCheck{allow: allow, spec: &t.Spec}
	c.templateMeta(t, path)
	spec := path.Child("spec")
	c.check(spec)
	c.annotationsMatch(t.Annotations, spec)
	if len(t.Spec.EphemeralContainers) > 0 {
		c.Forbidden(spec.Child("ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
	return c.Errors()
}

func (c *podCheck) templateMeta(t *v1.PodTemplateSpec, path *field.Path) {
	c.Add(metavalidation.ValidateLabels(t.Labels, path.Child("labels"))...)
	c.Add(apivalidation.ValidateAnnotations(t.Annotations, path.Child("annotations"))...)
	c.annotations(t.Annotations, path.Child("annotations"))
}

// ValidatePodTemplateMeta judges a template's metadata alone; old may be nil.
func ValidatePodTemplateMeta(t, old *v1.PodTemplateSpec, path *field.Path) field.ErrorList {
	c := podCheck{spec: &t.Spec}
	if old != nil {
		c.allow = allowancesFor(&old.Spec, &old.ObjectMeta)
	}
	c.templateMeta(t, path)
	return c.Errors()
}

// ValidatePodSpec judges the spec of a template; meta is the metadata of the pod
// itself, nil for a template.
func ValidatePodSpec(spec *v1.PodSpec, meta *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	c := podCheck{spec: spec, meta: meta, isPod: meta != nil}
	c.check(path)
	return c.Errors()
}

func validatePod(p *v1.Pod) field.ErrorList {
	c := podCheck{isPod: true, spec: &p.Spec, meta: &p.ObjectMeta}
	c.metadataAndSpec(p)
	spec := field.NewPath("spec")
	if len(p.Spec.EphemeralContainers) > 0 {
		c.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create")
	}
	if p.Spec.NodeName != "" && len(p.Spec.SchedulingGates) > 0 {
		c.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared")
	}
	c.annotationsMatch(p.Annotations, spec)
	return c.Errors()
}

// metadataAndSpec is what creation and every update judge.
func (c *podCheck) metadataAndSpec(p *v1.Pod) {
	path := field.NewPath("spec")
	c.annotations(p.Annotations, field.NewPath("metadata", "annotations"))
	c.check(path)
	if p.Spec.ServiceAccountName == "" {
		for i := range p.Spec.Volumes {
			if p.Spec.Volumes[i].Projected == nil {
				continue
			}
			for j := range p.Spec.Volumes[i].Projected.Sources {
				if p.Spec.Volumes[i].Projected.Sources[j].ServiceAccountToken != nil {
					c.Forbidden(path.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken"),
						"must not be specified when serviceAccountName is not set")
				}
			}
		}
	}
	for i := range p.Spec.Containers {
		c.trimmedImage(&p.Spec.Containers[i], path.Child("containers").Index(i))
	}
	for i := range p.Spec.InitContainers {
		c.trimmedImage(&p.Spec.InitContainers[i], path.Child("initContainers").Index(i))
	}
}

func (c *podCheck) trimmedImage(ctr *v1.Container, path *field.Path) {
	if len(ctr.Image) != len(strings.TrimSpace(ctr.Image)) {
		c.Invalid(path.Child("image"), ctr.Image, "must not have leading or trailing whitespace")
	}
}

// check judges c.spec.
func (c *podCheck) check(path *field.Path) {
	s := c.spec
	if s.TerminationGracePeriodSeconds == nil {
		c.Required(path.Child("terminationGracePeriodSeconds"), "")
	}
	c.hostUsers = s.HostUsers == nil || *s.HostUsers
	c.checkVolumes(path.Child("volumes"))
	c.resourceClaims(path.Child("resourceClaims"))
	c.checkContainers(path.Child("containers"))
	c.initContainers(path.Child("initContainers"))
	c.ephemeralContainers(path.Child("ephemeralContainers"))
	c.podResources(path)
	c.hostNetworkPorts(path)
	rules.SupportedOrRequired(&c.List, path.Child("restartPolicy"), s.RestartPolicy,
		v1.RestartPolicyAlways, v1.RestartPolicyOnFailure, v1.RestartPolicyNever)
	rules.SupportedOrRequired(&c.List, path.Child("dnsPolicy"), s.DNSPolicy,
		v1.DNSClusterFirstWithHostNet, v1.DNSClusterFirst, v1.DNSDefault, v1.DNSNone)
	if len(s.NodeSelector) > 0 {
		c.Add(metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
	}
	c.podSecurity(path)
	c.affinity(s.Affinity, path.Child("affinity"))
	c.dnsConfig(path.Child("dnsConfig"))
	for i, gate := range s.ReadinessGates {
		c.Add(rules.QualifiedName(string(gate.ConditionType), path.Child("readinessGates").Index(i).Child("conditionType"))...)
	}
	c.schedulingGates(path.Child("schedulingGates"))
	c.spreadConstraints(path.Child("topologySpreadConstraints"))
	c.hostProcess(path)
	c.userNamespace(path)
	c.hostnameOverride(path)
	c.identity(path)
	c.placement(path)
	c.os(path)
	if g := s.SchedulingGroup; g != nil {
		if name := path.Child("schedulingGroup", "podGroupName"); g.PodGroupName == nil {
			c.Invalid(name, g.PodGroupName, "must specify one of: `podGroupName`")
		} else {
			c.Name(name, *g.PodGroupName, rules.DNSSubdomain)
		}
	}
	c.fileKeyVolumes(path)
}

// identity judges names and deadlines.
func (c *podCheck) identity(path *field.Path) {
	s := c.spec
	if s.ServiceAccountName != "" {
		c.Name(path.Child("serviceAccountName"), s.ServiceAccountName, rules.DNSSubdomain)
	}
	if s.NodeName != "" {
		c.Name(path.Child("nodeName"), s.NodeName, rules.DNSSubdomain)
	}
	if s.ActiveDeadlineSeconds != nil {
		rules.Range(&c.List, path.Child("activeDeadlineSeconds"), *s.ActiveDeadlineSeconds, 1, math.MaxInt32,
			validation.InclusiveRangeError(1, math.MaxInt32))
	}
	if s.Hostname != "" {
		c.Add(rules.DNSLabelField(s.Hostname, path.Child("hostname"))...)
	}
	if s.Subdomain != "" {
		c.Add(rules.DNSLabelField(s.Subdomain, path.Child("subdomain"))...)
	}
}

// placement judges tolerations, host aliases, priority, runtime class and overhead.
func (c *podCheck) placement(path *field.Path) {
	s := c.spec
	c.tolerations(s.Tolerations, path.Child("tolerations"))
	for i := range s.HostAliases {
		alias := &s.HostAliases[i]
		at := path.Child("hostAliases").Index(i)
		c.Add(rules.IP(alias.IP, at.Child("ip"))...)
		for j, name := range alias.Hostnames {
			c.Add(rules.DNSSubdomainField(name, at.Child("hostnames").Index(j))...)
		}
	}
	if s.PriorityClassName != "" {
		c.Name(path.Child("priorityClassName"), s.PriorityClassName, rules.DNSSubdomain)
	}
	if s.RuntimeClassName != nil {
		c.Name(path.Child("runtimeClassName"), *s.RuntimeClassName, rules.DNSSubdomain)
	}
	if s.PreemptionPolicy != nil {
		rules.SupportedOrRequired(&c.List, path.Child("preemptionPolicy"), *s.PreemptionPolicy, v1.PreemptLowerPriority, v1.PreemptNever)
	}
	if s.Overhead != nil {
		c.requirements(&v1.ResourceRequirements{Limits: s.Overhead}, containerResourceName, path.Child("overhead"))
	}
}

func (c *podCheck) hostNetworkPorts(path *field.Path) {
	if !c.spec.HostNetwork {
		return
	}
	for i := range c.spec.Containers {
		for j, port := range c.spec.Containers[i].Ports {
			if (c.isPod || port.HostPort != 0) && port.HostPort != port.ContainerPort {
				c.Invalid(path.Child("containers").Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort,
					"must match `containerPort` when `hostNetwork` is true")
			}
		}
	}
}

func (c *podCheck) schedulingGates(path *field.Path) {
	seen := map[string]bool{}
	for i, gate := range c.spec.SchedulingGates {
		c.Add(rules.QualifiedName(gate.Name, path.Index(i))...)
		if seen[gate.Name] {
			c.Duplicate(path.Index(i), gate.Name)
		}
		seen[gate.Name] = true
	}
}

func (c *podCheck) hostnameOverride(path *field.Path) {
	s, at := c.spec, path.Child("hostnameOverride")
	if s.HostnameOverride == nil {
		return
	}
	if s.SetHostnameAsFQDN != nil && *s.SetHostnameAsFQDN {
		c.Forbidden(at, "may not be specified when setHostnameAsFQDN is true")
	}
	if s.HostNetwork {
		c.Forbidden(at, "may not be specified when hostNetwork is true")
	}
	if len(*s.HostnameOverride) > 64 {
		c.TooLong(at, 64)
	}
	c.Add(rules.DNSSubdomainField(*s.HostnameOverride, at)...)
}

// eachWithPath calls f with every container and its path below that of the spec.
func (c *podCheck) eachWithPath(path *field.Path, f func(ctr *v1.Container, path *field.Path)) {
	visitContainers(c.spec, path, f)
}

func visitContainers(s *v1.PodSpec, path *field.Path, f func(ctr *v1.Container, path *field.Path)) {
	for i := range s.InitContainers {
		f(&s.InitContainers[i], path.Child("initContainers").Index(i))
	}
	for i := range s.Containers {
		f(&s.Containers[i], path.Child("containers").Index(i))
	}
	for i := range s.EphemeralContainers {
		f((*v1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), path.Child("ephemeralContainers").Index(i))
	}
}

// ValidateInjected judges what a PodPreset would put into pods, in the order in
// which Kubernetes 1.19 did (pkg/apis/settings/validation).
func ValidateInjected(volumes []v1.Volume, ctr *v1.Container, path *field.Path) field.ErrorList {
	c := podCheck{spec: &v1.PodSpec{Volumes: volumes}}
	c.checkVolumes(path.Child("volumes"))
	c.env(ctr.Env, path.Child("env"))
	c.envFrom(ctr.EnvFrom, path.Child("envFrom"))
	c.mounts(ctr, path.Child("volumeMounts"))
	return c.Errors()
}
