package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	math "k8s.io/apiserver/pkg/quota/v1"

	"skiff.dev/skiff/kinds"
)

// Write is a creation (Old is nil) or an update about to be stored.
type Write struct {
	Resource    schema.GroupResource
	Subresource string
	Object, Old kinds.Object
}

// Handles tells whether quotas could care about the write at all.
func (w *Write) Handles() bool {
	r := of(w.Resource)
	if r == nil || w.Object == nil {
		return false
	}
	if r.handles != nil {
		return r.handles(w.Subresource, w.Object, w.Old)
	}
	return w.Subresource == "" && w.Old == nil
}

// Charge is a quota and what it will have used once the write is stored.
type Charge struct {
	Quota *corev1.ResourceQuota
	Used  corev1.ResourceList
}

// Check judges the write by the quotas of its namespace. It returns the quotas
// whose use changes; an error refuses the write, in Kubernetes' words
// (plugin/resourcequota, CheckRequest). The quotas are left alone.
func (w *Write) Check(quotas []*corev1.ResourceQuota, now time.Time) ([]Charge, error) {
	r := of(w.Resource)
	var falls []*corev1.ResourceQuota
	for _, q := range quotas {
		in, err := r.matches(q, q.Status.Hard, w.Object)
		if err != nil {
			return nil, err
		}
		if !in {
			continue
		}
		names := r.matching(q.Status.Hard)
		if r.requires != nil {
			if err := r.requires(names, w.Object); err != nil {
				return nil, fmt.Errorf("failed quota: %s: %w", q.Name, err)
			}
		}
		for _, n := range names {
			if _, known := q.Status.Used[n]; !known {
				return nil, fmt.Errorf("status unknown for quota: %s, resources: %s", q.Name, list(names))
			}
		}
		falls = append(falls, q)
	}
	if len(falls) == 0 {
		return nil, nil
	}
	uses := r.uses(w.Object, now)
	if negative := math.IsNegative(uses); len(negative) > 0 {
		return nil, fmt.Errorf("quota usage is negative for resource(s): %s", list(negative))
	}
	var more corev1.ResourceList
	if w.Old != nil {
		more = math.SubtractWithNonNegativeResult(uses, r.uses(w.Old, now))
	}
	var out []Charge
	for _, q := range falls {
		delta := uses
		if w.Old != nil {
			in, err := r.matches(q, q.Status.Hard, w.Old)
			if err != nil {
				return nil, err
			}
			if in {
				delta = more
			}
		}
		c, err := charge(q, math.RemoveZeros(delta), w.Subresource == "status")
		if err != nil {
			return nil, err
		}
		if c != nil {
			out = append(out, *c)
		}
	}
	return out, nil
}

// charge adds delta to what q has used; nil: nothing of it is limited. What a
// controller reports in a status has happened and is charged beyond the limit too.
func charge(q *corev1.ResourceQuota, delta corev1.ResourceList, happened bool) (*Charge, error) {
	requested := math.Mask(delta, math.ResourceNames(q.Status.Hard))
	if len(requested) == 0 {
		return nil, nil
	}
	used := math.Add(q.Status.Used, requested)
	if !happened {
		if ok, exceeded := math.LessThanOrEqual(math.Mask(used, math.ResourceNames(requested)), q.Status.Hard); !ok {
			return nil, fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s", q.Name,
				amounts(math.Mask(requested, exceeded)), amounts(math.Mask(q.Status.Used, exceeded)), amounts(math.Mask(q.Status.Hard, exceeded)))
		}
	}
	return &Charge{Quota: q, Used: used}, nil
}

func list(names []corev1.ResourceName) string {
	var out []string
	for _, n := range names {
		out = append(out, string(n))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func amounts(l corev1.ResourceList) string {
	var out []string
	for name, q := range l {
		out = append(out, string(name)+"="+q.String())
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
