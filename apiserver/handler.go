package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/audit"
	"skiff.dev/skiff/apiserver/gate"
	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/apiserver/request"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/authn"
	"skiff.dev/skiff/codec"
	"skiff.dev/skiff/kinds"
)

// Handler serves the API. Wrap it into a TLS server with HTTP/2.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// call is one request on its way through the server.
type call struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	query url.Values
	info  request.Info
	user  *auth.User

	kind    *kinds.Kind
	version *kinds.Version
	out     request.Output
	code    int // of the answer; 0: OK

	warnings []string

	id    string
	begun time.Time
	audit *audit.Record // nil: nothing is recorded

	time    time.Duration // that the request may take
	bounded boundedContext

	// What the request holds while it is served: see enter.
	pass        gate.Pass
	forget      func()
	leaveLimits func()
}

var anonymous = &auth.User{Name: auth.UserAnonymous, Groups: []string{auth.GroupUnauthenticated}}

// serve walks a request: who asks, for whom, whether they may, and what for.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, w: w, r: r, begun: time.Now()}
	c.identifyRequest()
	if r.URL.RawQuery != "" {
		c.query = r.URL.Query()
	}
	c.info = request.Parse(r.Method, r.URL.Path, c.query)
	w.Header()["Cache-Control"] = noCache
	if g := s.metrics.begin(c); g != nil {
		defer g.Dec()
	}
	defer func() { s.metrics.end(c, time.Since(c.begun)) }()
	defer c.auditEnd()
	defer c.recover()
	defer c.leave()
	defer c.bounded.stop()
	if !c.limit() || !c.authenticate() {
		return
	}
	c.parting()
	if !c.enter() || !c.authorize() {
		return
	}
	if c.s.opt.Delegate != nil && c.delegate() {
		return
	}
	if !c.info.IsResource {
		c.path()
		return
	}
	c.resource()
}

