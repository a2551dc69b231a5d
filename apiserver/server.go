package apiserver

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/alloc"
	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/custom"
	"skiff.dev/skiff/apiserver/gate"
	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/apiserver/ownership"
	"skiff.dev/skiff/apiserver/request"
	"skiff.dev/skiff/auth/authn"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/telemetry"
)

var serviceResource = schema.GroupResource{Resource: "services"}

// Server is one API server. It holds no listener: Handler serves HTTP,
// InProcess callers of this process.
type Server struct {
	started time.Time
	opt     Options
	tel     *telemetry.Telemetry
	table   *kinds.Table
	cache   *cache.Cache
	engine  *objects.Engine
	custom  *custom.Registry

	metrics *metrics
	lasting *lastingMetrics
	// gate lets requests in by priority and fairness; without it (nil), limits bound
	// their number.
	gate   *gate.Gate
	limits *gate.Limits
	sizes  sizes
	// impersonator is nil where everybody may do everything.
	impersonator *authn.Impersonator

	accepted request.Accepted

	stop      context.CancelFunc
	closing   chan struct{}
	done      chan struct{}
	peers     peers
	peersDone chan struct{}
	// flowDone is closed when nothing follows the gate's configuration any more.
	flowDone chan struct{}
}

// New loads the store into the cache and makes what every cluster has: its first
// namespaces, priority classes and the kubernetes service. ctx bounds the start
// only.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Store == nil || o.Table == nil || o.Scheme == nil {
		return nil, errors.New("apiserver: Store, Table and Scheme are required")
	}
	o.fill()
	s := &Server{
		started: o.Now(), opt: o, tel: o.Telemetry.For("apiserver"), table: o.Table,
		closing: make(chan struct{}), done: make(chan struct{}), flowDone: make(chan struct{}), peersDone: make(chan struct{}),
		peers: peers{store: o.Store, now: o.Now},
	}
	if o.Authorizer != nil {
		s.impersonator = authn.NewImpersonator(o.Authorizer)
	}
	var err error
	if s.metrics, err = newMetrics(s.tel); err != nil {
		return nil, err
	}
	if s.lasting, err = newLastingMetrics(s.tel.Metrics); err != nil {
		return nil, err
	}
	if err := s.makeGate(); err != nil {
		return nil, err
	}
	c, err := cache.New(ctx, o.Store, o.Table.All(), s.tel)
	if err != nil {
		return nil, err
	}
	s.cache = c
	for _, f := range o.Feeds {
		for _, gr := range f.Resources {
			if k, ok := o.Table.ByResource(gr); ok && c.Of(k) != nil {
				c.Of(k).Feed(f.Apply)
			}
		}
	}
	if s.gate != nil {
		for _, gr := range flowKinds {
			if k, ok := o.Table.ByResource(gr); ok && c.Of(k) != nil {
				c.Of(k).Feed(s.gate.Apply)
			}
		}
	}
	reader := cacheReader{s}
	chain := append(admission.Chain{&lifecycle{reader}}, o.Admission...)
	owners := ownership.New(o.Scheme, s.kindByGVK)
	for _, p := range chain {
		if n, ok := p.(admission.NeedsReader); ok {
			n.SetReader(reader)
		}
		if n, ok := p.(admission.NeedsTypes); ok {
			n.SetTypes(owners.Types)
		}
		if n, ok := p.(admission.NeedsKinds); ok {
			n.SetKinds(s.kindByGVK)
		}
	}
	services, err := alloc.NewServices(o.ServiceCIDR, o.NodePortRange[0], o.NodePortRange[1])
	if err != nil {
		c.Close()
		return nil, err
	}
	// The registry hooks into the engine, and writes through it.
	registry := &registryHook{}
	hooks := map[schema.GroupResource]objects.Hook{serviceResource: services, custom.Resource: registry}
	if k, ok := o.Table.ByResource(serviceResource); ok && c.Of(k) != nil {
		c.Of(k).Feed(services.Apply)
		if err := s.mendReservations(ctx, services, c.Of(k)); err != nil {
			c.Close()
			return nil, err
		}
	}
	s.engine = objects.New(objects.Config{
		Store: o.Store, Cache: c, Admission: chain, Owners: owners,
		Authorizer: o.Authorizer, Now: o.Now, Hooks: hooks,
	})
	s.custom = custom.New(custom.Options{
		Table: o.Table, Cache: c, Engine: s.engine, Hooks: o.Callouts, User: systemUser, Agent: systemAgent,
		Changed: s.kindsChanged, Tel: s.tel,
	})
	registry.Registry = s.custom
	if err := s.custom.Start(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if err := s.bootstrap(ctx, services.First()); err != nil {
		s.custom.Close()
		c.Close()
		return nil, err
	}
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	if err := s.tel.Metrics.Register(newObjectCounts(s)); err != nil {
		s.tel.Log.Error("count objects for metrics", "err", err)
	}
	go s.maintain(run)
	go s.meetPeers(run)
	if s.gate != nil {
		s.gate.Digest()
		go s.maintainFlow(run)
	} else {
		close(s.flowDone)
	}
	return s, nil
}

