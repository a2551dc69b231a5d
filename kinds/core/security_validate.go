package core

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

// security judges a container's security context. Privileged containers are let
// pass: whether a namespace wants them is admission's.
func (c *podCheck) security(sc *v1.SecurityContext, path *field.Path) {
	if sc.RunAsUser != nil {
		c.Messages(path.Child("runAsUser"), *sc.RunAsUser, validation.IsValidUserID(*sc.RunAsUser))
	}
	if sc.RunAsGroup != nil {
		c.Messages(path.Child("runAsGroup"), *sc.RunAsGroup, validation.IsValidGroupID(*sc.RunAsGroup))
	}
	if sc.ProcMount != nil {
		rules.Supported(&c.List, path.Child("procMount"), *sc.ProcMount, v1.DefaultProcMount, v1.UnmaskedProcMount)
		if c.hostUsers && *sc.ProcMount == v1.UnmaskedProcMount {
			c.Invalid(path.Child("procMount"), sc.ProcMount, "`hostUsers` must be false to use `Unmasked`")
		}
	}
	c.seccomp(sc.SeccompProfile, path.Child("seccompProfile"))
	if sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		if sc.Privileged != nil && *sc.Privileged {
			c.Invalid(path, rules.Internal(sc), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
		}
		if sc.Capabilities != nil {
			for _, name := range sc.Capabilities.Add {
				if name == "CAP_SYS_ADMIN" {
					c.Invalid(path, rules.Internal(sc), "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
				}
			}
		}
	}
	c.windowsOptions(sc.WindowsOptions, path.Child("windowsOptions"))
	c.Add(validateAppArmor(sc.AppArmorProfile, path.Child("appArmorProfile"))...)
}

// podSecurity judges the pod's security context.
func (c *podCheck) podSecurity(spec *field.Path) {
	sc := c.spec.SecurityContext
	if sc == nil {
		return
	}
	path := spec.Child("securityContext")
	if sc.FSGroup != nil {
		c.Messages(path.Child("fsGroup"), *sc.FSGroup, validation.IsValidGroupID(*sc.FSGroup))
	}
	if sc.RunAsUser != nil {
		c.Messages(path.Child("runAsUser"), *sc.RunAsUser, validation.IsValidUserID(*sc.RunAsUser))
	}
	if sc.RunAsGroup != nil {
		c.Messages(path.Child("runAsGroup"), *sc.RunAsGroup, validation.IsValidGroupID(*sc.RunAsGroup))
	}
	for i, group := range sc.SupplementalGroups {
		c.Messages(path.Child("supplementalGroups").Index(i), group, validation.IsValidGroupID(group))
	}
	if share := c.spec.ShareProcessNamespace; share != nil && *share && c.spec.HostPID {
		c.Invalid(path.Child("shareProcessNamespace"), *share, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	if len(sc.Sysctls) > 0 {
		c.sysctls(sc.Sysctls, path.Child("sysctls"))
	}
	if sc.FSGroupChangePolicy != nil {
		rules.Supported(&c.List, path.Child("fsGroupChangePolicy"), *sc.FSGroupChangePolicy, v1.FSGroupChangeAlways, v1.FSGroupChangeOnRootMismatch)
	}
	c.seccomp(sc.SeccompProfile, path.Child("seccompProfile"))
	c.windowsOptions(sc.WindowsOptions, path.Child("windowsOptions"))
	c.Add(validateAppArmor(sc.AppArmorProfile, path.Child("appArmorProfile"))...)
	if sc.SupplementalGroupsPolicy != nil {
		rules.Supported(&c.List, path.Child("supplementalGroupsPolicy"), *sc.SupplementalGroupsPolicy,
			v1.SupplementalGroupsPolicyMerge, v1.SupplementalGroupsPolicyStrict)
	}
	if sc.SELinuxChangePolicy != nil {
		allowed := []v1.PodSELinuxChangePolicy{v1.SELinuxChangePolicyRecursive}
		if c.allow.anySELinuxPolicy {
			allowed = []v1.PodSELinuxChangePolicy{v1.SELinuxChangePolicyMountOption, v1.SELinuxChangePolicyRecursive}
		}
		rules.Supported(&c.List, path.Child("seLinuxChangePolicy"), *sc.SELinuxChangePolicy, allowed...)
	}
}

func (c *podCheck) seccomp(p *v1.SeccompProfile, path *field.Path) {
	if p == nil {
		return
	}
	if p.Type == "" {
		c.Required(path.Child("type"), "type is required when seccompProfile is set")
	} else {
		rules.Supported(&c.List, path.Child("type"), p.Type, v1.SeccompProfileTypeLocalhost, v1.SeccompProfileTypeRuntimeDefault, v1.SeccompProfileTypeUnconfined)
	}
	at := path.Child("localhostProfile")
	switch {
	case p.Type != v1.SeccompProfileTypeLocalhost:
		if p.LocalhostProfile != nil {
			c.Invalid(at, rules.Internal(p), "can only be set when seccomp type is Localhost")
		}
	case p.LocalhostProfile == nil:
		c.Required(at, "must be set when seccomp type is Localhost")
	default:
		c.Add(rules.RelativePath(*p.LocalhostProfile, at)...)
	}
}

const sysctlForm = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"

var sysctlName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(sysctlForm) })

func (c *podCheck) sysctls(list []v1.Sysctl, path *field.Path) {
	const most = 253
	seen := map[string]bool{}
	for i, s := range list {
		at := path.Index(i).Child("name")
		switch {
		case s.Name == "":
			c.Required(at, "")
		case len(s.Name) > most || !sysctlName().MatchString(s.Name):
			c.Invalid(at, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", most, sysctlForm))
		case seen[s.Name]:
			c.Duplicate(at, s.Name)
		}
		if !c.allow.hostSysctls {
			if detail := hostSysctl(s.Name, c.spec); detail != "" {
				c.Invalid(at, s.Name, detail)
			}
		}
		seen[s.Name] = true
	}
}

// hostSysctl says why a sysctl may not be set in the host's namespaces that a pod
// shares; "" if it may.
func hostSysctl(name string, spec *v1.PodSpec) string {
	// Slashes separate as dots do: the first separator tells which is which.
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '/' {
		name = strings.Map(func(r rune) rune {
			switch r {
			case '/':
				return '.'
			case '.':
				return '/'
			}
			return r
		}, name)
	}
	name, _, _ = strings.Cut(name, "*")
	switch {
	case spec.HostNetwork && strings.HasPrefix(name, "net."):
		return "may not be specified when 'hostNetwork' is true"
	case spec.HostIPC && ipcSysctl(name):
		return "may not be specified when 'hostIPC' is true"
	}
	return ""
}

func ipcSysctl(name string) bool {
	switch name {
	case "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced", "kernel.shm",
		"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.msg":
		return true
	}
	return strings.HasPrefix(name, "fs.mqueue.")
}

func (c *podCheck) userNamespace(path *field.Path) {
	if c.hostUsers {
		return
	}
	const detail = "when `hostUsers` is false"
	if c.spec.HostNetwork && !c.allow.userNSHostNetwork {
		c.Forbidden(path.Child("hostNetwork"), detail)
	}
	if c.spec.HostPID {
		c.Forbidden(path.Child("HostPID"), detail)
	}
	if c.spec.HostIPC {
		c.Forbidden(path.Child("HostIPC"), detail)
	}
	if c.allow.userNSDevices {
		return
	}
	c.eachWithPath(path, func(ctr *v1.Container, at *field.Path) {
		if len(ctr.VolumeDevices) > 0 {
			c.Forbidden(at.Child("volumeDevices"), detail)
		}
	})
}

// dnsConfig judges spec.dnsConfig, without which the policy None has no servers.
func (c *podCheck) dnsConfig(path *field.Path) {
	d := c.spec.DNSConfig
	if c.spec.DNSPolicy == v1.DNSNone {
		if d == nil {
			c.Required(path, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", v1.DNSNone))
			return
		}
		if len(d.Nameservers) == 0 {
			c.Required(path.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", v1.DNSNone))
			return
		}
	}
	if d == nil {
		return
	}
	const servers, searches, chars = 3, 32, 2048
	if len(d.Nameservers) > servers {
		c.Invalid(path.Child("nameservers"), d.Nameservers, fmt.Sprintf("must not have more than %v nameservers", servers))
	}
	for i, server := range d.Nameservers {
		c.Add(rules.IP(server, path.Child("nameservers").Index(i))...)
	}
	if len(d.Searches) > searches {
		c.Invalid(path.Child("searches"), d.Searches, fmt.Sprintf("must not have more than %v search paths", searches))
	}
	if len(strings.Join(d.Searches, " ")) > chars {
		c.Invalid(path.Child("searches"), d.Searches, fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", chars))
	}
	for i, search := range d.Searches {
		if search != "." {
			search = strings.TrimSuffix(search, ".")
			c.Messages(path.Child("searches").Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(search))
		}
	}
	for i, option := range d.Options {
		if option.Name == "" {
			c.Required(path.Child("options").Index(i), "must not be empty")
		}
	}
}
