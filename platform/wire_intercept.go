package platform

import (
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/intercept"
)

// interceptors are the webhooks and policies of users.
func (p *process) interceptors(id *identity) (*intercept.Interceptors, error) {
	reader := func() admission.Reader {
		if r := id.reader.Load(); r != nil {
			return *r
		}
		return nil
	}
	return intercept.New(intercept.Options{
		Clients:    callout.New(callout.Endpoints{Reader: reader}, nil),
		Authorizer: id.may, Kind: p.table.ByGVK, OldVersions: p.cfg.OldVersions, Telemetry: p.tel,
	})
}
