package alloc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

// Services allocates for Services. It satisfies objects.Hook. It writes
// spec.clusterIP, clusterIPs, ipFamilies, ipFamilyPolicy, ports[].nodePort and
// healthCheckNodePort.
type Services struct {
	cidr  netip.Prefix
	first netip.Addr // number 0
	ips   *pool
	ports *pool
	low   int // the port that is number 0
	high  int
}

// NewServices allocates from an IPv4 prefix and the ports low to high.
func NewServices(cidr netip.Prefix, low, high int) (*Services, error) {
	if !cidr.Addr().Is4() || cidr.Bits() > 30 {
		return nil, fmt.Errorf("alloc: %s is no IPv4 range for services", cidr)
	}
	cidr = cidr.Masked()
	size := 1<<(32-cidr.Bits()) - 2 // without the network's and the broadcast address
	n := high - low + 1
	return &Services{
		cidr: cidr, first: cidr.Addr().Next(), low: low, high: high,
		ips:   newPool(size, bandOf(size, 16, 256)),
		ports: newPool(n, bandOf(n, 32, 128)),
	}, nil
}

// bandOf is the width of the static band: a share of the range, between 16 and
// most.
func bandOf(size, share, most int) int {
	if size < 16 {
		return 0
	}
	return min(max(16, size/share), most)
}

// First is the address of the kubernetes service.
func (s *Services) First() netip.Addr { return s.first }

// Apply follows the stored services.
func (s *Services) Apply(ev kinds.Event) {
	if svc, ok := ev.Old.(*v1.Service); ok && svc != nil {
		s.count(svc, -1)
	}
	if svc, ok := ev.New.(*v1.Service); ok && svc != nil {
		s.count(svc, 1)
	}
}

func (s *Services) count(svc *v1.Service, by int) {
	for _, ip := range addresses(svc) {
		if n, ok := s.number(ip); ok {
			s.ips.hold(n, by)
		}
	}
	for p := range portsOf(svc) {
		s.ports.hold(p-s.low, by)
	}
}

func (s *Services) number(ip string) (int, bool) {
	a, err := netip.ParseAddr(ip)
	if err != nil || !a.Is4() || !s.cidr.Contains(a) {
		return 0, false
	}
	x, y := a.As4(), s.first.As4()
	num := func(b [4]byte) int { return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3]) }
	return num(x) - num(y), true
}

func (s *Services) address(n int) string {
	b := s.first.As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}).String()
}

// addresses are the cluster addresses that a service holds.
func addresses(svc *v1.Service) []string {
	if svc.Spec.Type == v1.ServiceTypeExternalName {
		return nil
	}
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 && svc.Spec.ClusterIP != "" {
		ips = []string{svc.Spec.ClusterIP}
	}
	if len(ips) > 0 && ips[0] == v1.ClusterIPNone {
		return nil
	}
	return ips
}

// portsOf are the node ports that a service holds.
func portsOf(svc *v1.Service) map[int]bool {
	out := map[int]bool{}
	if svc.Spec.Type == v1.ServiceTypeNodePort || svc.Spec.Type == v1.ServiceTypeLoadBalancer {
		for i := range svc.Spec.Ports {
			if p := svc.Spec.Ports[i].NodePort; p != 0 {
				out[int(p)] = true
			}
		}
	}
	if needsHealthPort(svc) && svc.Spec.HealthCheckNodePort != 0 {
		out[int(svc.Spec.HealthCheckNodePort)] = true
	}
	return out
}

func needsHealthPort(svc *v1.Service) bool {
	return svc.Spec.Type == v1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal
}

// Begin allocates for obj. See objects.Hook.
func (s *Services) Begin(_ context.Context, obj, old kinds.Object, dry bool) (func(bool), error) {
	svc, ok := obj.(*v1.Service)
	if !ok {
		return nil, fmt.Errorf("alloc: %T is no service", obj)
	}
	var before *v1.Service
	if old != nil {
		before = old.(*v1.Service)
		inherit(svc, before)
	}
	normalise(svc, before)
	t := &transaction{s: s, dry: dry}
	err := s.families(svc, before)
	if err == nil {
		err = t.addresses(svc, before)
	}
	if err == nil {
		err = t.nodePorts(svc, before)
	}
	if err != nil {
		t.done(false)
		return nil, err
	}
	return t.done, nil
}

// transaction remembers what to give back.
type transaction struct {
	s         *Services
	dry       bool
	tookIPs   []int
	tookPorts []int
}

// done gives back what was taken: by now a service that was stored holds it.
func (t *transaction) done(bool) {
	if t.dry {
		return
	}
	for _, n := range t.tookIPs {
		t.s.ips.release(n)
	}
	for _, n := range t.tookPorts {
		t.s.ports.release(n)
	}
}

func invalid(svc *v1.Service, errs ...*field.Error) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, svc.Name, errs)
}

// addresses gives a service its cluster address, or takes it away.
func (t *transaction) addresses(svc, before *v1.Service) error {
	external := svc.Spec.Type == v1.ServiceTypeExternalName
	switch {
	case before != nil && before.Spec.Type != v1.ServiceTypeExternalName:
		return nil
	case external, len(svc.Spec.ClusterIPs) > 0 && svc.Spec.ClusterIPs[0] == v1.ClusterIPNone:
		return nil
	}
	path := field.NewPath("spec", "clusterIPs")
	if len(svc.Spec.ClusterIPs) > 0 {
		ip := svc.Spec.ClusterIPs[0]
		if err := t.takeIP(ip); err != nil {
			return invalid(svc, field.Invalid(path, svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %v: %v", ip, err)))
		}
		svc.Spec.ClusterIP = ip
		return nil
	}
	n, err := t.s.ips.next(t.dry)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: %w", svc.Name, err))
	}
	t.tookIPs = append(t.tookIPs, n)
	svc.Spec.ClusterIP = t.s.address(n)
	svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	return nil
}

func (t *transaction) takeIP(ip string) error {
	n, ok := t.s.number(ip)
	err := errRange
	if ok {
		if t.dry {
			err = t.s.ips.free(n)
		} else {
			err = t.s.ips.take(n)
		}
	}
	switch {
	case err == nil:
		t.tookIPs = append(t.tookIPs, n)
		return nil
	case errors.Is(err, errTaken):
		return errors.New("provided IP is already allocated")
	}
	return fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, t.s.cidr)
}
