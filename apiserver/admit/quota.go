package admit

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/quota"
)

// ResourceQuota refuses what exceeds a quota of its namespace, and charges the
// others: the quota's new use is stored in the object's own transaction, so that
// use is exact however many write at once and whatever fails. It has to be the last
// validator, since it charges for what nobody refuses any more.
type ResourceQuota struct {
	reader
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	mu sync.Mutex
	// turns holds a lock for each namespace in which somebody charges: writers take
	// turns, where they would only collide in the store.
	turns map[string]*turn
}

type turn struct {
	free    chan struct{} // holds a token while nobody charges
	waiting int           // users of this turn, the one who holds it included
}

// Name implements admission.Plugin.
func (*ResourceQuota) Name() string { return "ResourceQuota" }

// Validate implements admission.Validator.
func (p *ResourceQuota) Validate(ctx context.Context, r *admission.Request) error {
	if r.Namespace == "" || r.Kind.Virtual || r.Operation != admission.Create && r.Operation != admission.Update || r.Kind.GroupResource() == namespaces {
		return nil
	}
	w := quota.Write{Resource: r.Kind.GroupResource(), Subresource: r.Subresource, Object: r.Object, Old: r.Old}
	if !w.Handles() || len(p.quotas(r.Namespace)) == 0 {
		return nil
	}
	if err := p.take(ctx, r.Namespace); err != nil {
		return err
	}
	r.Finally(func() { p.give(r.Namespace) })
	charges, err := w.Check(p.quotas(r.Namespace), p.now())
	if err != nil {
		return forbid(r, err)
	}
	for _, c := range charges {
		next := c.Quota.DeepCopy()
		next.Status.Used = c.Used
		r.Together = append(r.Together, admission.Together{Resource: resourceQuotas, Old: c.Quota, New: next})
	}
	return nil
}

func (p *ResourceQuota) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

func (p *ResourceQuota) quotas(namespace string) []*corev1.ResourceQuota {
	var out []*corev1.ResourceQuota
	p.Each(resourceQuotas, namespace, func(o kinds.Object) bool {
		if q, ok := o.(*corev1.ResourceQuota); ok {
			out = append(out, q)
		}
		return true
	})
	return out
}

// take waits for the namespace's turn.
func (p *ResourceQuota) take(ctx context.Context, namespace string) error {
	p.mu.Lock()
	t := p.turns[namespace]
	if t == nil {
		if p.turns == nil {
			p.turns = map[string]*turn{}
		}
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		p.turns[namespace] = t
	}
	t.waiting++
	p.mu.Unlock()
	select {
	case <-t.free:
		return nil
	case <-ctx.Done():
		p.leave(namespace, t)
		return errors.New("resource quota evaluation timed out")
	}
}

func (p *ResourceQuota) give(namespace string) {
	p.mu.Lock()
	t := p.turns[namespace]
	p.mu.Unlock()
	t.free <- struct{}{}
	p.leave(namespace, t)
}

// leave forgets a turn that nobody waits for.
func (p *ResourceQuota) leave(namespace string, t *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.waiting--; t.waiting == 0 {
		delete(p.turns, namespace)
	}
}
