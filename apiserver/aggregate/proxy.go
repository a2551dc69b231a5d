package aggregate

import (
	"net/http"
	"net/url"
	"strings"

	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/client-go/transport"
	"k8s.io/streaming/pkg/httpstream"

	"skiff.dev/skiff/auth"
)

// proxy hands the requests of one group version over (kube-aggregator,
// handler_proxy.go). The request is authenticated and authorized; its context
// carries the user.
type proxy struct {
	a *Aggregator
	r *remote
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !p.r.current.Load().available {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	user := auth.UserFrom(r.Context())
	if user == nil {
		http.Error(w, "missing user", http.StatusInternalServerError)
		return
	}
	tr, base, err := p.a.opt.Clients.Transport(p.r.target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	location := &url.URL{Scheme: base.Scheme, Host: base.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.Query().Encode()}
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	out.URL, out.Host = location, location.Host
	for name := range out.Header {
		// Who the caller is has been found out: what they proved it by is nobody
		// else's business, and what they claimed counts no more.
		if name == "Authorization" || strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "X-Remote-") {
			delete(out.Header, name)
		}
	}
	// The upgrade path dials by itself, past any round tripper: so the headers are set
	// here for both.
	transport.SetAuthProxyHeaders(out, user.Name, user.UID, user.Groups, user.Extra)
	upgrade := httpstream.IsUpgradeRequest(r)
	h := utilproxy.NewUpgradeAwareHandler(location, tr, true, upgrade, responder{})
	h.RejectForwardingRedirects = true
	h.ServeHTTP(w, out)
}

// responder answers what goes wrong on the way.
type responder struct{}

func (responder) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
