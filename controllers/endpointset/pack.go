package endpointset

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
)

// Group is a set of endpoints that share an address family and ports: they may
// stand in one slice.
type Group struct {
	Type      discoveryv1.AddressType
	Ports     []discoveryv1.EndpointPort
	Endpoints []discoveryv1.Endpoint
}

// Groups collects endpoints by family and ports.
type Groups struct {
	byKey map[string]*Group
	keys  []string
}

// Add puts e into the group of its family and ports.
func (g *Groups) Add(t discoveryv1.AddressType, ports []discoveryv1.EndpointPort, e ...discoveryv1.Endpoint) {
	key := groupKey(t, ports)
	if g.byKey == nil {
		g.byKey = map[string]*Group{}
	}
	if g.byKey[key] == nil {
		g.byKey[key] = &Group{Type: t, Ports: ports}
		g.keys = append(g.keys, key)
	}
	g.byKey[key].Endpoints = append(g.byKey[key].Endpoints, e...)
}

func groupKey(t discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	all := make([]string, len(ports))
	for i, p := range ports {
		all[i] = fmt.Sprintf("%s/%s/%d/%s", str(p.Name), str(p.Protocol), num(p.Port), str(p.AppProtocol))
	}
	sort.Strings(all)
	return string(t) + " " + strings.Join(all, " ")
}

func str[T ~string](p *T) string {
	if p == nil {
		return ""
	}
	return string(*p)
}

func num(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}

// PerSlice is how many endpoints a slice holds at most.
const PerSlice = 100

// Pack plans how existing slices come to hold exactly the groups. Slices that fit
// stay as they are, so that few watchers hear of a change; new endpoints fill the
// slices that change anyway, then those with room, then new ones. shape makes the
// metadata of a slice, whether new or existing, right and tells whether it changed.
func Pack(g *Groups, existing []*discoveryv1.EndpointSlice, shape func(*discoveryv1.EndpointSlice) bool) Plan {
	var plan Plan
	have := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		key := groupKey(s.AddressType, s.Ports)
		if s.DeletionTimestamp != nil {
			continue
		}
		if g.byKey[key] == nil {
			plan.Delete = append(plan.Delete, s)
			continue
		}
		have[key] = append(have[key], s)
	}
	for _, key := range g.keys {
		packGroup(&plan, g.byKey[key], have[key], shape)
	}
	plan.recycle(shape)
	return plan
}

// recycle writes what is to be created over slices of the same owner that are to be
// deleted: who watches sees a slice change, not one come and another go (finalize in
// k8s.io/endpointslice's reconciler).
func (p *Plan) recycle(shape func(*discoveryv1.EndpointSlice) bool) {
	p.Delete = slices.DeleteFunc(p.Delete, func(old *discoveryv1.EndpointSlice) bool {
		i := slices.IndexFunc(p.Create, func(s *discoveryv1.EndpointSlice) bool {
			return s.AddressType == old.AddressType && apiequality.Semantic.DeepEqual(s.OwnerReferences, old.OwnerReferences)
		})
		if i < 0 {
			return false
		}
		next := old.DeepCopy()
		next.Ports, next.Endpoints = p.Create[i].Ports, p.Create[i].Endpoints
		shape(next)
		p.Create, p.Update = slices.Delete(p.Create, i, i+1), append(p.Update, next)
		return true
	})
}

// draft is an existing slice on its way to what it should be.
type draft struct {
	old     *discoveryv1.EndpointSlice
	keep    []discoveryv1.Endpoint
	changed bool
}

func packGroup(plan *Plan, group *Group, existing []*discoveryv1.EndpointSlice, shape func(*discoveryv1.EndpointSlice) bool) {
	wanted := map[string]discoveryv1.Endpoint{}
	var order []string
	for _, e := range group.Endpoints {
		id := identity(&e)
		if _, twice := wanted[id]; !twice {
			order = append(order, id)
		}
		wanted[id] = e
	}
	var drafts []*draft
	for _, s := range existing {
		d := &draft{old: s}
		for i := range s.Endpoints {
			id := identity(&s.Endpoints[i])
			want, ok := wanted[id]
			if !ok {
				d.changed = true
				continue
			}
			delete(wanted, id)
			d.keep = append(d.keep, want)
			d.changed = d.changed || !apiequality.Semantic.DeepEqual(want, s.Endpoints[i])
		}
		drafts = append(drafts, d)
	}
	var rest []discoveryv1.Endpoint
	for _, id := range order {
		if e, ok := wanted[id]; ok {
			rest = append(rest, e)
		}
	}
	rest = fill(drafts, rest)
	emit(plan, group, drafts, rest, shape)
}

// fill puts endpoints where there is room, into slices that change anyway first.
func fill(drafts []*draft, rest []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	order := slices.Clone(drafts)
	sort.SliceStable(order, func(i, j int) bool { return order[i].changed && !order[j].changed })
	for _, d := range order {
		if len(rest) == 0 {
			break
		}
		if n := min(PerSlice-len(d.keep), len(rest)); n > 0 {
			d.keep = append(d.keep, rest[:n]...)
			rest = rest[n:]
			d.changed = true
		}
	}
	return rest
}

func emit(plan *Plan, group *Group, drafts []*draft, rest []discoveryv1.Endpoint, shape func(*discoveryv1.EndpointSlice) bool) {
	left := len(rest)
	for _, d := range drafts {
		left += len(d.keep)
	}
	placeholder := left == 0 // a service without endpoints keeps one empty slice
	for _, d := range drafts {
		if len(d.keep) == 0 && !placeholder {
			plan.Delete = append(plan.Delete, d.old)
			continue
		}
		placeholder = placeholder && len(d.keep) > 0
		next := d.old.DeepCopy()
		next.Endpoints = d.keep
		if next.Endpoints == nil {
			next.Endpoints = []discoveryv1.Endpoint{}
		}
		if shape(next) || d.changed {
			plan.Update = append(plan.Update, next)
		}
	}
	for len(rest) > 0 || placeholder {
		n := min(PerSlice, len(rest))
		s := &discoveryv1.EndpointSlice{AddressType: group.Type, Ports: group.Ports, Endpoints: append([]discoveryv1.Endpoint{}, rest[:n]...)}
		shape(s)
		plan.Create = append(plan.Create, s)
		rest, placeholder = rest[n:], false
	}
}

// identity names what an endpoint is; its conditions may change.
func identity(e *discoveryv1.Endpoint) string {
	uid := ""
	if e.TargetRef != nil {
		uid = string(e.TargetRef.UID)
	}
	return strings.Join(e.Addresses, ",") + " " + uid
}
