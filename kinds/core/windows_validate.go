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

// os judges what does not fit to the pod's operating system.
func (c *podCheck) os(path *field.Path) {
	if c.spec.OS == nil {
		return
	}
	name := path.Child("os", "name")
	switch c.spec.OS.Name {
	case "":
		c.Required(name, "")
	case v1.Linux:
		c.linux(path)
	case v1.Windows:
		c.windows(path)
	default:
		rules.Supported(&c.List, path.Child("os"), c.spec.OS.Name, v1.Linux, v1.Windows)
	}
}

func (c *podCheck) linux(path *field.Path) {
	const detail = "windows options cannot be set for a linux pod"
	if sc := c.spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		c.Forbidden(path.Child("securityContext", "windowsOptions"), detail)
	}
	c.eachWithPath(path, func(ctr *v1.Container, at *field.Path) {
		if ctr.SecurityContext != nil && ctr.SecurityContext.WindowsOptions != nil {
			c.Forbidden(at.Child("securityContext", "windowsOptions"), detail)
		}
	})
}

func (c *podCheck) windows(path *field.Path) {
	not := func(set bool, at *field.Path, name string) {
		if set {
			c.Forbidden(at.Child(name), "cannot be set for a windows pod")
		}
	}
	s := c.spec
	if sc := s.SecurityContext; sc != nil {
		at := path.Child("securityContext")
		not(sc.AppArmorProfile != nil, at, "appArmorProfile")
		not(sc.SELinuxOptions != nil, at, "seLinuxOptions")
		not(s.HostUsers != nil, path, "hostUsers")
		not(s.HostPID, path, "hostPID")
		not(s.HostIPC, path, "hostIPC")
		not(sc.SeccompProfile != nil, at, "seccompProfile")
		not(sc.FSGroup != nil, at, "fsGroup")
		not(sc.FSGroupChangePolicy != nil, at, "fsGroupChangePolicy")
		not(len(sc.Sysctls) > 0, at, "sysctls")
		not(s.ShareProcessNamespace != nil, path, "shareProcessNamespace")
		not(sc.RunAsUser != nil, at, "runAsUser")
		not(sc.RunAsGroup != nil, at, "runAsGroup")
		not(sc.SupplementalGroups != nil, at, "supplementalGroups")
		not(sc.SupplementalGroupsPolicy != nil, at, "supplementalGroupsPolicy")
		not(sc.SELinuxChangePolicy != nil, at, "seLinuxChangePolicy")
	}
	c.eachWithPath(path, func(ctr *v1.Container, at *field.Path) {
		sc := ctr.SecurityContext
		if sc == nil {
			return
		}
		at = at.Child("securityContext")
		not(sc.AppArmorProfile != nil, at, "appArmorProfile")
		not(sc.SELinuxOptions != nil, at, "seLinuxOptions")
		not(sc.SeccompProfile != nil, at, "seccompProfile")
		not(sc.Capabilities != nil, at, "capabilities")
		not(sc.ReadOnlyRootFilesystem != nil, at, "readOnlyRootFilesystem")
		not(sc.Privileged != nil, at, "privileged")
		not(sc.AllowPrivilegeEscalation != nil, at, "allowPrivilegeEscalation")
		not(sc.ProcMount != nil, at, "procMount")
		not(sc.RunAsUser != nil, at, "runAsUser")
		not(sc.RunAsGroup != nil, at, "runAsGroup")
	})
}