// recover answers 500 when a handler panics, and tells the log where.
func (c *call) recover() {
	p := recover()
	if p == nil {
		return
	}
	if c.audit != nil {
		c.audit.Panicked(p)
		c.audit = nil
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	c.s.tel.Log.Error("a request failed in the server", "path", c.r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	c.fail(apierrors.NewInternalError(errors.New("this request caused apiserver to panic. Look in the logs for details")))
}

// authenticate finds the user, and whom they act for.
func (c *call) authenticate() bool {
	c.user = anonymous
	if a := c.s.opt.Authenticator; a != nil {
		u, ok, err := a.Authenticate(c.r)
		if err != nil || !ok && c.s.opt.Identified {
			c.auditBegin(true)
			c.fail(apierrors.NewUnauthorized("Unauthorized"))
			return false
		}
		if ok {
			c.user = u
		}
	}
	if !c.auditBegin(false) {
		return false
	}
	if c.s.impersonator != nil && authn.Impersonates(c.r.Header) {
		u, constraint, err := c.s.impersonator.Impersonate(c.r, c.attributes())
		if err != nil {
			c.w.Header()["X-Content-Type-Options"] = noSniff
			c.fail(err)
			return false
		}
		if c.audit != nil && u != c.user {
			c.audit.Impersonates(u, constraint)
		}
		c.user = u
	}
	return true
}

// attributes are the request as authorizers see it.
func (c *call) attributes() *auth.Attributes {
	in := &c.info
	a := &auth.Attributes{User: c.user, Verb: in.Verb, Path: in.Path, IsResource: in.IsResource}
	if in.IsResource {
		a.Namespace, a.Group, a.Version, a.Resource, a.Subresource, a.Name = in.Namespace, in.Group, in.Version, in.Resource, in.Sub, in.Name
		a.FieldSelector, a.LabelSelector = in.FieldSelector, in.LabelSelector
	}
	return a
}

// authorize asks whether the user may do what the request says.
func (c *call) authorize() bool {
	az := c.s.opt.Authorizer
	if az == nil {
		return true
	}
	a := c.attributes()
	d, reason, err := az.Authorize(c.r.Context(), a)
	c.auditDecision(d, reason, err)
	if d == auth.Allow {
		return true
	}
	if err != nil {
		c.internalError(err)
		return false
	}
	c.w.Header()["X-Content-Type-Options"] = noSniff
	c.fail(auth.Forbidden(a, reason))
	return false
}

// notFound and notAllowed are what the routing answers, without details.
func (c *call) notFound() {
	c.fail(apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false))
}

func (c *call) notAllowed() { c.fail(errNotAllowed()) }

func errNotAllowed() error {
	return apierrors.NewGenericServerResponse(http.StatusMethodNotAllowed, "", schema.GroupResource{}, "", "", 0, false)
}

func (c *call) plainNotFound() {
	c.code = http.StatusNotFound
	http.Error(c.w, "404 page not found", http.StatusNotFound)
}

// noInfo is the answer to a path of which nothing can be said (endpoints/filters,
// WithRequestInfo).
func (c *call) noInfo() {
	p := c.info.Path
	c.code = http.StatusInternalServerError
	c.w.Header().Del("Cache-Control")
	http.Error(c.w, fmt.Sprintf("Internal Server Error: %q: failed to create RequestInfo: unable to determine kind and namespace from url, %s", p, p), c.code)
}

// find resolves the resource; it answers and returns false where there is none.
func (c *call) find() bool {
	in := &c.info
	gv := schema.GroupVersion{Group: in.Group, Version: in.Version}
	k, ok := c.s.kindOf(gv.WithResource(in.Resource))
	if ok {
		c.version, ok = k.ServedAs(gv)
		ok = ok && (!c.version.Old || c.s.opt.OldVersions)
	}
	if in.BadSpecial {
		c.noInfo()
		return false
	}
	if !ok {
		if !c.s.hasGroup(in.Group) || strings.HasPrefix(in.Path, "//") {
			c.plainNotFound()
		} else {
			c.notFound()
		}
		return false
	}
	if strings.HasPrefix(in.Path, "//") { // the routes know clean paths alone
		c.plainNotFound()
		return false
	}
	c.kind = k
	if k.Custom != nil {
		return c.findCustom()
	}
	// A namespace is its own namespace.
	if !k.Namespaced && k.GroupResource() == namespaceResource && in.Name == in.Namespace {
		in.Namespace = ""
	}
	if !k.Namespaced && in.Namespace != "" || in.Verb == "proxy" {
		c.notFound()
		return false
	}
	return true
}

func (s *Server) hasGroup(group string) bool {
	if group == "" {
		return true
	}
	for _, g := range s.table.Groups() {
		if g == group {
			return true
		}
	}
	return false
}

// resource dispatches a request for a resource by its shape and verb.
func (c *call) resource() {
	if !c.find() {
		return
	}
	in := &c.info
	if d := c.version.Deprecated; d != "" {
		c.deprecated(d)
	}
	if c.kind.Custom != nil {
		c.warnDeprecated()
		c.custom()
		return
	}
	named := in.Name != "" && in.Verb != "list" && in.Verb != "watch" && in.Verb != "deletecollection"
	if c.kind.Namespaced && in.Namespace == "" {
		switch {
		case named || in.Sub != "":
			c.notFound()
			return
		case in.Verb != "list" && in.Verb != "watch":
			c.notAllowed()
			return
		}
	}
	if in.Sub != "" {
		c.warnDeprecated()
		c.subresource()
		return
	}
	if in.Verb == "create" && c.r.Method == http.MethodPost && in.Name != "" || in.Name == "" && (in.Verb == "update" || in.Verb == "patch") ||
		c.r.Method == http.MethodHead || in.Verb == "" || !c.kind.HasVerb(in.Verb) {
		c.notAllowed()
		return
	}
	if in.Verb != "deletecollection" { // Kubernetes warns nobody of these
		c.warnDeprecated()
	}
	if !c.negotiate(in.Verb == "list" || in.Verb == "watch") {
		return
	}
	if c.kind.Virtual {
		c.virtual()
		return
	}
	c.verb()
}

// warnDeprecated tells that the version is on its way out, where there is a route.
func (c *call) warnDeprecated() {
	if d := c.version.Deprecated; d != "" {
		c.warn(d)
	}
}

// verb does what is asked of an object or a collection.
func (c *call) verb() {
	switch c.info.Verb {
	case "get":
		c.get()
	case "list":
		c.list()
	case "watch":
		c.watch()
	case "create":
		c.create()
	case "update":
		c.update()
	case "patch":
		c.patch()
	case "delete":
		c.delete()
	case "deletecollection":
		c.deleteCollection()
	default:
		c.notAllowed()
	}
}

// negotiate finds the form of the answer.
func (c *call) negotiate(watchable bool) bool {
	want := request.Route{Watchable: watchable, Custom: c.kind.Custom != nil, Plain: c.kind.Virtual && c.info.Verb == "create"}
	out, err := c.s.accepted.Negotiate(c.r.Header.Get("Accept"), want)
	if err != nil {
		c.fail(err)
		return false
	}
	if out.Media == codec.Protobuf && out.As == "" && !codec.HasProtobuf(codec.New(c.kind, c.version)) {
		out.Media = codec.JSON
	}
	out.Pretty = out.Pretty || c.pretty()
	c.out = out
	return true
}

// pretty tells whether the client is a person (negotiation, isPrettyPrint).
func (c *call) pretty() bool {
	if v := c.query.Get("pretty"); v != "" {
		return v == "true" || v == "1" || v == "t" || v == "T" || v == "TRUE" || v == "True"
	}
	ua := c.r.UserAgent()
	return strings.HasPrefix(ua, "curl") || strings.HasPrefix(ua, "Wget") || strings.HasPrefix(ua, "Mozilla/5.0")
}

// req is the call as the engine wants it.
func (c *call) req() *objects.Request {
	r := &objects.Request{
		Kind: c.kind, Version: c.version, Namespace: c.info.Namespace, Name: c.info.Name,
		User: c.user, Agent: c.r.UserAgent(), Warn: c.warn,
		Answered: c.out.Media == codec.Protobuf && c.out.As == "" && codec.IsHub(c.version),
	}
	if c.audit != nil {
		r.Annotate = c.annotate
	}
	return r
}

func (c *call) warn(text string) {
	for _, w := range c.warnings {
		if w == text {
			return
		}
	}
	c.warnings = append(c.warnings, text)
}
