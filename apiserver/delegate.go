package apiserver

import (
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/streaming/pkg/httpstream"

	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/auth"
)

// delegate hands the request to the server that answers its group version; false:
// that is this one.
func (c *call) delegate() bool {
	rest, ok := strings.CutPrefix(c.info.Path, "/apis/")
	if !ok {
		return false
	}
	group, rest, _ := strings.Cut(rest, "/")
	version, _, _ := strings.Cut(rest, "/")
	if version == "" {
		return false // the group's document is this server's
	}
	h := c.s.opt.Delegate(group, version)
	if h == nil {
		return false
	}
	// The other server has seats of its own.
	c.pass.Leave()
	r := c.r.WithContext(auth.WithUser(c.ctx(), c.user))
	if httpstream.IsUpgradeRequest(c.r) {
		h.ServeHTTP(c.w, r)
	} else {
		h.ServeHTTP(coded{c.w, c}, r)
	}
	return true
}

// Registrations writes what the aggregator decides about APIServices.
func (s *Server) Registrations() *Registrations { return &Registrations{s} }

// Registrations implements aggregate.Store.
type Registrations struct{ s *Server }

var apiServices = schema.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}

func (r *Registrations) request(name, sub string) *objects.Request {
	k, ok := r.s.table.ByResource(apiServices)
	if !ok {
		return nil
	}
	return &objects.Request{Kind: k, Name: name, Sub: sub, User: systemUser, Agent: systemAgent}
}

// SetAvailable implements aggregate.Store.
func (r *Registrations) SetAvailable(ctx context.Context, name string, c apiregistrationv1.APIServiceCondition) error {
	if err := r.s.cache.Fresh(ctx); err != nil {
		return err
	}
	obj, ok := cacheReader{r.s}.Object(apiServices, "", name)
	if !ok {
		return nil
	}
	have := obj.(*apiregistrationv1.APIService).DeepCopy()
	c.LastTransitionTime = metav1.NewTime(r.s.opt.Now()).Rfc3339Copy()
	found := false
	for i := range have.Status.Conditions {
		x := &have.Status.Conditions[i]
		if x.Type != c.Type {
			continue
		}
		found = true
		if x.Status == c.Status {
			if x.Reason == c.Reason && x.Message == c.Message {
				return nil
			}
			c.LastTransitionTime = x.LastTransitionTime
		}
		*x = c
	}
	if !found {
		have.Status.Conditions = append(have.Status.Conditions, c)
	}
	_, _, err := r.s.engine.Update(ctx, r.request(name, "status"), have, nil)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Create implements aggregate.Store.
func (r *Registrations) Create(ctx context.Context, o *apiregistrationv1.APIService) error {
	_, err := r.s.engine.Create(ctx, r.request(o.Name, ""), o, nil)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Update implements aggregate.Store.
func (r *Registrations) Update(ctx context.Context, o *apiregistrationv1.APIService) error {
	_, _, err := r.s.engine.Update(ctx, r.request(o.Name, ""), o, nil)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Delete implements aggregate.Store.
func (r *Registrations) Delete(ctx context.Context, name string) error {
	_, err := r.s.engine.Delete(ctx, r.request(name, ""), nil)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
