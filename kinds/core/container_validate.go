package core

import (
	"fmt"
	"reflect"
	"unicode"
	"unicode/utf8"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

func (c *podCheck) checkContainers(path *field.Path) {
	list := c.spec.Containers
	if len(list) == 0 {
		c.Required(path, "")
		return
	}
	names := make(map[string]bool, len(list))
	for i := range list {
		ctr, at := &list[i], path.Index(i)
		c.container(ctr, at)
		if names[ctr.Name] {
			c.Duplicate(at.Child("name"), ctr.Name)
		}
		names[ctr.Name] = true
		c.lifecycle(ctr.Lifecycle, at)
		c.probes(ctr, at)
		c.containerRestartPolicy(ctr, at)
	}
	c.hostPortConflicts(list, path)
}

func (c *podCheck) initContainers(path *field.Path) {
	list := c.spec.InitContainers
	if len(list) == 0 {
		return
	}
	names := map[string]bool{}
	for i := range c.spec.Containers {
		names[c.spec.Containers[i].Name] = true
	}
	const notSidecar = "may not be set for init containers without restartPolicy=Always"
	for i := range list {
		ctr, at := &list[i], path.Index(i)
		c.container(ctr, at)
		c.containerRestartPolicy(ctr, at)
		if names[ctr.Name] {
			c.Duplicate(at.Child("name"), ctr.Name)
		} else if ctr.Name != "" {
			names[ctr.Name] = true
		}
		c.hostPortConflicts(list[i:i+1], path)
		if isSidecar(ctr) {
			c.lifecycle(ctr.Lifecycle, at)
			c.probes(ctr, at)
			continue
		}
		if ctr.Lifecycle != nil {
			c.Forbidden(at.Child("lifecycle"), notSidecar)
		}
		if ctr.LivenessProbe != nil {
			c.Forbidden(at.Child("livenessProbe"), notSidecar)
		}
		if ctr.ReadinessProbe != nil {
			c.Forbidden(at.Child("readinessProbe"), notSidecar)
		}
		if ctr.StartupProbe != nil {
			c.Forbidden(at.Child("startupProbe"), notSidecar)
		}
		if c.allow.restartInitOnResize {
			continue
		}
		for j, p := range ctr.ResizePolicy {
			if p.RestartPolicy == v1.RestartContainer {
				c.Invalid(at.Child("resizePolicy").Index(j).Child("restartPolicy"), p.RestartPolicy,
					"must not be set to 'RestartContainer' for non-sidecar initContainers")
			}
		}
	}
}

// ephemeralFields are the fields that an ephemeral container may have.
var ephemeralFields = map[string]bool{
	"Name": true, "Image": true, "Command": true, "Args": true, "WorkingDir": true,
	"EnvFrom": true, "Env": true, "VolumeMounts": true, "VolumeDevices": true,
	"TerminationMessagePath": true, "TerminationMessagePolicy": true, "ImagePullPolicy": true,
	"SecurityContext": true, "Stdin": true, "StdinOnce": true, "TTY": true,
}

func (c *podCheck) ephemeralContainers(path *field.Path) {
	list := c.spec.EphemeralContainers
	if len(list) == 0 {
		return
	}
	others, names := map[string]bool{}, map[string]bool{}
	for _, group := range [][]v1.Container{c.spec.Containers, c.spec.InitContainers} {
		for i := range group {
			others[group[i].Name], names[group[i].Name] = true, true
		}
	}
	for i := range list {
		ec, at := &list[i], path.Index(i)
		ctr := (*v1.Container)(&ec.EphemeralContainerCommon)
		c.container(ctr, at)
		c.trimmedImage(ctr, at)
		if names[ec.Name] {
			c.Duplicate(at.Child("name"), ec.Name)
		}
		names[ec.Name] = true
		if ec.TargetContainerName != "" && !others[ec.TargetContainerName] {
			c.NotFound(at.Child("targetContainerName"), ec.TargetContainerName)
		}
		onlyFields(&c.List, ec.EphemeralContainerCommon, ephemeralFields, "cannot be set for an Ephemeral Container", at)
		for j := range ec.VolumeMounts {
			if ec.VolumeMounts[j].SubPath != "" {
				c.Forbidden(at.Child("volumeMounts").Index(j).Child("subPath"), "cannot be set for an Ephemeral Container")
			}
			if ec.VolumeMounts[j].SubPathExpr != "" {
				c.Forbidden(at.Child("volumeMounts").Index(j).Child("subPathExpr"), "cannot be set for an Ephemeral Container")
			}
		}
	}
}

// onlyFields forbids every field of a struct that is set and not allowed.
func onlyFields(l *rules.List, value any, allowed map[string]bool, detail string, path *field.Path) {
	v := reflect.ValueOf(value)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if allowed[f.Name] || v.Field(i).IsZero() {
			continue
		}
		first, n := utf8.DecodeRuneInString(f.Name)
		l.Forbidden(path.Child(string(unicode.ToLower(first))+f.Name[n:]), detail)
	}
}

