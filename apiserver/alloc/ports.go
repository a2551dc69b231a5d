package alloc

import (
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func usesNodePorts(svc *v1.Service) bool {
	return svc.Spec.Type == v1.ServiceTypeNodePort || svc.Spec.Type == v1.ServiceTypeLoadBalancer
}

// wantsNodePorts tells whether ports that name no node port get one.
func wantsNodePorts(svc *v1.Service) bool {
	switch svc.Spec.Type {
	case v1.ServiceTypeNodePort:
		return true
	case v1.ServiceTypeLoadBalancer:
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

// nodePorts gives a service its node ports.
func (t *transaction) nodePorts(svc, before *v1.Service) error {
	had := map[int]bool{}
	if before != nil {
		had = portsOf(before)
	}
	if usesNodePorts(svc) {
		if err := t.fillPorts(svc, had); err != nil {
			return err
		}
	}
	if needsHealthPort(svc) && (before == nil || !needsHealthPort(before)) {
		if err := t.healthPort(svc); err != nil {
			return err
		}
	}
	return nil
}

// fillPorts takes the ports that are asked for, and some for those that name
// none. One port in two protocols shares its node port.
func (t *transaction) fillPorts(svc *v1.Service, had map[int]bool) error {
	mine := map[int]bool{}
	shared := map[int32]int32{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		n := int(p.NodePort)
		if n == 0 {
			continue
		}
		if !had[n] && !mine[n] {
			if err := t.takePort(n); err != nil {
				return invalid(svc, field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p.NodePort, err.Error()))
			}
		}
		mine[n] = true
		if shared[p.Port] == 0 {
			shared[p.Port] = p.NodePort
		}
	}
	if !wantsNodePorts(svc) {
		return nil
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.NodePort != 0 {
			continue
		}
		if same := shared[p.Port]; same != 0 && len(had) == 0 {
			p.NodePort = same
			continue
		}
		n, err := t.s.ports.next(t.dry)
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
		}
		t.tookPorts = append(t.tookPorts, n)
		p.NodePort = int32(n + t.s.low)
		shared[p.Port] = p.NodePort
	}
	return nil
}

func (t *transaction) takePort(port int) error {
	n := port - t.s.low
	var err error
	if t.dry {
		err = t.s.ports.free(n)
	} else {
		err = t.s.ports.take(n)
	}
	switch {
	case err == nil:
		t.tookPorts = append(t.tookPorts, n)
		return nil
	case errors.Is(err, errTaken):
		return errors.New("provided port is already allocated")
	case t.dry:
		return nil // a dry run asks whether a port is taken, not where it lies
	}
	return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", t.s.low, t.s.high)
}

// healthPort gives a service the port on which nodes tell whether they have
// endpoints.
func (t *transaction) healthPort(svc *v1.Service) error {
	if p := svc.Spec.HealthCheckNodePort; p != 0 {
		if err := t.takePort(int(p)); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", p, err))
		}
		return nil
	}
	n, err := t.s.ports.next(t.dry)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %w", 0, err))
	}
	t.tookPorts = append(t.tookPorts, n)
	svc.Spec.HealthCheckNodePort = int32(n + t.s.low)
	return nil
}
