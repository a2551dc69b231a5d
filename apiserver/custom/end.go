package custom

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"skiff.dev/skiff/apiserver/cache"
	"skiff.dev/skiff/apiserver/objects"
)

// patience is how long the objects of a definition may take to go before its status
// says that they do not (controller/finalizer).
const patience = time.Minute

// end deletes the objects of a definition that is being deleted, waits until they
// are gone, and lets the definition go (controller/finalizer, CRDFinalizer).
func (r *Registry) end(ctx context.Context, name string) {
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		err := r.endOnce(ctx, name)
		if err == nil {
			return
		}
		r.opt.Tel.Log.Warn("a custom resource definition cannot be deleted yet", "definition", name, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, patience)
	}
}

func terminating(status apiextensionsv1.ConditionStatus, reason, message string) condition {
	return condition{Type: apiextensionsv1.Terminating, Status: status, Reason: reason, Message: message}
}

func (r *Registry) endOnce(ctx context.Context, name string) error {
	c, err := r.mark(ctx, name, terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionInProgress", "CustomResource deletion is in progress"))
	if err != nil || c == nil {
		return err
	}
	last := terminating(apiextensionsv1.ConditionFalse, "NeverEstablished", "resource was never established")
	if apihelpers.IsCRDConditionTrue(c, apiextensionsv1.Established) {
		if err := r.empty(ctx, name); err != nil {
			return err
		}
		last = terminating(apiextensionsv1.ConditionFalse, "InstanceDeletionCompleted", "removed all instances")
	}
	_, err = r.update(ctx, name, func(c *crd) {
		apihelpers.SetCRDCondition(c, last)
		apihelpers.CRDRemoveFinalizer(c, apiextensionsv1.CustomResourceCleanupFinalizer)
	})
	return err
}

// mark sets a condition.
func (r *Registry) mark(ctx context.Context, name string, cond condition) (*crd, error) {
	return r.update(ctx, name, func(c *crd) { apihelpers.SetCRDCondition(c, cond) })
}

// update changes a definition through its status; nil: it is gone.
func (r *Registry) update(ctx context.Context, name string, change func(*crd)) (*crd, error) {
	for {
		c, err := r.definition(name)
		if err != nil || c == nil {
			return nil, err
		}
		next := c.DeepCopy()
		change(next)
		req := &objects.Request{Kind: r.kind, Name: name, Sub: "status", User: r.opt.User, Agent: r.opt.Agent}
		_, _, err = r.opt.Engine.Update(ctx, req, next, nil)
		switch {
		case err == nil:
			return next, nil
		case isConflict(err):
			if err := r.opt.Cache.Fresh(ctx); err != nil {
				return nil, err
			}
		case isGone(err):
			return nil, nil
		default:
			return nil, err
		}
	}
}

// empty deletes all objects of a definition and waits until there are none.
func (r *Registry) empty(ctx context.Context, name string) error {
	k := r.storedRow(name)
	if k == nil {
		return nil
	}
	kc := r.opt.Cache.Of(k)
	if kc == nil {
		return nil
	}
	snap, cursor := kc.WatchSnapshot()
	namespaces := map[string]bool{}
	snap.Ascend("", "", func(e *cache.Entry) bool {
		namespaces[e.Object.GetNamespace()] = true
		return true
	})
	for ns := range namespaces {
		req := &objects.Request{Kind: k, Namespace: ns, User: r.opt.User, Agent: r.opt.Agent}
		if _, _, err := r.opt.Engine.DeleteCollection(ctx, req, objects.BySelector(nil), 0, nil); err != nil {
			text := fmt.Sprintf("could not issue all deletes: %v", err)
			if _, err := r.mark(ctx, name, terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionFailed", text)); err != nil {
				return err
			}
			return err
		}
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for kc.Snapshot().Len() > 0 {
		evs, wake, _, err := cursor.Poll(nil)
		if err != nil {
			_, cursor = kc.WatchSnapshot()
			continue
		}
		if len(evs) > 0 || wake == nil {
			continue
		}
		select {
		case <-wake:
		case <-late.C:
			text := fmt.Sprintf("could not confirm zero CustomResources remaining: %v", context.DeadlineExceeded)
			if _, err := r.mark(ctx, name, terminating(apiextensionsv1.ConditionTrue, "InstanceDeletionCheck", text)); err != nil {
				return err
			}
		case <-kc.Gone():
			return fmt.Errorf("custom: %s is served in another form now", name)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
