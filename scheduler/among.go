package scheduler

import (
	"math"

	v1 "k8s.io/api/core/v1"
	corev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

const (
	reasonSpread       = "node(s) didn't match pod topology spread constraints"
	reasonSpreadLabel  = reasonSpread + " (missing required label)"
	reasonPodAffinity  = "node(s) didn't match pod affinity rules"
	reasonPodAnti      = "node(s) didn't match pod anti-affinity rules"
	reasonExistingAnti = "node(s) didn't satisfy existing pods anti-affinity rules"

	weightSpread      = 2
	weightPodAffinity = 2
)

// among is one look at all pods for the sake of one: what stands where, as far as
// it matters for the placing of p.
type among struct {
	s *snapshot
	p *v1.Pod
	w *wish
	r *relations
	// needs are those of p's claims; nil if it has none.
	needs *needs

	near     map[domain]int64 // pods that all terms of required affinity select
	anyNear  bool
	notNear  map[domain]bool  // pods that a term of anti-affinity selects
	repelled map[domain]bool  // pods that do not want p
	liked    map[domain]int64 // weights of preferences, p's and the others'
	alike    []map[string]int64
	domains  []map[string]bool // of each spread constraint
	least    []int64
}

func lookAround(s *snapshot, w *wish, p *v1.Pod, r *relations) *among {
	if r == nil {
		r = &relations{}
	}
	a := &among{
		s: s, p: p, w: w, r: r,
		near: map[domain]int64{}, notNear: map[domain]bool{}, repelled: map[domain]bool{}, liked: map[domain]int64{},
	}
	for uid, q := range s.pods {
		i, ok := s.byName[q.node]
		if ok && q.pod != nil {
			a.neighbour(q.pod, s.relating[uid], s.nodes[i].obj.Labels)
		}
	}
	a.countSpread()
	return a
}

// neighbour works one placed pod in.
func (a *among) neighbour(q *v1.Pod, qr *relations, where map[string]string) {
	at := func(t *term, do func(domain)) {
		if v, ok := where[t.topology]; ok {
			do(domain{t.topology, v})
		}
	}
	if len(a.r.affinity) > 0 && all(a.s, a.r.affinity, q) {
		a.anyNear = true
		for i := range a.r.affinity {
			at(&a.r.affinity[i], func(d domain) { a.near[d]++ })
		}
	}
	for i := range a.r.anti {
		if t := &a.r.anti[i]; t.matches(a.s, q) {
			at(t, func(d domain) { a.notNear[d] = true })
		}
	}
	for i := range a.r.preferred {
		if t := &a.r.preferred[i]; t.matches(a.s, q) {
			at(&t.term, func(d domain) { a.liked[d] += t.weight })
		}
	}
	if qr == nil {
		return
	}
	for i := range qr.anti {
		if t := &qr.anti[i]; t.matches(a.s, a.p) {
			at(t, func(d domain) { a.repelled[d] = true })
		}
	}
	for i := range qr.affinity {
		if t := &qr.affinity[i]; t.matches(a.s, a.p) {
			at(t, func(d domain) { a.liked[d]++ })
		}
	}
	for i := range qr.preferred {
		if t := &qr.preferred[i]; t.matches(a.s, a.p) {
			at(&t.term, func(d domain) { a.liked[d] += t.weight })
		}
	}
}

// counts tells whether a node's pods count for a constraint.
func (a *among) counts(c *spread, n *node) bool {
	for i := range a.r.spread {
		if o := &a.r.spread[i]; o.soft == c.soft {
			if _, ok := n.obj.Labels[o.topology]; !ok {
				return false
			}
		}
	}
	if !c.anyNode {
		if match, err := a.w.required.Match(n.obj); err != nil || !match {
			return false
		}
	}
	if c.withoutTaintOnly {
		_, refused := corev1.FindMatchingUntoleratedTaint(klog.Background(), n.obj.Spec.Taints, a.p.Spec.Tolerations, func(t *v1.Taint) bool {
			return t.Effect == v1.TaintEffectNoSchedule || t.Effect == v1.TaintEffectNoExecute
		}, true)
		return !refused
	}
	return true
}

func (a *among) countSpread() {
	for i := range a.r.spread {
		c := &a.r.spread[i]
		count, domains, counted := map[string]int64{}, map[string]bool{}, map[string]bool{}
		for _, n := range a.s.nodes {
			if n != nil && a.counts(c, n) {
				domains[n.obj.Labels[c.topology]] = true
				counted[n.obj.Name] = true
			}
		}
		for _, q := range a.s.pods {
			if q.pod == nil || !counted[q.node] || q.pod.Namespace != a.p.Namespace || q.pod.DeletionTimestamp != nil || !c.selector.Matches(labelSet(q.pod)) {
				continue
			}
			count[a.s.nodes[a.s.byName[q.node]].obj.Labels[c.topology]]++
		}
		least := int64(math.MaxInt64)
		for v := range domains {
			least = min(least, count[v])
		}
		if int64(len(domains)) < c.minDomains || len(domains) == 0 {
			least = 0
		}
		a.alike, a.domains, a.least = append(a.alike, count), append(a.domains, domains), append(a.least, least)
	}
}

// judge is the verdict by other pods on a node that has nothing else against p.
func (a *among) judge(n *node) verdict {
	for i := range a.r.spread {
		c := &a.r.spread[i]
		if c.soft {
			continue
		}
		v, ok := n.obj.Labels[c.topology]
		if !ok {
			return verdict{[]string{reasonSpreadLabel}, true}
		}
		var self int64
		if c.selector.Matches(labelSet(a.p)) {
			self = 1
		}
		if a.alike[i][v]+self-a.least[i] > c.maxSkew {
			return verdict{[]string{reasonSpread}, false}
		}
	}
	for i := range a.r.affinity {
		v, ok := n.obj.Labels[a.r.affinity[i].topology]
		if !ok {
			return verdict{[]string{reasonPodAffinity}, true}
		}
		// The first of pods that want to be together may go anywhere.
		if a.near[domain{a.r.affinity[i].topology, v}] == 0 && (a.anyNear || !all(a.s, a.r.affinity, a.p)) {
			return verdict{[]string{reasonPodAffinity}, true}
		}
	}
	for i := range a.r.anti {
		key := a.r.anti[i].topology
		if v, ok := n.obj.Labels[key]; ok && a.notNear[domain{key, v}] {
			return verdict{[]string{reasonPodAnti}, false}
		}
	}
	for d := range a.repelled {
		if n.obj.Labels[d.key] == d.value {
			return verdict{[]string{reasonExistingAnti}, false}
		}
	}
	return verdict{}
}

// place chooses a node, -1 if none takes the pod: then the verdicts say why.
func (a *among) place(c *class) (best int, why []verdict) {
	c.update(a.s)
	var open []int
	for i, n := range a.s.nodes {
		if n == nil {
			continue
		}
		e := &c.entries[i]
		v := e.fixed
		if v.ok() {
			v = judge(c.wish, n)
		}
		if v.ok() && a.needs != nil {
			v, _ = a.needs.judge(&a.s.storage, n.obj)
		}
		if v.ok() {
			v = a.judge(n)
		}
		why = append(why, v)
		if v.ok() {
			open = append(open, i)
		}
	}
	best = -1
	liked, apart := a.likeScores(open), a.spreadScores(open)
	var most int64
	for k, i := range open {
		total := c.entries[i].score + weightPodAffinity*liked[k] + weightSpread*apart[k]
		if best < 0 || total > most {
			best, most = i, total
		}
	}
	return best, why
}

// likeScores scales the preferences to 0..maxScore.
func (a *among) likeScores(open []int) []int64 {
	out := make([]int64, len(open))
	if len(a.liked) == 0 || len(open) == 0 {
		return out
	}
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for k, i := range open {
		for d, w := range a.liked {
			if a.s.nodes[i].obj.Labels[d.key] == d.value {
				out[k] += w
			}
		}
		low, high = min(low, out[k]), max(high, out[k])
	}
	for k := range out {
		if high == low {
			out[k] = 0
		} else {
			out[k] = maxScore * (out[k] - low) / (high - low)
		}
	}
	return out
}

// spreadScores likes nodes whose domains have few pods that are alike. A domain
// weighs the more, the more of its kind there are.
func (a *among) spreadScores(open []int) []int64 {
	out := make([]int64, len(open))
	soft := false
	for k, i := range open {
		var sum float64
		for j := range a.r.spread {
			c := &a.r.spread[j]
			if !c.soft {
				continue
			}
			soft = true
			v, ok := a.s.nodes[i].obj.Labels[c.topology]
			if !ok {
				sum = -1
				break
			}
			sum += float64(a.alike[j][v])*math.Log(float64(len(a.domains[j])+2)) + float64(c.maxSkew-1)
		}
		out[k] = int64(math.Round(sum))
	}
	if !soft {
		return make([]int64, len(open))
	}
	low, high := int64(math.MaxInt64), int64(0)
	for _, v := range out {
		if v >= 0 {
			low, high = min(low, v), max(high, v)
		}
	}
	for k, v := range out {
		switch {
		case v < 0:
			out[k] = 0
		case high == 0:
			out[k] = maxScore
		default:
			out[k] = maxScore * (high + low - v) / high
		}
	}
	return out
}
