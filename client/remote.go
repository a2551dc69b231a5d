package client

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// KindSource lists the kinds that a server stores: what the garbage collector and
// the namespace controller have to walk through. *InProcess and *Remote are one.
type KindSource interface {
	Kinds(ctx context.Context) ([]Served, error)
}

// Served is a kind in its preferred version.
type Served struct {
	schema.GroupVersionKind
	Resource   string
	Namespaced bool
	Verbs      metav1.Verbs
}

// Has tells whether the kind answers all verbs.
func (s Served) Has(verbs ...string) bool {
	for _, v := range verbs {
		found := false
		for _, have := range s.Verbs {
			found = found || have == v
		}
		if !found {
			return false
		}
	}
	return true
}

// Remote is any Kubernetes API over HTTP, through controller-runtime's own client
// and cache. Reads by Client go to the server; reads by Cache come from informers.
type Remote struct {
	Client    crclient.WithWatch
	Cache     cache.Cache
	discovery discovery.DiscoveryInterface
}

// NewRemote connects to what cfg names.
func NewRemote(cfg *rest.Config, scheme *runtime.Scheme) (*Remote, error) {
	http, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("client: connect to %s: %w", cfg.Host, err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(cfg, http)
	if err != nil {
		return nil, fmt.Errorf("client: discover the kinds of %s: %w", cfg.Host, err)
	}
	c, err := crclient.NewWithWatch(cfg, crclient.Options{HTTPClient: http, Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("client: connect to %s: %w", cfg.Host, err)
	}
	ch, err := cache.New(cfg, cache.Options{HTTPClient: http, Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("client: make a cache of %s: %w", cfg.Host, err)
	}
	d, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, http)
	if err != nil {
		return nil, fmt.Errorf("client: discover the kinds of %s: %w", cfg.Host, err)
	}
	return &Remote{Client: c, Cache: ch, discovery: d}, nil
}

// Kinds asks the server's discovery. Groups that do not answer are left out, and
// named in the error beside what was found.
func (r *Remote) Kinds(context.Context) ([]Served, error) {
	lists, err := discovery.ServerPreferredResources(r.discovery)
	var out []Served
	for _, l := range lists {
		gv, perr := schema.ParseGroupVersion(l.GroupVersion)
		if perr != nil {
			return nil, fmt.Errorf("client: discovery names the group %q: %w", l.GroupVersion, perr)
		}
		for _, res := range l.APIResources {
			s := Served{GroupVersionKind: gv.WithKind(res.Kind), Resource: res.Name, Namespaced: res.Namespaced, Verbs: res.Verbs}
			if s.Has("get") && s.Has("list") {
				out = append(out, s)
			}
		}
	}
	return out, err
}