// container judges what all containers have, init and ephemeral ones too.
func (c *podCheck) container(ctr *v1.Container, path *field.Path) {
	if ctr.Name == "" {
		c.Required(path.Child("name"), "")
	} else {
		c.Add(rules.DNSLabelField(ctr.Name, path.Child("name"))...)
	}
	if ctr.Image == "" {
		c.Required(path.Child("image"), "")
	}
	rules.SupportedOrRequired(&c.List, path.Child("terminationMessagePolicy"), ctr.TerminationMessagePolicy,
		v1.TerminationMessageReadFile, v1.TerminationMessageFallbackToLogsOnError)
	if len(ctr.Ports) > 0 {
		c.ports(ctr.Ports, path.Child("ports"))
	}
	if len(ctr.Env) > 0 {
		c.env(ctr.Env, path.Child("env"))
	}
	if len(ctr.EnvFrom) > 0 {
		c.envFrom(ctr.EnvFrom, path.Child("envFrom"))
	}
	if len(ctr.VolumeMounts) > 0 {
		c.mounts(ctr, path.Child("volumeMounts"))
	}
	if len(ctr.VolumeDevices) > 0 {
		c.devices(ctr, path.Child("volumeDevices"))
	}
	rules.SupportedOrRequired(&c.List, path.Child("imagePullPolicy"), ctr.ImagePullPolicy, v1.PullAlways, v1.PullIfNotPresent, v1.PullNever)
	c.requirements(&ctr.Resources, containerResourceName, path.Child("resources"))
	if len(ctr.ResizePolicy) > 0 {
		c.resizePolicy(ctr.ResizePolicy, path.Child("resizePolicy"))
	}
	if ctr.SecurityContext != nil {
		c.security(ctr.SecurityContext, path.Child("securityContext"))
	}
}

func (c *podCheck) ports(ports []v1.ContainerPort, path *field.Path) {
	names := map[string]bool{}
	for i := range ports {
		p, at := &ports[i], path.Index(i)
		if p.Name != "" {
			if msgs := validation.IsValidPortName(p.Name); len(msgs) > 0 {
				c.Messages(at.Child("name"), p.Name, msgs)
			} else if names[p.Name] {
				c.Duplicate(at.Child("name"), p.Name)
			} else {
				names[p.Name] = true
			}
		}
		if p.ContainerPort == 0 {
			c.Required(at.Child("containerPort"), "")
		} else {
			c.Add(rules.Port(p.ContainerPort, at.Child("containerPort"))...)
		}
		if p.HostPort != 0 {
			c.Add(rules.Port(p.HostPort, at.Child("hostPort"))...)
		}
		rules.SupportedOrRequired(&c.List, at.Child("protocol"), p.Protocol, v1.ProtocolSCTP, v1.ProtocolTCP, v1.ProtocolUDP)
	}
}

func (c *podCheck) hostPortConflicts(list []v1.Container, path *field.Path) {
	var used map[string]bool
	for i := range list {
		for j := range list[i].Ports {
			p := &list[i].Ports[j]
			if p.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort)
			if used[key] {
				c.Duplicate(path.Index(i).Child("ports").Index(j).Child("hostPort"), key)
				continue
			}
			if used == nil {
				used = map[string]bool{}
			}
			used[key] = true
		}
	}
}

func (c *podCheck) resizePolicy(list []v1.ContainerResizePolicy, path *field.Path) {
	seen := map[v1.ResourceName]bool{}
	for i, p := range list {
		if seen[p.ResourceName] {
			c.Duplicate(path.Index(i), p.ResourceName)
		}
		seen[p.ResourceName] = true
		rules.SupportedOrRequired(&c.List, path, p.ResourceName, v1.ResourceCPU, v1.ResourceMemory)
		rules.SupportedOrRequired(&c.List, path, p.RestartPolicy, v1.NotRequired, v1.RestartContainer)
		if c.spec.RestartPolicy == v1.RestartPolicyNever && p.RestartPolicy != v1.NotRequired {
			c.Invalid(path, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

// containerRestartPolicy judges restartPolicy and restartPolicyRules.
func (c *podCheck) containerRestartPolicy(ctr *v1.Container, path *field.Path) {
	list := ctr.RestartPolicyRules
	switch {
	case ctr.RestartPolicy != nil:
		rules.Supported(&c.List, path.Child("restartPolicy"), *ctr.RestartPolicy,
			v1.ContainerRestartPolicyAlways, v1.ContainerRestartPolicyNever, v1.ContainerRestartPolicyOnFailure)
	case len(list) > 0:
		c.Required(path.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
		if isInitPath(c.spec, ctr) {
			return
		}
	}
	if len(list) > 20 {
		c.Add(field.TooMany(path.Child("restartPolicyRules"), len(list), 20))
	}
	for i := range list {
		at := path.Child("restartPolicyRules").Index(i)
		rules.Supported(&c.List, at.Child("action"), list[i].Action,
			v1.ContainerRestartRuleActionRestart, v1.ContainerRestartRuleActionRestartAllContainers)
		codes := list[i].ExitCodes
		if codes == nil {
			c.Required(at.Child("exitCodes"), "must be specified")
			continue
		}
		rules.Supported(&c.List, at.Child("exitCodes", "operator"), codes.Operator,
			v1.ContainerRestartRuleOnExitCodesOpIn, v1.ContainerRestartRuleOnExitCodesOpNotIn)
		if len(codes.Values) > 255 {
			c.Add(field.TooMany(at.Child("exitCodes", "values"), len(codes.Values), 255))
		}
	}
}

// isInitPath says whether ctr is one of the init containers of s.
func isInitPath(s *v1.PodSpec, ctr *v1.Container) bool {
	for i := range s.InitContainers {
		if &s.InitContainers[i] == ctr {
			return true
		}
	}
	return false
}
