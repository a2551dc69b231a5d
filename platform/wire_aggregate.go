package platform

import (
	"crypto/tls"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/aggregate"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/openapi"
)

// newAggregator makes what hands API groups over to extension servers, which know
// this server by its front proxy's certificate.
func (p *process) newAggregator(groups *discovery.Handler, schemas *openapi.Handler) (*aggregate.Aggregator, error) {
	reader := func() admission.Reader {
		if r := p.identity.reader.Load(); r != nil {
			return *r
		}
		return nil
	}
	identity := func() (*tls.Certificate, error) { return p.pki.GetFrontProxyCertificate() }
	return aggregate.New(aggregate.Options{
		Clients:   callout.New(callout.Endpoints{Reader: reader}, identity),
		Reader:    reader,
		Discovery: groups.SetRemote,
		OpenAPI:   schemas.SetRemote,
		Telemetry: p.tel,
	})
}

// aggregateFeed keeps the aggregator in step with the objects that it looks at.
func aggregateFeed(a *aggregate.Aggregator) apiserver.Feed {
	return apiserver.Feed{Resources: aggregate.Resources, Apply: a.Apply}
}