// hostProcess wants all containers to be host processes of Windows, or none.
func (c *podCheck) hostProcess(path *field.Path) {
	var whole *bool
	if sc := c.spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		whole = sc.WindowsOptions.HostProcess
	}
	count, all := 0, 0
	one := func(ctr *v1.Container, at func() *field.Path) {
		all++
		own := whole
		if ctr.SecurityContext != nil && ctr.SecurityContext.WindowsOptions != nil && ctr.SecurityContext.WindowsOptions.HostProcess != nil {
			own = ctr.SecurityContext.WindowsOptions.HostProcess
			if whole != nil && *whole != *own {
				c.Invalid(at().Child("securityContext", "windowsOptions", "hostProcess"), *own,
					fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *whole))
			}
		}
		if own != nil && *own {
			count++
		}
	}
	s := c.spec
	for i := range s.InitContainers {
		one(&s.InitContainers[i], func() *field.Path { return path.Child("initContainers").Index(i) })
	}
	for i := range s.Containers {
		one(&s.Containers[i], func() *field.Path { return path.Child("containers").Index(i) })
	}
	for i := range s.EphemeralContainers {
		one((*v1.Container)(&s.EphemeralContainers[i].EphemeralContainerCommon), func() *field.Path { return path.Child("ephemeralContainers").Index(i) })
	}
	if count == 0 {
		return
	}
	if count != all {
		c.Invalid(path, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers")
	}
	if !s.HostNetwork {
		c.Invalid(path.Child("hostNetwork"), s.HostNetwork, "hostNetwork must be true if pod contains any hostProcess containers")
	}
}

// windowsForms are the patterns of a Windows user name.
type windowsForms struct{ control, netBIOS, domain, userChars, onlyDots *regexp.Regexp }

var windowsNames = sync.OnceValue(func() windowsForms {
	label := `[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`
	return windowsForms{
		control:   regexp.MustCompile(`[[:cntrl:]]+`),
		netBIOS:   regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`),
		domain:    regexp.MustCompile(fmt.Sprintf(`^%s(?:\.%s)*$`, label, label)),
		userChars: regexp.MustCompile(`["/\\:;|=,\+\*\?<>@\[\]]`),
		onlyDots:  regexp.MustCompile(`^[\. ]+$`),
	}
})

func (c *podCheck) windowsOptions(o *v1.WindowsSecurityContextOptions, path *field.Path) {
	if o == nil {
		return
	}
	if o.GMSACredentialSpecName != nil {
		c.Messages(path.Child("gmsaCredentialSpecName"), o.GMSACredentialSpecName, validation.IsDNS1123Subdomain(*o.GMSACredentialSpecName))
	}
	if spec := o.GMSACredentialSpec; spec != nil {
		const most = 64
		if *spec == "" {
			c.Invalid(path.Child("gmsaCredentialSpec"), spec, "gmsaCredentialSpec cannot be an empty string")
		} else if len(*spec) > most*1024 {
			c.Invalid(path.Child("gmsaCredentialSpec"), spec, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", most))
		}
	}
	if o.RunAsUserName != nil {
		for _, detail := range windowsUser(*o.RunAsUserName) {
			c.Invalid(path.Child("runAsUserName"), o.RunAsUserName, "runAsUserName"+detail)
		}
	}
}

// windowsUser says what is wrong with a user name, which may have a domain before
// a backslash.
func windowsUser(name string) []string {
	forms := windowsNames()
	switch {
	case name == "":
		return []string{" cannot be an empty string"}
	case forms.control.MatchString(name):
		return []string{" cannot contain control characters"}
	case strings.Count(name, `\`) > 1:
		return []string{" cannot contain more than one backslash"}
	}
	const domainMost, userMost = 256, 104
	var out []string
	domain, user, ok := strings.Cut(name, `\`)
	if !ok {
		domain, user = "", name
	}
	if len(domain) >= domainMost {
		out = append(out, fmt.Sprintf("'s Domain length must be under %d characters", domainMost))
	}
	if ok && !forms.netBIOS.MatchString(domain) && !forms.domain.MatchString(domain) {
		out = append(out, "'s Domain doesn't match the NetBios nor the DNS format")
	}
	if user == "" {
		out = append(out, "'s User cannot be empty")
	} else if len(user) > userMost {
		out = append(out, fmt.Sprintf("'s User length must not be longer than %d characters", userMost))
	}
	if forms.onlyDots.MatchString(user) {
		out = append(out, "'s User cannot contain only periods or spaces")
	}
	if forms.userChars.MatchString(user) {
		out = append(out, `'s User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return out
}
