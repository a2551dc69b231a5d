package platform

import (
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/intercept"
)

// callouts reach the servers that objects name.
func (id *identity) callouts() *callout.Clients {
	return callout.New(callout.Endpoints{Reader: func() admission.Reader {
		if r := id.reader.Load(); r != nil {
			return *r
		}
		return nil
	}}, nil)
}

// interceptors are the webhooks and policies of users.
func (p *process) interceptors(c *callout.Clients) (*intercept.Interceptors, error) {
	return intercept.New(intercept.Options{
		Clients: c, Authorizer: p.identity.may, OldVersions: p.cfg.OldVersions, Telemetry: p.tel,
	})
}
