package podspec

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Resolv is the content of a resolv.conf.
type Resolv struct{ Servers, Searches, Options []string }

// Limits of Kubernetes 1.36 (validation.MaxDNSNameservers and its neighbours).
const (
	maxServers     = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// ParseResolv reads resolv.conf(5). The last search or domain line wins; unknown
// lines are passed over.
func ParseResolv(data []byte) Resolv {
	var r Resolv
	for line := range bytes.Lines(data) {
		text := string(line)
		if i := strings.IndexAny(text, "#;"); i >= 0 {
			text = text[:i]
		}
		f := strings.Fields(text)
		if len(f) < 2 {
			if len(f) == 1 && f[0] == "search" {
				r.Searches = nil
			}
			continue
		}
		switch f[0] {
		case "nameserver":
			r.Servers = append(r.Servers, f[1])
		case "search", "domain":
			r.Searches = nil
			for _, s := range f[1:] {
				if s != "." {
					s = strings.TrimSuffix(s, ".")
				}
				r.Searches = append(r.Searches, s)
			}
		case "options":
			for _, o := range f[1:] {
				if !slices.Contains(r.Options, o) {
					r.Options = append(r.Options, o)
				}
			}
		}
	}
	return r
}

// PodResolv decides a pod's resolv.conf from its policy. host is the machine's;
// clusterDNS may be empty, and then ClusterFirst falls back to Default.
func PodResolv(pod *v1.Pod, host Resolv, clusterDNS []string, domain string) Resolv {
	policy := pod.Spec.DNSPolicy
	if policy == v1.DNSClusterFirst && pod.Spec.HostNetwork || policy == "" {
		if pod.Spec.HostNetwork {
			policy = v1.DNSDefault
		} else {
			policy = v1.DNSClusterFirst
		}
	}
	if policy == v1.DNSClusterFirstWithHostNet {
		policy = v1.DNSClusterFirst
	}
	if policy == v1.DNSClusterFirst && len(clusterDNS) == 0 {
		policy = v1.DNSDefault
	}
	var r Resolv
	switch policy {
	case v1.DNSClusterFirst:
		r.Servers = slices.Clone(clusterDNS)
		if domain != "" {
			r.Searches = []string{pod.Namespace + ".svc." + domain, "svc." + domain, domain}
		}
		for _, s := range host.Searches {
			if !slices.Contains(r.Searches, s) {
				r.Searches = append(r.Searches, s)
			}
		}
		r.Options = []string{"ndots:5"}
	case v1.DNSDefault:
		r = Resolv{slices.Clone(host.Servers), slices.Clone(host.Searches), slices.Clone(host.Options)}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		r.Servers = union(r.Servers, c.Nameservers)
		r.Searches = union(r.Searches, c.Searches)
		r.Options = mergeOptions(r.Options, c.Options)
	}
	return r.limited()
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// mergeOptions puts dnsConfig's options over the others, by name.
func mergeOptions(base []string, over []v1.PodDNSConfigOption) []string {
	name := func(o string) string { n, _, _ := strings.Cut(o, ":"); return n }
	out := slices.Clone(base)
	for _, o := range over {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		if i := slices.IndexFunc(out, func(x string) bool { return name(x) == o.Name }); i >= 0 {
			out[i] = text
		} else {
			out = append(out, text)
		}
	}
	return out
}

func (r Resolv) limited() Resolv {
	if len(r.Servers) > maxServers {
		r.Servers = r.Servers[:maxServers]
	}
	if len(r.Searches) > maxSearches {
		r.Searches = r.Searches[:maxSearches]
	}
	for len(strings.Join(r.Searches, " ")) > maxSearchChars {
		r.Searches = r.Searches[:len(r.Searches)-1]
	}
	return r
}

// Render writes the file in the order that container runtimes use.
func (r Resolv) Render() []byte {
	var b bytes.Buffer
	if len(r.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.Searches, " "))
	}
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.Options, " "))
	}
	return b.Bytes()
}
