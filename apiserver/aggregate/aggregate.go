// Package aggregate hands API groups over to other servers: an APIService that
// names a Service makes this server a proxy for a group version. It follows
// APIServices, Services and EndpointSlices, keeps the condition Available as
// Kubernetes' aggregator does, proxies requests with the caller's name in the
// headers of a front proxy, and tells discovery and OpenAPI what the other servers
// have. The group versions of CustomResourceDefinitions are registered here too.
//
// The API server asks Route for the handler of a group version; where no APIService
// names a Service that is one atomic load.
package aggregate

import (
	"cmp"
	"context"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/telemetry"
)

// Store writes what the aggregator decides. It is the status' only writer, save for
// what a local APIService is born with.
type Store interface {
	// SetAvailable writes an APIService's condition, of which the time is filled in. A
	// missing object is no error; a conflict is one, and the aggregator looks again.
	SetAvailable(ctx context.Context, name string, c apiregistrationv1.APIServiceCondition) error
	Create(ctx context.Context, s *apiregistrationv1.APIService) error
	Update(ctx context.Context, s *apiregistrationv1.APIService) error
	Delete(ctx context.Context, name string) error
}

// Options make an Aggregator.
type Options struct {
	Clients *callout.Clients
	Reader  func() admission.Reader // nil until there is one
	// Discovery and OpenAPI are told about other servers' groups; nil: they are not.
	Discovery func([]discovery.Remote)
	OpenAPI   func([]openapi.Remote)
	Telemetry *telemetry.Telemetry
	Now       func() time.Time
}

// Aggregator is safe for concurrent use. Feeds and Route serve the API server; Run
// does the rest.
type Aggregator struct {
	opt     Options
	tel     *telemetry.Telemetry
	metrics *metrics

	told       []discovery.Remote // by Run alone
	toldHashes []string

	routes atomic.Pointer[map[schema.GroupVersion]*remote] // nil where there are none

	mu       sync.Mutex
	services map[string]*apiregistrationv1.APIService // all of them
	remotes  map[string]*remote                       // by the APIService's name
	custom   map[string]*crd
	changed  chan struct{}
}

// remote is an APIService that another server answers. All but what a worker has
// found is as the object said it when this was made.
type remote struct {
	object  *apiregistrationv1.APIService
	gv      schema.GroupVersion
	target  callout.Target
	wake    chan struct{}
	stop    context.CancelFunc // set when its worker runs
	current atomic.Pointer[found]
}

// found is what a remote's worker knows.
type found struct {
	available bool
	discovery discovery.Remote
	schemas   openapi.Remote
}

// New makes an Aggregator.
func New(o Options) (*Aggregator, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Telemetry == nil {
		o.Telemetry = telemetry.Discard()
	}
	a := &Aggregator{opt: o, tel: o.Telemetry.For("aggregator"), services: map[string]*apiregistrationv1.APIService{}, remotes: map[string]*remote{},
		custom: map[string]*crd{}, changed: make(chan struct{}, 1)}
	var err error
	a.metrics, err = newMetrics(o.Telemetry.Metrics)
	return a, err
}