// Close ends the server's own work. Requests under way may fail; the store stays
// open.
func (s *Server) Close() {
	s.stop()
	close(s.closing)
	<-s.done
	s.custom.Close()
	<-s.flowDone
	<-s.peersDone
	s.cache.Close()
}

// registryHook is the registry of custom kinds, which is made after the engine that
// it hooks into.
type registryHook struct{ *custom.Registry }

// kindsChanged tells discovery and OpenAPI which custom kinds there are.
func (s *Server) kindsChanged(rows []*kinds.Kind, docs []openapi.Extra) {
	if s.opt.Discovery != nil {
		s.opt.Discovery.SetExtra(rows)
	}
	if s.opt.OpenAPI != nil {
		s.opt.OpenAPI.SetExtra(docs)
	}
}

// freshTimeout bounds the wait for what another server may have written.
const freshTimeout = 5 * time.Second

// cacheReader shows the cache to admission plugins.
type cacheReader struct{ s *Server }

func (r cacheReader) Object(gr schema.GroupResource, namespace, name string) (kinds.Object, bool) {
	kc := r.of(gr)
	if kc == nil {
		return nil, false
	}
	e := kc.Get(namespace, name)
	if e == nil && r.s.cache.Shared() {
		// Another server may just have made it, and its client comes here next
		// (admission/namespace/lifecycle looks again in the same way).
		ctx, cancel := context.WithTimeout(context.Background(), freshTimeout)
		defer cancel()
		if r.s.cache.Fresh(ctx) == nil {
			e = kc.Get(namespace, name)
		}
	}
	if e == nil {
		return nil, false
	}
	return r.shown(kc, e)
}

// shown is an entry's object as its kind knows it.
func (r cacheReader) shown(kc *cache.Kind, e *cache.Entry) (kinds.Object, bool) {
	obj, err := formOf(kc.Kind, e.Object)
	if err != nil {
		r.s.tel.Log.Error("an object of the cache cannot be shown", "resource", kc.Resource, "object", e.Key, "err", err)
		return nil, false
	}
	return obj, true
}

func (r cacheReader) Each(gr schema.GroupResource, namespace string, f func(kinds.Object) bool) {
	kc := r.of(gr)
	if kc == nil {
		return
	}
	kc.Snapshot().Ascend(namespace, "", func(e *cache.Entry) bool {
		obj, ok := r.shown(kc, e)
		return !ok || f(obj)
	})
}

func (r cacheReader) of(gr schema.GroupResource) *cache.Kind {
	k, ok := r.s.kindByResource(gr)
	if !ok {
		return nil
	}
	return r.s.cache.Of(k)
}

// Reader shows the server's objects to components that need no API request:
// authentication, RBAC.
func (s *Server) Reader() admission.Reader { return cacheReader{s} }
