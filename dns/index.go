package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// index holds what names there are. Each change of a service or of one of its
// slices makes that service's entry anew; queries only look things up.
type index struct {
	mu         sync.RWMutex
	namespaces map[string]bool
	services   map[key][]named
	slices     map[key]map[string]*discoveryv1.EndpointSlice // by service, by name of the slice
	entries    map[key]*entry
	pointers   map[netip.Addr]map[key]string // names for an address: labels before the zone
}

// key names a service, in small letters as DNS compares.
type key struct{ namespace, name string }

// named is a service under its own name. Where old manifests are welcome, names may
// have capital letters: of names that differ in case alone, DNS knows the one in
// small letters, or else the oldest in the index.
type named struct {
	name    string
	service *corev1.Service
}

// entry is a service as DNS shows it.
type entry struct {
	external  string       // target of an ExternalName
	addresses []netip.Addr // cluster addresses; none for a headless service
	ports     []port
	endpoints []endpoint // of a headless service, in order of their addresses
}

func (e *entry) headless() bool { return e.external == "" && len(e.addresses) == 0 }

type port struct {
	name, protocol string // small letters
	number         uint16
}

// endpoint is one ready address behind a headless service.
type endpoint struct {
	host  string // its label: the pod's hostname, or the address with dashes
	addr  netip.Addr
	ports []port
}

func newIndex() *index {
	return &index{
		namespaces: map[string]bool{},
		services:   map[key][]named{},
		slices:     map[key]map[string]*discoveryv1.EndpointSlice{},
		entries:    map[key]*entry{},
		pointers:   map[netip.Addr]map[key]string{},
	}
}

func (x *index) setNamespace(name string, exists bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if exists {
		x.namespaces[name] = true
	} else {
		delete(x.namespaces, name)
	}
}

func serviceKey(namespace, name string) key { return key{namespace, strings.ToLower(name)} }

// setService takes a service's newest state; nil removes it.
func (x *index) setService(namespace, name string, s *corev1.Service) {
	k := serviceKey(namespace, name)
	x.mu.Lock()
	defer x.mu.Unlock()
	list := x.services[k]
	i := slices.IndexFunc(list, func(n named) bool { return n.name == name })
	switch {
	case s != nil && i >= 0:
		list[i].service = s
	case s != nil && name == k.name:
		list = slices.Insert(list, 0, named{name, s})
	case s != nil:
		list = append(list, named{name, s})
	case i >= 0:
		list = slices.Delete(list, i, i+1)
	}
	if x.services[k] = list; len(list) == 0 {
		delete(x.services, k)
	}
	x.rebuild(k)
}

// setSlice takes a slice's newest state; gone removes it.
func (x *index) setSlice(s *discoveryv1.EndpointSlice, gone bool) {
	name := s.Labels[discoveryv1.LabelServiceName]
	if name == "" {
		return
	}
	k := serviceKey(s.Namespace, name)
	x.mu.Lock()
	defer x.mu.Unlock()
	if gone {
		delete(x.slices[k], s.Name)
		if len(x.slices[k]) == 0 {
			delete(x.slices, k)
		}
	} else {
		if x.slices[k] == nil {
			x.slices[k] = map[string]*discoveryv1.EndpointSlice{}
		}
		x.slices[k][s.Name] = s
	}
	if e := x.entries[k]; e != nil && !e.headless() {
		return // the addresses behind a cluster address have no names
	}
	x.rebuild(k)
}

// rebuild makes the entry of k anew. The caller holds the lock.
func (x *index) rebuild(k key) {
	if old := x.entries[k]; old != nil {
		x.point(k, old, false)
		delete(x.entries, k)
	}
	if len(x.services[k]) == 0 {
		return
	}
	s := x.services[k][0]
	e := newEntry(s.service, s.name, x.slices[k])
	x.entries[k] = e
	x.point(k, e, true)
}

func newEntry(s *corev1.Service, name string, slices map[string]*discoveryv1.EndpointSlice) *entry {
	e := &entry{}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		e.external = s.Spec.ExternalName
		return e
	}
	for _, p := range s.Spec.Ports {
		e.ports = append(e.ports, port{strings.ToLower(p.Name), protocol(p.Protocol), uint16(p.Port)})
	}
	for _, ip := range s.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(ip); err == nil {
			e.addresses = append(e.addresses, a)
		}
	}
	if e.headless() {
		e.endpoints = endpointsOf(name, slices)
	}
	return e
}

func protocol(p corev1.Protocol) string {
	if p == "" {
		return "tcp"
	}
	return strings.ToLower(string(p))
}

// endpointsOf lists the ready endpoints of a service's slices, each address once for a
// name.
func endpointsOf(service string, all map[string]*discoveryv1.EndpointSlice) []endpoint {
	type id struct {
		host string
		addr netip.Addr
	}
	found := map[id]*endpoint{}
	for _, s := range all {
		if s.Labels[discoveryv1.LabelServiceName] != service {
			continue // of one whose name differs in case
		}
		var ports []port
		for _, p := range s.Ports {
			q := port{protocol: "tcp"}
			if p.Name != nil {
				q.name = strings.ToLower(*p.Name)
			}
			if p.Protocol != nil {
				q.protocol = protocol(*p.Protocol)
			}
			if p.Port != nil {
				q.number = uint16(*p.Port)
			}
			ports = append(ports, q)
		}
		for _, ep := range s.Endpoints {
			if ep.Conditions.Ready != nil && !*ep.Conditions.Ready {
				continue
			}
			for _, text := range ep.Addresses {
				a, err := netip.ParseAddr(text)
				if err != nil {
					continue
				}
				i := id{dashed(a), a}
				if ep.Hostname != nil && *ep.Hostname != "" {
					i.host = strings.ToLower(*ep.Hostname)
				}
				if found[i] == nil {
					found[i] = &endpoint{host: i.host, addr: a}
				}
				found[i].ports = append(found[i].ports, ports...)
			}
		}
	}
	out := make([]endpoint, 0, len(found))
	for _, e := range found {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b endpoint) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.host, b.host))
	})
	return out
}

// dashed is the label of an address: 10-1-2-3, or 2001-db8--1.
func dashed(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
}

// point adds or removes the names that addresses of e lead back to.
func (x *index) point(k key, e *entry, add bool) {
	suffix := k.name + "." + k.namespace + ".svc."
	set := func(a netip.Addr, name string) {
		if !add {
			delete(x.pointers[a], k)
			if len(x.pointers[a]) == 0 {
				delete(x.pointers, a)
			}
			return
		}
		if x.pointers[a] == nil {
			x.pointers[a] = map[key]string{}
		}
		x.pointers[a][k] = name
	}
	for _, a := range e.addresses {
		set(a, suffix)
	}
	for _, ep := range e.endpoints {
		set(ep.addr, ep.host+"."+suffix)
	}
}
