package platform

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"skiff.dev/skiff/apiserver/admission"
)

func (p *process) Handler(_ context.Context, name string) (http.Handler, error) {
	return nil, fmt.Errorf("no node")
}
func (p *process) chooseRanges() error {
	if err := claimRanges(p.cfg, nil); err != nil {
		return err
	}
	p.pods = netip.MustParsePrefix(p.cfg.PodCIDR)
	p.services = netip.MustParsePrefix(p.cfg.ServiceCIDR)
	return nil
}
func (p *process) admission() admission.Chain { return nil }