// Resources are those that the aggregator follows by Apply.
var Resources = []schema.GroupResource{
	{Group: "apiregistration.k8s.io", Resource: "apiservices"},
	{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"},
	{Resource: "services"},
	{Group: "discovery.k8s.io", Resource: "endpointslices"},
}

// Apply takes a change in.
func (a *Aggregator) Apply(ev kinds.Event) {
	obj := ev.New
	if obj == nil {
		obj = ev.Old
	}
	switch o := obj.(type) {
	case *apiregistrationv1.APIService:
		a.applyService(o, ev.New == nil)
	case *corev1.Service:
		a.wake(o.Namespace, o.Name)
	case *discoveryv1.EndpointSlice:
		a.wake(o.Namespace, o.Labels[discoveryv1.LabelServiceName])
	default:
		a.applyCustom(obj, ev.New == nil)
	}
}

func (a *Aggregator) applyService(o *apiregistrationv1.APIService, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.tell()
	if gone {
		delete(a.services, o.Name)
	} else {
		a.services[o.Name] = o
	}
	was := a.remotes[o.Name]
	if !gone && was != nil && sameSpec(&was.object.Spec, &o.Spec) {
		if was.adopt(o) {
			was.look()
		}
		return
	}
	if was != nil && was.stop != nil {
		was.stop()
	}
	delete(a.remotes, o.Name)
	if !gone && o.Spec.Service != nil {
		r := newRemote(o)
		a.remotes[o.Name] = r
	}
	a.route()
}

func newRemote(o *apiregistrationv1.APIService) *remote {
	s := o.Spec.Service
	r := &remote{object: o, gv: schema.GroupVersion{Group: o.Spec.Group, Version: o.Spec.Version}, wake: make(chan struct{}, 1)}
	port := int32(443)
	if s.Port != nil {
		port = *s.Port
	}
	r.target = callout.Target{Service: &callout.Service{Namespace: s.Namespace, Name: s.Name, Port: port}, CABundle: o.Spec.CABundle, Insecure: o.Spec.InsecureSkipTLSVerify}
	r.current.Store(&found{discovery: discovery.Remote{Group: r.gv.Group, Version: r.gv.Version,
		GroupPriority: o.Spec.GroupPriorityMinimum, VersionPriority: o.Spec.VersionPriority}})
	r.adopt(o)
	return r
}

// adopt believes the object's condition: this server's worker has written it, or
// another server's, which counts until this one has looked.
func (r *remote) adopt(o *apiregistrationv1.APIService) (changed bool) {
	available := false
	for _, c := range o.Status.Conditions {
		if c.Type == apiregistrationv1.Available {
			available = c.Status == apiregistrationv1.ConditionTrue
		}
	}
	f := *r.current.Load()
	if f.available == available {
		return false
	}
	f.available = available
	r.current.Store(&f)
	return true
}

func sameSpec(a, b *apiregistrationv1.APIServiceSpec) bool {
	if a.Service == nil || b.Service == nil {
		return false
	}
	port := func(s *apiregistrationv1.ServiceReference) int32 {
		if s.Port == nil {
			return 443
		}
		return *s.Port
	}
	return a.Service.Namespace == b.Service.Namespace && a.Service.Name == b.Service.Name && port(a.Service) == port(b.Service) &&
		a.Group == b.Group && a.Version == b.Version && a.InsecureSkipTLSVerify == b.InsecureSkipTLSVerify && string(a.CABundle) == string(b.CABundle) &&
		a.GroupPriorityMinimum == b.GroupPriorityMinimum && a.VersionPriority == b.VersionPriority
}

// route makes the table that requests look at.
func (a *Aggregator) route() {
	if len(a.remotes) == 0 {
		a.routes.Store(nil)
		return
	}
	m := make(map[schema.GroupVersion]*remote, len(a.remotes))
	for _, r := range a.remotes {
		m[r.gv] = r
	}
	a.routes.Store(&m)
}

// tell wakes Run.
func (a *Aggregator) tell() {
	select {
	case a.changed <- struct{}{}:
	default: // it has been told
	}
}

// wake has the remotes looked at that a Service serves.
func (a *Aggregator) wake(namespace, name string) {
	routes := a.routes.Load()
	if routes == nil {
		return
	}
	for _, r := range *routes {
		if s := r.target.Service; s.Namespace == namespace && s.Name == name {
			r.look()
		}
	}
}

func (r *remote) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Route finds who answers a group version; nil: this server does.
func (a *Aggregator) Route(group, version string) http.Handler {
	routes := a.routes.Load()
	if routes == nil {
		return nil
	}
	r := (*routes)[schema.GroupVersion{Group: group, Version: version}]
	if r == nil {
		return nil
	}
	return &proxy{a, r}
}

// Run keeps conditions, discovery and registrations up to date until ctx ends.
func (a *Aggregator) Run(ctx context.Context, s Store) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	for {
		a.mu.Lock()
		for _, r := range a.remotes {
			if r.stop != nil {
				continue
			}
			var own context.Context
			own, r.stop = context.WithCancel(ctx)
			workers.Go(func() { a.work(own, s, r) })
		}
		a.mu.Unlock()
		a.publish()
		var again <-chan time.Time
		if a.register(ctx, s) {
			again = time.After(askSoonest)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		case <-again:
		}
	}
}

// publish tells discovery and OpenAPI what there is.
func (a *Aggregator) publish() {
	a.mu.Lock()
	var groups []discovery.Remote
	var sources []openapi.Remote
	for _, r := range a.remotes {
		f := r.current.Load()
		groups = append(groups, f.discovery)
		if f.available && f.schemas.Fetch != nil {
			sources = append(sources, f.schemas)
		}
	}
	a.mu.Unlock()
	byName := func(ag, av, bg, bv string) int { return cmp.Or(cmp.Compare(ag, bg), cmp.Compare(av, bv)) }
	slices.SortFunc(groups, func(x, y discovery.Remote) int { return byName(x.Group, x.Version, y.Group, y.Version) })
	slices.SortFunc(sources, func(x, y openapi.Remote) int { return byName(x.Group, x.Version, y.Group, y.Version) })
	// What has not changed is not told: the documents would be made anew.
	if a.opt.Discovery != nil && !reflect.DeepEqual(groups, a.told) {
		a.told = groups
		a.opt.Discovery(groups)
	}
	var hashes []string
	for i := range sources {
		hashes = append(hashes, sources[i].Group+"/"+sources[i].Version+" "+sources[i].Hash)
	}
	if a.opt.OpenAPI != nil && !slices.Equal(hashes, a.toldHashes) {
		a.toldHashes = hashes
		a.opt.OpenAPI(sources)
	}
}
