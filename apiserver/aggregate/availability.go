package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/kinds"
)

var (
	serviceResource = schema.GroupResource{Resource: "services"}
	sliceResource   = schema.GroupResource{Group: "discovery.k8s.io", Resource: "endpointslices"}
)

// judge looks at the objects alone (kube-aggregator, remote_available_controller):
// ok means that the server has to be asked.
func judge(s *apiregistrationv1.APIService, r admission.Reader) (c apiregistrationv1.APIServiceCondition, ok bool) {
	ref := s.Spec.Service
	bad := func(reason, format string, args ...any) (apiregistrationv1.APIServiceCondition, bool) {
		return apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...)}, false
	}
	obj, found := r.Object(serviceResource, ref.Namespace, ref.Name)
	if !found {
		return bad("ServiceNotFound", "service/%s in %q is not present", ref.Name, ref.Namespace)
	}
	svc := obj.(*corev1.Service)
	if svc.Spec.Type != corev1.ServiceTypeClusterIP {
		return c, true
	}
	number := int32(443)
	if ref.Port != nil {
		number = *ref.Port
	}
	name, listens := "", false
	for _, p := range svc.Spec.Ports {
		if p.Port == number {
			name, listens = p.Name, true
			break
		}
	}
	if !listens {
		return bad("ServicePortError", "service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, number)
	}
	slices, ready := 0, false
	r.Each(sliceResource, ref.Namespace, func(o kinds.Object) bool {
		if e, is := o.(*discoveryv1.EndpointSlice); is && e.Labels[discoveryv1.LabelServiceName] == ref.Name {
			slices++
			ready = ready || serves(e, name)
		}
		return true
	})
	switch {
	case slices == 0:
		return bad("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", ref.Name, ref.Namespace)
	case !ready:
		return bad("MissingEndpoints", "endpointslices for service/%s in %q have no addresses with port name %q", ref.Name, ref.Namespace, name)
	}
	return c, true
}

// serves tells whether a slice has a ready endpoint and the port.
func serves(e *discoveryv1.EndpointSlice, port string) bool {
	ready := false
	for i := range e.Endpoints {
		ready = ready || e.Endpoints[i].Conditions.Ready == nil || *e.Endpoints[i].Conditions.Ready
	}
	for _, p := range e.Ports {
		if ready && p.Name != nil && *p.Name == port && p.Port != nil {
			return true
		}
	}
	return false
}

// Times of asking a server.
const (
	askTimeout = 5 * time.Second
	askEvery   = 30 * time.Second
	askSoonest = 250 * time.Millisecond // after a failure; doubles up to askEvery
	askLimit   = 4 << 20                // bytes of an answer
)

// ask fetches the discovery document of the group version, which every extension
// server serves.
func (a *Aggregator) ask(ctx context.Context, r *remote) ([]metav1.APIResource, error) {
	path := "/apis/" + r.gv.Group + "/" + r.gv.Version
	// The address that is told is the one by which the cluster reaches the Service.
	shown := &callout.Service{Namespace: r.target.Service.Namespace, Name: r.target.Service.Name, Port: r.target.Service.Port}
	host := shown.ServerName()
	if obj, ok := a.opt.Reader().Object(serviceResource, shown.Namespace, shown.Name); ok {
		if ip := obj.(*corev1.Service).Spec.ClusterIP; ip != "" && ip != corev1.ClusterIPNone {
			host = ip
		}
	}
	told := "https://" + net.JoinHostPort(host, strconv.Itoa(int(shown.Port))) + path
	resp, err := a.fetch(ctx, r, path, "application/json")
	if err != nil {
		real := "https://" + net.JoinHostPort(shown.ServerName(), strconv.Itoa(int(shown.Port))) + path
		return nil, fmt.Errorf("failing or missing response from %s: %s", told, strings.ReplaceAll(err.Error(), real, told))
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode >= 300 {
		return nil, fmt.Errorf("failing or missing response from %s: bad status from %s: %d", told, told, resp.StatusCode)
	}
	body, err := callout.ReadLimited(resp.Body, askLimit)
	if err != nil {
		return nil, fmt.Errorf("failing or missing response from %s: %w", told, err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(body, &list); err != nil {
		// It answers: what it says is told nobody.
		a.tel.Log.Warn("an extension server's discovery document cannot be read", "apiService", r.object.Name, "err", err)
	}
	return list.APIResources, nil
}

// fetch asks the server for a path, as the aggregator itself.
func (a *Aggregator) fetch(ctx context.Context, r *remote, path, accept string) (*http.Response, error) {
	client, base, err := a.opt.Clients.Client(r.target)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+base.Host+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	transport.SetAuthProxyHeaders(req, "system:kube-aggregator", "", []string{"system:masters"}, nil)
	return client.Do(req)
}

// schemas is where the server describes its kinds, as far as it does.
func (a *Aggregator) schemas(ctx context.Context, r *remote) openapi.Remote {
	out := openapi.Remote{Group: r.gv.Group, Version: r.gv.Version, Fetch: func(ctx context.Context, path, accept string) (*http.Response, error) {
		return a.fetch(ctx, r, path, accept)
	}}
	resp, err := a.fetch(ctx, r, "/openapi/v3", "application/json")
	if err != nil {
		return out
	}
	defer resp.Body.Close()
	body, err := callout.ReadLimited(resp.Body, askLimit)
	if err != nil || resp.StatusCode != http.StatusOK {
		return out
	}
	var index struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	if json.Unmarshal(body, &index) != nil {
		return out // it speaks another language there: kinds without a description
	}
	if u, err := url.Parse(index.Paths["apis/"+r.gv.Group+"/"+r.gv.Version].URL); err == nil {
		out.Hash = u.Query().Get("hash")
	}
	return out
}

// work keeps one remote's condition and discovery until ctx ends.
func (a *Aggregator) work(ctx context.Context, s Store, r *remote) {
	defer a.metrics.unavailable.DeleteLabelValues(r.object.Name)
	pause := askSoonest
	for {
		c := a.check(ctx, r)
		if ctx.Err() != nil {
			return
		}
		wait := askEvery
		err := s.SetAvailable(ctx, r.object.Name, c)
		if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) {
			a.tel.Log.Error("write the condition of an APIService", "apiService", r.object.Name, "err", err)
		}
		if c.Status == apiregistrationv1.ConditionTrue && err == nil {
			pause = askSoonest
		} else {
			wait = pause
			pause = min(2*pause, askEvery)
		}
		a.tell()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-r.wake:
			t.Stop()
			pause = askSoonest
		case <-t.C:
		}
	}
}

// check looks at the objects and asks the server.
func (a *Aggregator) check(ctx context.Context, r *remote) apiregistrationv1.APIServiceCondition {
	c, ok := judge(r.object, a.opt.Reader())
	f := *r.current.Load()
	f.discovery.Stale = true
	if ok {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		resources, err := a.ask(asking, r)
		c = apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Passed", Message: "all checks passed"}
		if err != nil {
			c.Status, c.Reason, c.Message = apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck", err.Error()
		} else {
			f.discovery.Resources, f.discovery.Stale = resources, false
			f.schemas = a.schemas(asking, r)
		}
	}
	f.available = c.Status == apiregistrationv1.ConditionTrue
	r.current.Store(&f)
	a.metrics.note(r.object.Name, c)
	return c
}
