package deployment

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// state is everything a decision about a Deployment is made from. Decisions do
// not change it.
type state struct {
	d   *appsv1.Deployment
	cur *appsv1.ReplicaSet   // of the present template; nil if there is none yet
	old []*appsv1.ReplicaSet // of other templates
	// oldPods says that pods of other templates may still run.
	oldPods bool
}

func (s *state) all() []*appsv1.ReplicaSet {
	out := slices.Clone(s.old)
	if s.cur != nil {
		out = append(out, s.cur)
	}
	return out
}

// scale is a decision to give a ReplicaSet a size. With record, its size
// annotations are written even if the size stays.
type scale struct {
	rs     *appsv1.ReplicaSet
	to     int32
	record bool
}

// fence resolves maxSurge and maxUnavailable, rounded up and down; both zero would
// block every rollout, so one pod may then be unavailable.
func fence(d *appsv1.Deployment) (surge, unavailable int32) {
	r := d.Spec.Strategy.RollingUpdate
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || r == nil {
		return 0, 0
	}
	resolve := func(v *intstr.IntOrString, up bool) int32 {
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), int(*d.Spec.Replicas), up)
		if err != nil {
			return 0
		}
		return int32(n)
	}
	surge, unavailable = resolve(r.MaxSurge, true), resolve(r.MaxUnavailable, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

func maxSurge(d *appsv1.Deployment) int32 {
	surge, _ := fence(d)
	return surge
}

func maxUnavailable(d *appsv1.Deployment) int32 {
	_, n := fence(d)
	if *d.Spec.Replicas == 0 {
		return 0
	}
	return min(n, *d.Spec.Replicas)
}

func wanted(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += *rs.Spec.Replicas
	}
	return n
}

func available(sets []*appsv1.ReplicaSet) (n int32) {
	for _, rs := range sets {
		n += rs.Status.AvailableReplicas
	}
	return n
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(sets), func(rs *appsv1.ReplicaSet) bool { return *rs.Spec.Replicas == 0 })
}

func byAge(a, b *appsv1.ReplicaSet) int {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return cmp.Compare(a.Name, b.Name)
	}
	return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
}

// newSize is how far the present template's ReplicaSet, of size now, may grow
// while all together want total.
func newSize(d *appsv1.Deployment, now, total int32) int32 {
	if d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return *d.Spec.Replicas
	}
	room := *d.Spec.Replicas + maxSurge(d) - total
	if room <= 0 {
		return now
	}
	return now + min(room, *d.Spec.Replicas-now)
}

// resized tells whether the Deployment's size changed since its ReplicaSets were
// last scaled.
func resized(s *state) bool {
	for _, rs := range active(s.all()) {
		if desired, ok := sizeAnnotation(rs, desiredAnnotation); ok && desired != *s.d.Spec.Replicas {
			return true
		}
	}
	return false
}

// rescale follows a change of size, also of a paused Deployment: a single active
// ReplicaSet takes it whole; amid a rollout it is spread over all in proportion, so
// that it does not hasten the rollout.
func rescale(s *state) []scale {
	if one := activeOrLatest(s); one != nil {
		if *one.Spec.Replicas == *s.d.Spec.Replicas {
			return nil
		}
		return []scale{{one, *s.d.Spec.Replicas, false}}
	}
	if saturated(s.d, s.cur) {
		var out []scale
		for _, rs := range active(s.old) {
			out = append(out, scale{rs, 0, false})
		}
		return out
	}
	if s.d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return nil
	}
	return proportional(s)
}

// activeOrLatest is the one active ReplicaSet, the newest if none is active, nil
// if there are several.
func activeOrLatest(s *state) *appsv1.ReplicaSet {
	switch live := active(s.all()); {
	case len(live) == 1:
		return live[0]
	case len(live) > 1:
		return nil
	case s.cur != nil:
		return s.cur
	case len(s.old) > 0:
		return slices.MaxFunc(s.old, byAge)
	}
	return nil
}

func saturated(d *appsv1.Deployment, rs *appsv1.ReplicaSet) bool {
	if rs == nil {
		return false
	}
	desired, ok := sizeAnnotation(rs, desiredAnnotation)
	n := *d.Spec.Replicas
	return ok && desired == n && *rs.Spec.Replicas == n && rs.Status.AvailableReplicas == n
}

