package scheduler

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// relations are what a pod asks of the pods around it. Most pods have none and
// never cost a look at other pods.
type relations struct {
	affinity, anti []term // required
	preferred      []weighted
	spread         []spread
}

// term selects other pods and says how near is near.
type term struct {
	topology   string
	selector   labels.Selector
	namespaces []string
	nsSelector labels.Selector // of namespaces besides; nil: none
}

type weighted struct {
	term
	weight int64 // negative: rather not near
}

// spread keeps pods that are alike apart.
type spread struct {
	topology         string
	selector         labels.Selector
	maxSkew          int64
	minDomains       int64
	soft             bool
	anyNode          bool // count nodes too that the pod's own selectors exclude
	withoutTaintOnly bool // do not count nodes whose taints the pod does not tolerate
}

// domain is one place of a topology: a zone, a node.
type domain struct{ key, value string }

// relationsOf compiles; nil if the pod asks for nothing.
func relationsOf(p *v1.Pod) *relations {
	a := p.Spec.Affinity
	if len(p.Spec.TopologySpreadConstraints) == 0 && (a == nil || a.PodAffinity == nil && a.PodAntiAffinity == nil) {
		return nil
	}
	r := &relations{}
	if a != nil && a.PodAffinity != nil {
		r.affinity = terms(p, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		r.prefer(p, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if a != nil && a.PodAntiAffinity != nil {
		r.anti = terms(p, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
		r.prefer(p, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	for i := range p.Spec.TopologySpreadConstraints {
		r.spread = append(r.spread, spreadOf(p, &p.Spec.TopologySpreadConstraints[i]))
	}
	if len(r.affinity)+len(r.anti)+len(r.preferred)+len(r.spread) == 0 {
		return nil
	}
	return r
}

func selectorOf(s *metav1.LabelSelector) labels.Selector {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing() // validation keeps it out
	}
	return sel
}

func terms(p *v1.Pod, in []v1.PodAffinityTerm) []term {
	var out []term
	for i := range in {
		out = append(out, termOf(p, &in[i]))
	}
	return out
}

func termOf(p *v1.Pod, in *v1.PodAffinityTerm) term {
	t := term{topology: in.TopologyKey, selector: selectorOf(in.LabelSelector), namespaces: in.Namespaces}
	if in.NamespaceSelector != nil {
		t.nsSelector = selectorOf(in.NamespaceSelector)
	} else if len(in.Namespaces) == 0 {
		t.namespaces = []string{p.Namespace}
	}
	return t
}

func (r *relations) prefer(p *v1.Pod, in []v1.WeightedPodAffinityTerm, sign int64) {
	for i := range in {
		r.preferred = append(r.preferred, weighted{termOf(p, &in[i].PodAffinityTerm), sign * int64(in[i].Weight)})
	}
}

func spreadOf(p *v1.Pod, in *v1.TopologySpreadConstraint) spread {
	s := spread{
		topology: in.TopologyKey, selector: selectorOf(in.LabelSelector), maxSkew: int64(in.MaxSkew), minDomains: 1,
		soft:             in.WhenUnsatisfiable == v1.ScheduleAnyway,
		anyNode:          in.NodeAffinityPolicy != nil && *in.NodeAffinityPolicy == v1.NodeInclusionPolicyIgnore,
		withoutTaintOnly: in.NodeTaintsPolicy != nil && *in.NodeTaintsPolicy == v1.NodeInclusionPolicyHonor,
	}
	if in.MinDomains != nil {
		s.minDomains = int64(*in.MinDomains)
	}
	for _, key := range in.MatchLabelKeys {
		if v, ok := p.Labels[key]; ok {
			more, _ := labels.SelectorFromSet(labels.Set{key: v}).Requirements()
			s.selector = s.selector.Add(more...)
		}
	}
	return s
}

// matches tells whether the term selects p.
func (t *term) matches(s *snapshot, p *v1.Pod) bool {
	if !slices.Contains(t.namespaces, p.Namespace) &&
		(t.nsSelector == nil || !t.nsSelector.Matches(labels.Set(s.namespaces[p.Namespace]))) {
		return false
	}
	return t.selector.Matches(labels.Set(p.Labels))
}

func all(s *snapshot, terms []term, p *v1.Pod) bool {
	return !slices.ContainsFunc(terms, func(t term) bool { return !t.matches(s, p) })
}

// repelled tells whether a pod that is placed may refuse p as a neighbour.
func (s *snapshot) repelled(p *v1.Pod) bool {
	for _, r := range s.relating {
		if slices.ContainsFunc(r.anti, func(t term) bool { return t.matches(s, p) }) {
			return true
		}
	}
	return false
}
