package rules

import "k8s.io/apimachinery/pkg/api/validation"

// Name rules, as Kind.Name wants them. With prefix set the name is a generateName,
// to which a suffix comes.

// DNSSubdomain is the rule for most names.
func DNSSubdomain(name string, prefix bool) []string {
	if plainLabel(name) {
		return nil
	}
	return validation.NameIsDNSSubdomain(name, prefix)
}

// DNSLabel is the rule for names that become one label of a DNS name.
func DNSLabel(name string, prefix bool) []string {
	if plainLabel(name) {
		return nil
	}
	return validation.NameIsDNSLabel(name, prefix)
}