func proportional(s *state) []scale {
	sets := active(s.all())
	var allowed int32
	if *s.d.Spec.Replicas > 0 {
		allowed = *s.d.Spec.Replicas + maxSurge(s.d)
	}
	toAdd := allowed - wanted(sets)
	// From the largest to the smallest; of two of one size the newer grows first and
	// the older shrinks first.
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		if *a.Spec.Replicas != *b.Spec.Replicas {
			return cmp.Compare(*b.Spec.Replicas, *a.Spec.Replicas)
		}
		if toAdd > 0 {
			return byAge(b, a)
		}
		return byAge(a, b)
	})
	var out []scale
	var added int32
	for _, rs := range sets {
		var part int32
		if toAdd != 0 && added != toAdd {
			part = fraction(s.d, rs)
			if left := toAdd - added; toAdd > 0 {
				part = min(part, left)
			} else {
				part = max(part, left)
			}
		}
		added += part
		out = append(out, scale{rs, *rs.Spec.Replicas + part, true})
	}
	if len(out) > 0 && toAdd != 0 {
		out[0].to = max(0, out[0].to+toAdd-added)
	}
	return out
}

// fraction is the change of rs's size that keeps its share of the Deployment.
func fraction(d *appsv1.Deployment, rs *appsv1.ReplicaSet) int32 {
	if *d.Spec.Replicas == 0 {
		return -*rs.Spec.Replicas
	}
	before, ok := sizeAnnotation(rs, maxAnnotation)
	if !ok || before == 0 {
		if before = d.Status.Replicas; before == 0 {
			return 0
		}
	}
	size := float64(*rs.Spec.Replicas*(*d.Spec.Replicas+maxSurge(d))) / float64(before)
	return int32(math.Round(size)) - *rs.Spec.Replicas
}

// grow is a rolling update's first step: the present ReplicaSet as large as the
// surge allows.
func grow(s *state) []scale {
	if *s.cur.Spec.Replicas == *s.d.Spec.Replicas {
		return nil
	}
	to := *s.d.Spec.Replicas
	if *s.cur.Spec.Replicas < to {
		to = newSize(s.d, *s.cur.Spec.Replicas, wanted(s.all()))
	}
	if to == *s.cur.Spec.Replicas {
		return nil
	}
	return []scale{{s.cur, to, false}}
}

// shrink is its second step: old ReplicaSets as small as availability allows,
// unhealthy pods first.
func shrink(s *state) []scale {
	old := active(s.old)
	if len(old) == 0 {
		return nil
	}
	least := *s.d.Spec.Replicas - maxUnavailable(s.d)
	unready := *s.cur.Spec.Replicas - s.cur.Status.AvailableReplicas
	room := wanted(s.all()) - least - unready
	if room <= 0 {
		return nil
	}
	slices.SortFunc(old, byAge)
	size := map[*appsv1.ReplicaSet]int32{}
	for _, rs := range old {
		sick := max(0, *rs.Spec.Replicas-rs.Status.AvailableReplicas)
		cut := min(room, sick)
		size[rs] = *rs.Spec.Replicas - cut
		room -= cut
	}
	spare := available(old) + s.cur.Status.AvailableReplicas - least
	for _, rs := range old {
		if spare <= 0 {
			break
		}
		cut := min(spare, size[rs])
		size[rs] -= cut
		spare -= cut
	}
	var out []scale
	for _, rs := range old {
		if size[rs] != *rs.Spec.Replicas {
			out = append(out, scale{rs, size[rs], false})
		}
	}
	return out
}

// superfluous are the old ReplicaSets beyond revisionHistoryLimit, oldest first;
// those that still have pods stay.
func superfluous(s *state) []*appsv1.ReplicaSet {
	limit := s.d.Spec.RevisionHistoryLimit
	if limit == nil || *limit == math.MaxInt32 {
		return nil
	}
	alive := slices.DeleteFunc(slices.Clone(s.old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	over := len(alive) - int(*limit)
	if over <= 0 {
		return nil
	}
	slices.SortFunc(alive, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revision(a.Annotations), revision(b.Annotations)), byAge(a, b))
	})
	return slices.DeleteFunc(alive[:over], func(rs *appsv1.ReplicaSet) bool {
		return rs.Status.Replicas != 0 || *rs.Spec.Replicas != 0 || rs.Generation > rs.Status.ObservedGeneration
	})
}

// split finds the ReplicaSet of d's template, the oldest if there are several.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (cur *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	sets = slices.Clone(sets)
	slices.SortFunc(sets, byAge)
	for _, rs := range sets {
		if cur == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			cur = rs
			continue
		}
		old = append(old, rs)
	}
	return cur, old
}

// running tells whether any pod has not ended.
func running(pods []*corev1.Pod) bool {
	return slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
		return p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded
	})
}
