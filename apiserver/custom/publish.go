package custom

import (
	"context"
	"errors"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/objects"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/kinds"
	definitions "skiff.dev/skiff/kinds/apiextensions"
)

// sync brings one definition's kinds, status and end forward. more are definitions
// that may get names now.
func (r *Registry) sync(name string) (more []string, changed bool) {
	c, err := r.slimOf(name)
	if err != nil {
		r.opt.Tel.Log.Error("a custom resource definition cannot be read", "definition", name, "err", err)
		return nil, false
	}
	if c == nil {
		if s := r.served[name]; s != nil {
			more = r.others(name, s.group) // its names are free
		}
		changed, _ = r.offer(r.run, name, nil)
		return more, changed
	}
	next := c.DeepCopy()
	decide(next, r.taken(c.Spec.Group))
	if s := r.served[name]; s == nil || s.judged != c.Generation {
		whole, err := r.definition(name)
		if err != nil {
			r.opt.Tel.Log.Error("a custom resource definition cannot be read", "definition", name, "err", err)
			return nil, false
		}
		if whole == nil || whole.Generation != c.Generation {
			return nil, false // it has changed, which brings it here again
		}
		whole.Status = next.Status
		judgeStructure(whole)
		next.Status = whole.Status
	}
	if changed, err = r.offer(r.run, name, next); err != nil {
		return nil, changed
	}
	if changed {
		// Who sees that it is established finds it.
		r.publish()
	}
	if !equality.Semantic.DeepEqual(c.Status, next.Status) {
		if !equality.Semantic.DeepEqual(c.Status.AcceptedNames, next.Status.AcceptedNames) {
			more = r.others(name, c.Spec.Group)
		}
		if err := r.writeStatus(r.run, next); err != nil {
			r.opt.Tel.Log.Error("write the status of a custom resource definition", "definition", name, "err", err)
		}
		return more, changed
	}
	if s := r.served[name]; s != nil {
		s.judged = c.Generation
	}
	if s := r.served[name]; c.DeletionTimestamp != nil && apihelpers.CRDHasFinalizer(c, apiextensionsv1.CustomResourceCleanupFinalizer) && s != nil && s.ending == nil {
		ctx, cancel := context.WithCancel(r.run)
		s.ending = cancel
		r.closed.Go(func() { r.end(ctx, name) })
	}
	return more, changed
}

// taken are the names that definitions of a group have.
func (r *Registry) taken(group string) *names {
	out := &names{}
	r.defs.Snapshot().Ascend("", "", func(e *cache.Entry) bool {
		if s := r.served[e.Key]; s != nil && s.group != group {
			return true
		}
		if c, err := r.slim(e); err == nil && c.Spec.Group == group {
			out.add(c)
		}
		return true
	})
	return out
}

// others are the definitions of a group that wait for names.
func (r *Registry) others(name, group string) []string {
	var out []string
	for n, s := range r.served {
		if n == name || s.group != group {
			continue
		}
		if c, err := r.slimOf(n); err == nil && c != nil && !equality.Semantic.DeepEqual(c.Spec.Names, c.Status.AcceptedNames) {
			out = append(out, n)
		}
	}
	return out
}

// leanKind is the kind of the definitions for writes that leave schemas alone: they
// are neither unpacked nor packed again.
func (r *Registry) leanKind() *kinds.Kind {
	k := *r.kind
	k.FromCache = func(obj kinds.Object) (kinds.Object, error) {
		if p, ok := obj.(*definitions.Packed); ok {
			return p.Slim(), nil
		}
		return obj, nil
	}
	k.ToCache = func(obj kinds.Object) (kinds.Object, error) {
		c, ok := obj.(*crd)
		if !ok {
			return obj, nil
		}
		// Where this is another state than the one that c comes from, the store refuses c.
		if e := r.defs.Get("", c.Name); e != nil {
			if p, ok := e.Object.(*definitions.Packed); ok {
				return p.With(c), nil
			}
		}
		return nil, fmt.Errorf("custom: the definition %s has no schemas to keep", c.Name)
	}
	return &k
}

// writeStatus stores c's status unless the definition has moved on, which brings it
// here again.
func (r *Registry) writeStatus(ctx context.Context, next *crd) error {
	c, err := r.slimOf(next.Name)
	if err != nil || c == nil || c.ResourceVersion != next.ResourceVersion {
		return err
	}
	c.Status = next.Status
	req := &objects.Request{Kind: r.lean, Name: c.Name, Sub: "status", User: r.opt.User, Agent: r.opt.Agent}
	_, _, err = r.opt.Engine.Update(ctx, req, c, &metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// publish tells everybody what is served now.
func (r *Registry) publish() {
	x := &index{byGVR: map[schema.GroupVersionResource]*kinds.Kind{}, byGVK: map[schema.GroupVersionKind]*kinds.Kind{}, byResource: map[schema.GroupResource]*kinds.Kind{}}
	var rows []*kinds.Kind
	var docs []openapi.Extra
	for name, s := range r.served {
		d := s.def
		if d == nil {
			continue
		}
		x.byResource[d.stored.GroupResource()] = d.stored
		preferred := d.stored
		for i, k := range d.rows {
			gv := schema.GroupVersion{Group: k.Group, Version: k.Version}
			x.byGVR[gv.WithResource(k.Resource)], x.byGVK[gv.WithKind(k.Kind)] = k, k
			if i == 0 && x.byGVK[preferred.GVK()] == nil {
				preferred = k
			}
			if k == d.stored {
				preferred = k
			}
			if !s.established {
				continue
			}
			shown := k
			if d.terminating.Load() {
				c := *k
				c.Verbs = lastVerbs
				shown = &c
			}
			rows = append(rows, shown)
			docs = append(docs, openapi.Extra{Kind: k, Digest: fmt.Sprintf("%s %s %d", name, d.uid, s.generation),
				Schema: d.describer(k)})
		}
		if len(d.rows) > 0 {
			x.preferred = append(x.preferred, preferred)
		}
	}
	r.index.Store(x)
	if r.opt.Changed != nil {
		r.opt.Changed(rows, docs)
	}
}

// Trim forgets what was compiled and is not used.
func (r *Registry) Trim() {
	for _, k := range r.index.Load().byResource {
		if k.Custom != nil {
			k.Custom.Trim()
		}
	}
}
