package rules

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// Each func here judges one value and gives nil or errors at path.

// NonNegative refuses numbers below zero.
func NonNegative(value int64, path *field.Path) field.ErrorList {
	if value >= 0 {
		return nil
	}
	return apivalidation.ValidateNonnegativeField(value, path)
}

// Positive refuses numbers below one.
func Positive(value int64, path *field.Path) field.ErrorList {
	if value > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must be greater than zero").WithOrigin("minimum")}
}

// NonNegativeQuantity refuses quantities below zero.
func NonNegativeQuantity(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.String(), apivalidation.IsNegativeErrorMsg)}
}

// PositiveQuantity refuses quantities that are not above zero.
func PositiveQuantity(q resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.String(), "must be greater than zero")}
}

// Port refuses what is no port number.
func Port(port int32, path *field.Path) field.ErrorList {
	return messages(port, validation.IsValidPortNum(int(port)), path)
}

// PortOrName refuses what is neither a port number nor a port name.
func PortOrName(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.String {
		return messages(port.StrVal, validation.IsValidPortName(port.StrVal), path)
	}
	return messages(port.IntValue(), validation.IsValidPortNum(port.IntValue()), path)
}

func messages(value any, msgs []string, path *field.Path) field.ErrorList {
	var l List
	l.Messages(path, value, msgs)
	return l.Errors()
}

// DNSLabelField judges a field that must be a DNS label.
func DNSLabelField(value string, path *field.Path) field.ErrorList {
	if plainLabel(value) {
		return nil
	}
	return messages(value, validation.IsDNS1123Label(value), path)
}

// plainLabel says whether value is surely a DNS label, without a regular expression.
func plainLabel(value string) bool {
	if len(value) == 0 || len(value) > 63 || value[0] == '-' || value[len(value)-1] == '-' {
		return false
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// DNSSubdomainField judges a field that must be a DNS subdomain.
func DNSSubdomainField(value string, path *field.Path) field.ErrorList {
	return messages(value, validation.IsDNS1123Subdomain(value), path)
}

// QualifiedName judges a name with an optional prefix, as label keys are.
func QualifiedName(value string, path *field.Path) field.ErrorList {
	return messages(value, validation.IsQualifiedName(value), path)
}

// Immutable refuses a change of a field.
func Immutable(value, old any, path *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(old, value) {
		return nil
	}
	return apivalidation.ValidateImmutableField(value, old, path)
}

// RelativePath judges a path that must stay below where it is put.
func RelativePath(p string, path *field.Path) field.ErrorList {
	var l List
	if strings.HasPrefix(p, "/") {
		l.Invalid(path, p, "must be a relative path")
	}
	l.Add(NoBacksteps(p, path)...)
	return l.Errors()
}

// FilePath judges the path of a projected file: relative, and not one of the names
// beginning with two dots that the writer of such files keeps for itself.
func FilePath(p string, path *field.Path) field.ErrorList {
	l := List(RelativePath(p, path))
	if strings.HasPrefix(p, "..") && !strings.HasPrefix(p, "../") {
		l.Invalid(path, p, "must not start with '..'")
	}
	return l.Errors()
}

// NoBacksteps refuses a path with a '..' in it.
func NoBacksteps(p string, path *field.Path) field.ErrorList {
	if !strings.Contains(p, "..") {
		return nil
	}
	for _, part := range strings.Split(p, "/") {
		if part == ".." {
			return field.ErrorList{field.Invalid(path, p, "must not contain '..'")}
		}
	}
	return nil
}

// IP judges an address. Old may list what was there before and is let pass though
// it is not in the canonical form.
func IP(value string, path *field.Path, old ...string) field.ErrorList {
	return validation.IsValidIPForLegacyField(path, value, true, old)
}

// CIDR judges an address range, as IP does an address.
func CIDR(value string, path *field.Path, old ...string) field.ErrorList {
	return validation.IsValidCIDRForLegacyField(path, value, true, old)
}

// KubeFinalizer wants a finalizer without a domain to be one of Kubernetes' own.
func KubeFinalizer(name string, path *field.Path) field.ErrorList {
	switch name {
	case "kubernetes", "orphan", "foregroundDeletion":
		return nil
	}
	if strings.Contains(name, "/") {
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")}
}

// EndpointIP refuses addresses that no endpoint can have; legacy forms pass.
func EndpointIP(text string, path *field.Path) field.ErrorList {
	ip := netutils.ParseIPSloppy(text)
	if ip == nil {
		return field.ErrorList{field.Invalid(path, text, "must be a valid IP address")}
	}
	var l List
	if ip.IsUnspecified() {
		l.Invalid(path, text, "may not be unspecified ("+text+")")
	}
	if ip.IsLoopback() {
		l.Invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
	}
	if ip.IsLinkLocalUnicast() {
		l.Invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
	}
	if ip.IsLinkLocalMulticast() {
		l.Invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
	}
	return l.Errors()
}
