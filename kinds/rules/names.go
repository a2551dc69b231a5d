package rules

import (
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
)

// Name rules, as Kind.Name wants them. With prefix set the name is a generateName,
// to which a suffix comes.

// DNSSubdomain is the rule for most names.
func DNSSubdomain(name string, prefix bool) []string {
	if plainLabel(name) {
		return nil
	}
	return validation.NameIsDNSSubdomain(name, prefix)
}

// LongName is DNSSubdomain in the words of Kubernetes' declarative validation, which
// does not look at a generateName.
func LongName(name string, prefix bool) []string {
	if prefix {
		return nil
	}
	return content.IsDNS1123Subdomain(name)
}

// DNSLabel is the rule for names that become one label of a DNS name.
func DNSLabel(name string, prefix bool) []string {
	if plainLabel(name) {
		return nil
	}
	return validation.NameIsDNSLabel(name, prefix)
}

// PathSegment is the rule of names that have no other: whatever a URL's path can
// carry; a prefix is judged less, because something follows it.
func PathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
