package apiserver

import (
	"net/http"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/audit"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/access"
	"skiff.dev/skiff/auth/authn"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/store"
	"skiff.dev/skiff/telemetry"
)

// Options make a Server. Store, Table and Scheme are required; what is nil is
// left out: without an Authenticator everybody is anonymous, without an
// Authorizer everybody may do everything.
type Options struct {
	Store store.Store
	Table *kinds.Table
	// Scheme holds the Go types of all served forms (kinds/scheme).
	Scheme *runtime.Scheme

	Authenticator auth.Authenticator
	Authorizer    auth.Authorizer
	// Identified refuses requests of nobody: an Authenticator that knows no user is
	// then not the anonymous user's (--anonymous-auth=false).
	Identified bool
	// Audit records requests; nil records none.
	Audit *audit.Log
	// Admission runs after the server's own namespace lifecycle, in this order.
	Admission admission.Chain

	// TokenIssuer signs tokens; Tokens knows whose a token is, for TokenReview, and
	// Audiences are those of this server; Rules lists what a user may do.
	TokenIssuer TokenIssuer
	Tokens      authn.Tokens
	Audiences   []string
	Rules       access.Rules

	// Subresources answers streams and proxies by the subresource's name.
	Subresources map[string]SubresourceHandler
	// Paths are further handlers by path, behind authentication and authorization.
	Paths []PathHandler

	// Discovery and OpenAPI are told which custom kinds there are, whenever these
	// change; both may be nil.
	Discovery interface{ SetExtra([]*kinds.Kind) }
	OpenAPI   interface{ SetExtra([]openapi.Extra) }
	// Callouts reaches the webhooks that objects name; nil: none is called.
	Callouts *callout.Clients

	// Feeds follow kinds in commit order and in step with the cache: the RBAC index,
	// the node authorizer's graph. A feed sees what exists as creations first.
	Feeds []Feed

	ServiceCIDR   netip.Prefix // default 10.96.0.0/16
	NodePortRange [2]int       // first and last; default 30000-32767
	// Advertise is the address of the API in the kubernetes service's endpoints. With
	// a port alone they are written when Server.Advertise tells the address; without
	// one there is no such service.
	Advertise netip.AddrPort
	// GoawayChance is how probable it is that an HTTP/2 client is told to connect anew
	// after an answer; 0 where there is one server only.
	GoawayChance float64
	// Flags are what /flagz tells: the flags that the server runs with; nil: nothing.
	Flags func() map[string]string

	// Delegate finds the server that answers a group version in place of this one; nil,
	// and what returns nil: this one does.
	Delegate func(group, version string) http.Handler

	// Leads, where not nil, tells whether this server does the upkeep of a store that
	// several share: one of them compacts it and lets events expire.
	Leads func() bool
	// MaxInflight and MaxMutating bound the requests that are served at once, reads
	// and writes; 0 takes the default, a negative number bounds nothing. With priority
	// and fairness only their sum counts: it is shared out among the levels.
	MaxInflight, MaxMutating int
	// NoPriority turns priority and fairness off.
	NoPriority bool
	// OldVersions serves the versions that Kubernetes has dropped.
	OldVersions bool

	Telemetry *telemetry.Telemetry
	Now       func() time.Time
}

// Defaults of MaxInflight and MaxMutating: see doc/fairness.md.
const (
	DefaultMaxInflight = 400
	DefaultMaxMutating = 200
)

// Feed is a follower of some kinds. Apply must be quick and not call the server.
type Feed struct {
	Resources []schema.GroupResource
	Apply     func(kinds.Event)
}

func (o *Options) fill() {
	if !o.ServiceCIDR.IsValid() {
		o.ServiceCIDR = netip.MustParsePrefix("10.96.0.0/16")
	}
	if o.NodePortRange == [2]int{} {
		o.NodePortRange = [2]int{30000, 32767}
	}
	if o.MaxInflight == 0 {
		o.MaxInflight = DefaultMaxInflight
	}
	if o.MaxMutating == 0 {
		o.MaxMutating = DefaultMaxMutating
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}
