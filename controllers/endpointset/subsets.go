package endpointset

//lint:file-ignore SA1019 Endpoints are deprecated for new clients, and still served.

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Subsets collects single addresses at single ports and packs them as Kubernetes'
// RepackSubsets does: ports that exactly the same addresses serve share a subset.
type Subsets struct {
	byPort map[string]*portEntry
}

type portEntry struct {
	port  *corev1.EndpointPort // nil: a subset without ports
	addrs map[string]addrEntry
}

type addrEntry struct {
	addr  corev1.EndpointAddress
	ready bool
}

// Add notes that a serves port, or that it belongs to a service without ports.
func (s *Subsets) Add(a corev1.EndpointAddress, port *corev1.EndpointPort, ready bool) {
	key := ""
	if port != nil {
		key = fmt.Sprintf("%s/%s/%d/%s", port.Name, port.Protocol, port.Port, str(port.AppProtocol))
	}
	if s.byPort == nil {
		s.byPort = map[string]*portEntry{}
	}
	if s.byPort[key] == nil {
		s.byPort[key] = &portEntry{port: port, addrs: map[string]addrEntry{}}
	}
	id := a.IP + " "
	if a.TargetRef != nil {
		id += string(a.TargetRef.UID)
	}
	if have, ok := s.byPort[key].addrs[id]; ok {
		ready = ready && have.ready // of two words about one address the worse counts
	}
	s.byPort[key].addrs[id] = addrEntry{a, ready}
}

// Pack returns subsets in an order of their own.
func (s *Subsets) Pack() []corev1.EndpointSubset {
	merged := map[string]*corev1.EndpointSubset{}
	var order []string
	keys := make([]string, 0, len(s.byPort))
	for k := range s.byPort {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		e := s.byPort[k]
		sign := signature(e.addrs)
		sub := merged[sign]
		if sub == nil {
			sub = &corev1.EndpointSubset{}
			for _, a := range e.addrs {
				if a.ready {
					sub.Addresses = append(sub.Addresses, a.addr)
				} else {
					sub.NotReadyAddresses = append(sub.NotReadyAddresses, a.addr)
				}
			}
			sortAddresses(sub.Addresses)
			sortAddresses(sub.NotReadyAddresses)
			merged[sign] = sub
			order = append(order, sign)
		}
		if e.port != nil {
			sub.Ports = append(sub.Ports, *e.port)
		}
	}
	var out []corev1.EndpointSubset
	for _, sign := range order {
		out = append(out, *merged[sign])
	}
	return out
}

func signature(addrs map[string]addrEntry) string {
	all := make([]string, 0, len(addrs))
	for id, a := range addrs {
		all = append(all, fmt.Sprintf("%s %v", id, a.ready))
	}
	sort.Strings(all)
	return strings.Join(all, ";")
}

func sortAddresses(all []corev1.EndpointAddress) {
	slices.SortFunc(all, func(a, b corev1.EndpointAddress) int {
		x, _ := netip.ParseAddr(a.IP)
		y, _ := netip.ParseAddr(b.IP)
		if c := x.Compare(y); c != 0 || a.TargetRef == nil || b.TargetRef == nil {
			return c
		}
		return cmp.Compare(a.TargetRef.UID, b.TargetRef.UID)
	})
}

// EndpointsCapacity is how many addresses an Endpoints object lists at most.
const EndpointsCapacity = 1000

// Truncate cuts what is over capacity, unready addresses first, each subset in
// proportion, and tells whether it did.
func Truncate(subsets []corev1.EndpointSubset) bool {
	ready, unready := 0, 0
	for _, s := range subsets {
		ready += len(s.Addresses)
		unready += len(s.NotReadyAddresses)
	}
	if ready+unready <= EndpointsCapacity {
		return false
	}
	readyLeft := min(ready, EndpointsCapacity)
	unreadyLeft := EndpointsCapacity - readyLeft
	for i := range subsets {
		s := &subsets[i]
		n := min(len(s.Addresses), readyLeft)
		s.Addresses, readyLeft = s.Addresses[:n:n], readyLeft-n
		n = min(len(s.NotReadyAddresses), unreadyLeft)
		s.NotReadyAddresses, unreadyLeft = s.NotReadyAddresses[:n:n], unreadyLeft-n
		if len(s.NotReadyAddresses) == 0 {
			s.NotReadyAddresses = nil
		}
	}
	return true
}
