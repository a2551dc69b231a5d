package core

import (
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"skiff.dev/skiff/kinds/rules"
)

// validatePodStatus judges a write of a pod's status.
func validatePodStatus(p, old *v1.Pod) field.ErrorList {
	c := updateCheck(p, old)
	c.annotationUpdates(p, old)
	path := field.NewPath("status")
	s, was := &p.Status, &old.Status
	c.conditions(s.Conditions, path.Child("conditions"))
	if p.Spec.NodeName != old.Spec.NodeName {
		c.Forbidden(path.Child("nodeName"), "may not be changed directly")
	}
	if n := s.NominatedNodeName; n != "" && n != was.NominatedNodeName {
		c.Name(path.Child("nominatedNodeName"), n, rules.DNSSubdomain)
		if old.Spec.NodeName != "" {
			c.Forbidden(path.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node")
		}
	}
	if s.ObservedGeneration < 0 {
		c.Invalid(path.Child("observedGeneration"), s.ObservedGeneration, "must be a non-negative integer")
	}
	c.Add(rules.Immutable(s.QOSClass, was.QOSClass, path.Child("qosClass"))...)
	c.noRevival(s.ContainerStatuses, was.ContainerStatuses, old.Spec.Containers, &old.Spec, path.Child("containerStatuses"))
	c.noRevival(s.InitContainerStatuses, was.InitContainerStatuses, old.Spec.InitContainers, &old.Spec, path.Child("initContainerStatuses"))
	c.noRevival(s.EphemeralContainerStatuses, was.EphemeralContainerStatuses, nil, nil, path.Child("ephemeralContainerStatuses"))
	c.claimStatuses(s.ResourceClaimStatuses, path.Child("resourceClaimStatuses"))
	if s.ExtendedResourceClaimStatus != nil {
		c.extendedClaim(s.ExtendedResourceClaimStatus, path.Child("extendedResourceClaimStatus"))
	}
	c.nodeAllocatableClaims(s, path.Child("nodeAllocatableResourceClaimStatuses"))
	c.addresses(p, old)
	c.users(s.ContainerStatuses, path.Child("containerStatuses"))
	c.users(s.InitContainerStatuses, path.Child("initContainerStatuses"))
	c.users(s.EphemeralContainerStatuses, path.Child("ephemeralContainerStatuses"))
	c.resourceHealth(s.ContainerStatuses, p.Spec.Containers, path.Child("containerStatuses"))
	c.resourceHealth(s.InitContainerStatuses, p.Spec.InitContainers, path.Child("initContainerStatuses"))
	for i := range s.EphemeralContainerStatuses {
		if len(s.EphemeralContainerStatuses[i].AllocatedResourcesStatus) > 0 {
			c.Forbidden(path.Child("ephemeralContainerStatuses").Index(i).Child("allocatedResourcesStatus"), "must not be specified in container status")
		}
	}
	return c.Errors()
}

func (c *podCheck) conditions(list []v1.PodCondition, path *field.Path) {
	for i := range list {
		cond := &list[i]
		if cond.ObservedGeneration < 0 {
			c.Invalid(path.Index(i).Child("observedGeneration"), cond.ObservedGeneration, "must be a non-negative integer")
		}
		switch cond.Type {
		case v1.PodScheduled, v1.PodReady, v1.PodInitialized:
		default:
			c.Add(rules.QualifiedName(string(cond.Type), path.Index(i).Child("Type"))...)
		}
	}
}

// noRevival keeps a container that has ended from running again, unless its restart
// policy lets it. Without a spec none may.
func (c *podCheck) noRevival(list, old []v1.ContainerStatus, containers []v1.Container, spec *v1.PodSpec, path *field.Path) {
	if spec != nil && restartsAll(spec) {
		return
	}
	for i := range old {
		ended := old[i].State.Terminated
		if ended == nil {
			continue
		}
		for j := range list {
			if list[j].Name != old[i].Name || list[j].State.Terminated != nil {
				continue
			}
			k := slices.IndexFunc(containers, func(ctr v1.Container) bool { return ctr.Name == old[i].Name })
			if k < 0 || !ContainerRestarts(&containers[k], spec, ended.ExitCode) {
				c.Forbidden(path.Index(i).Child("state"), "may not be transitioned to non-terminated state")
			}
			break
		}
	}
}

// restartsAll says whether some container's end can restart all.
func restartsAll(spec *v1.PodSpec) bool {
	for _, list := range [][]v1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for _, rule := range list[i].RestartPolicyRules {
				if rule.Action == v1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

// ContainerRestarts says whether a container that ended with code is to run again:
// its rules come first, then its own policy, then the pod's.
func ContainerRestarts(ctr *v1.Container, spec *v1.PodSpec, code int32) bool {
	if ctr.RestartPolicy != nil {
		for _, rule := range ctr.RestartPolicyRules {
			if rule.ExitCodes == nil {
				continue
			}
			in := slices.Contains(rule.ExitCodes.Values, code)
			if in == (rule.ExitCodes.Operator == v1.ContainerRestartRuleOnExitCodesOpIn) {
				return true
			}
		}
		switch *ctr.RestartPolicy {
		case v1.ContainerRestartPolicyAlways:
			return true
		case v1.ContainerRestartPolicyOnFailure:
			return code != 0
		case v1.ContainerRestartPolicyNever:
			return false
		}
	}
	switch spec.RestartPolicy {
	case v1.RestartPolicyOnFailure:
		return code != 0
	case v1.RestartPolicyNever:
		return false
	}
	return true
}

func (c *podCheck) claimStatuses(list []v1.PodResourceClaimStatus, path *field.Path) {
	seen := map[string]bool{}
	for i := range list {
		s, at := &list[i], path.Index(i)
		if !slices.ContainsFunc(c.spec.ResourceClaims, func(r v1.PodResourceClaim) bool { return r.Name == s.Name }) {
			c.Invalid(at.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if seen[s.Name] {
			c.Duplicate(at.Child("name"), s.Name)
		}
		seen[s.Name] = true
		if s.ResourceClaimName != nil {
			c.Messages(at.Child("resourceClaimName"), s.ResourceClaimName, rules.DNSSubdomain(*s.ResourceClaimName, false))
		}
	}
}

func (c *podCheck) extendedClaim(s *v1.PodExtendedResourceClaimStatus, path *field.Path) {
	mappings := path.Child("requestMappings")
	if len(s.RequestMappings) == 0 {
		c.Required(mappings, "at least one request mapping is required")
	}
	find := func(name string) *v1.Container {
		for _, list := range [][]v1.Container{c.spec.Containers, c.spec.InitContainers} {
			for i := range list {
				if list[i].Name == name {
					return &list[i]
				}
			}
		}
		return nil
	}
	seen := map[v1.ContainerExtendedResourceRequest]bool{}
	for i, m := range s.RequestMappings {
		at := mappings.Index(i)
		if ctr := find(m.ContainerName); ctr == nil {
			c.Invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name")
		} else if _, ok := ctr.Resources.Requests[v1.ResourceName(m.ResourceName)]; !ok {
			c.Invalid(at.Child("resourceName"), m.ResourceName, "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")
		}
		c.Add(rules.DNSLabelField(m.RequestName, path.Child("requestName"))...)
		if seen[m] {
			c.Duplicate(at.Child("containerName"), m.ContainerName)
			c.Duplicate(at.Child("resourceName"), m.ResourceName)
			c.Duplicate(at.Child("requestName"), m.RequestName)
		}
		seen[m] = true
	}
	if s.ResourceClaimName == "" {
		c.Required(path.Child("resourceClaimName"), "")
	} else {
		c.Name(path.Child("resourceClaimName"), s.ResourceClaimName, rules.DNSSubdomain)
	}
}

func (c *podCheck) nodeAllocatableClaims(s *v1.PodStatus, path *field.Path) {
	for i := range s.NodeAllocatableResourceClaimStatuses {
		n, at := &s.NodeAllocatableResourceClaimStatuses[i], path.Index(i)
		if n.ResourceClaimName == "" {
			c.Required(at.Child("resourceClaimName"), "must not be empty")
		}
		named := func(name *string) bool { return name != nil && *name == n.ResourceClaimName }
		if !slices.ContainsFunc(c.spec.ResourceClaims, func(r v1.PodResourceClaim) bool { return named(r.ResourceClaimName) }) &&
			!slices.ContainsFunc(s.ResourceClaimStatuses, func(r v1.PodResourceClaimStatus) bool { return named(r.ResourceClaimName) }) {
			c.Invalid(at.Child("resourceClaimName"), n.ResourceClaimName, "no mapping found in pod reference")
		}
		if len(n.Containers) == 0 {
			c.Required(at.Child("containers"), "must not be empty")
		}
		if len(n.Resources) == 0 {
			c.Required(at.Child("resources"), "must not be empty")
		}
		for _, name := range names(n.Resources) {
			q, key := n.Resources[name], at.Child("resources").Key(string(name))
			if !isNative(name) {
				c.Invalid(key, name, "must be a node allocatable resource name")
			}
			if q.Sign() < 0 {
				c.Invalid(key, q.String(), "must be non-negative")
			}
		}
	}
}

// addresses judges podIPs and hostIPs.
func (c *podCheck) addresses(p, old *v1.Pod) {
	status := field.NewPath("status")
	var ips, was []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	for _, ip := range old.Status.PodIPs {
		was = append(was, ip.IP)
	}
	c.families(ips, was, p.Status.PodIPs, status.Child("podIPs"))
	if len(p.Status.HostIPs) == 0 {
		return
	}
	path := status.Child("hostIPs")
	if p.Status.HostIP != p.Status.HostIPs[0].IP {
		c.Invalid(path.Index(0).Child("ip"), p.Status.HostIPs[0].IP, "must be equal to `hostIP`")
	}
	ips, was = nil, nil
	for _, ip := range p.Status.HostIPs {
		ips = append(ips, ip.IP)
	}
	for _, ip := range old.Status.HostIPs {
		was = append(was, ip.IP)
	}
	c.families(ips, was, p.Status.HostIPs, path)
}

func (c *podCheck) families(ips, was []string, value any, path *field.Path) {
	for i, ip := range ips {
		c.Add(rules.IP(ip, path.Index(i), was...)...)
	}
	if len(ips) < 2 {
		return
	}
	dual, err := netutils.IsDualStackIPStrings(ips)
	if err != nil {
		c.Add(field.InternalError(path, fmt.Errorf("failed to check for dual stack with error:%v", err)))
	}
	if !dual || len(ips) > 2 {
		c.Invalid(path, rules.Internal(value), "may specify no more than one IP for each IP family")
	}
}

func (c *podCheck) users(list []v1.ContainerStatus, path *field.Path) {
	windows := c.spec.OS != nil && c.spec.OS.Name == v1.Windows
	for i := range list {
		if list[i].User == nil || list[i].User.Linux == nil {
			continue
		}
		u, at := list[i].User.Linux, path.Index(i).Child("user", "linux")
		if windows {
			c.Forbidden(at, "cannot be set for a windows pod")
			continue
		}
		c.Messages(at.Child("uid"), u.UID, validation.IsValidUserID(u.UID))
		c.Messages(at.Child("gid"), u.GID, validation.IsValidGroupID(u.GID))
		for j, gid := range u.SupplementalGroups {
			c.Messages(at.Child("supplementalGroups").Index(j), gid, validation.IsValidGroupID(gid))
		}
	}
}

func (c *podCheck) resourceHealth(list []v1.ContainerStatus, containers []v1.Container, path *field.Path) {
	for i := range list {
		k := slices.IndexFunc(containers, func(ctr v1.Container) bool { return ctr.Name == list[i].Name })
		for j := range list[i].AllocatedResourcesStatus {
			r, at := &list[i].AllocatedResourcesStatus[j], path.Index(i).Child("allocatedResourcesStatus").Index(j)
			if k >= 0 {
				c.healthName(r.Name, &containers[k].Resources, at.Child("name"))
			}
			seen := map[v1.ResourceID]bool{}
			for n := range r.Resources {
				h, where := &r.Resources[n], at.Child("resources").Index(n)
				rules.Supported(&c.List, where.Child("health"), h.Health,
					v1.ResourceHealthStatusHealthy, v1.ResourceHealthStatusUnhealthy, v1.ResourceHealthStatusUnknown)
				if h.Message != nil {
					if *h.Message == "" {
						c.Required(where.Child("message"), "must be non-empty if specified")
					} else if len(*h.Message) > v1.ResourceHealthMessageMaxLength {
						c.TooLong(where.Child("message"), v1.ResourceHealthMessageMaxLength)
					}
				}
				if seen[h.ResourceID] {
					c.Duplicate(where.Child("resourceID"), h.ResourceID)
				}
				seen[h.ResourceID] = true
			}
		}
	}
}

func (c *podCheck) healthName(name v1.ResourceName, r *v1.ResourceRequirements, path *field.Path) {
	if !strings.HasPrefix(string(name), "claim:") {
		if _, ok := r.Requests[name]; !ok {
			c.Invalid(path, name, "must match one of the container's resource requests")
		}
		return
	}
	for _, claim := range r.Claims {
		known := "claim:" + claim.Name
		if claim.Request != "" {
			known += "/" + claim.Request
		}
		if known == string(name) {
			return
		}
	}
	c.Invalid(path, name, "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty")
}
