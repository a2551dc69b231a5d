package scheduler

import (
	"container/heap"
	"encoding/json"
	"sort"
	"strconv"

	v1 "k8s.io/api/core/v1"
)

// class is all pods that want the same of a node. It keeps the verdict and the
// score of every node, and the nodes that take such a pod in the order of their
// scores; a change of one node is worked in alone.
type class struct {
	wish *wish
	most liking // highest raw figures of nodes that are not refused for good
	at   int    // change of the snapshot that is not worked in yet
	used int    // for forgetting: when it was last asked

	entries []entry
	ranking []int // heap of node numbers

	why   string // why no node took a pod at change whyAt
	whyAt int
}

type entry struct {
	version int // of the node's object that fixed and liking are of; 0: none
	fixed   verdict
	liking  liking
	score   int64
	place   int // in ranking, plus one; 0: the node does not take the pod
}

// Len, Less, Swap, Push and Pop make the ranking a heap.
func (c *class) Len() int { return len(c.ranking) }
func (c *class) Less(i, j int) bool {
	a, b := &c.entries[c.ranking[i]], &c.entries[c.ranking[j]]
	if a.score != b.score {
		return a.score > b.score
	}
	return c.ranking[i] < c.ranking[j]
}
func (c *class) Swap(i, j int) {
	c.ranking[i], c.ranking[j] = c.ranking[j], c.ranking[i]
	c.entries[c.ranking[i]].place, c.entries[c.ranking[j]].place = i+1, j+1
}
func (c *class) Push(x any) {
	c.ranking = append(c.ranking, x.(int))
	c.entries[x.(int)].place = len(c.ranking)
}
func (c *class) Pop() any {
	last := len(c.ranking) - 1
	i := c.ranking[last]
	c.ranking = c.ranking[:last]
	c.entries[i].place = 0
	return i
}

// best returns the number of the node that a pod of the class should go to, -1 if
// no node takes it.
func (c *class) best(s *snapshot) int {
	c.update(s)
	if len(c.ranking) == 0 {
		return -1
	}
	return c.ranking[0]
}

// update works in what changed since the last time.
func (c *class) update(s *snapshot) {
	changed, ok := s.since(c.at)
	if !ok || c.entries == nil {
		c.rebuild(s)
		return
	}
	for len(c.entries) < len(s.nodes) {
		c.entries = append(c.entries, entry{})
	}
	c.at = s.now()
	for _, i := range changed {
		if !c.fix(s, i) {
			c.rebuild(s)
			return
		}
	}
}

// fix works one node in. It is false when the node raises the highest figures, by
// which all scores are measured.
func (c *class) fix(s *snapshot, i int) bool {
	n, e := s.nodes[i], &c.entries[i]
	if n == nil {
		if e.place > 0 {
			heap.Remove(c, e.place-1)
		}
		*e = entry{}
		return true
	}
	if e.version != n.version {
		c.look(s, n, e)
		if e.fixed.ok() && (e.liking.avoid > c.most.avoid || e.liking.prefer > c.most.prefer) {
			return false
		}
	}
	fits := e.fixed.ok() && judge(c.wish, n).ok()
	if fits {
		e.score = score(c.wish, n, e.liking, c.most)
	}
	switch {
	case fits && e.place > 0:
		heap.Fix(c, e.place-1)
	case fits:
		heap.Push(c, i)
	case e.place > 0:
		heap.Remove(c, e.place-1)
	}
	return true
}

func (c *class) look(s *snapshot, n *node, e *entry) {
	e.version = n.version
	e.fixed = judgeStatic(c.wish, n)
	e.liking = liking{}
	if e.fixed.ok() {
		e.liking = like(c.wish, n, s)
	}
}

func (c *class) rebuild(s *snapshot) {
	old := c.entries
	c.entries = make([]entry, len(s.nodes))
	c.most = liking{}
	c.ranking = c.ranking[:0]
	c.at = s.now()
	for i, n := range s.nodes {
		if n == nil {
			continue
		}
		e := &c.entries[i]
		if i < len(old) && old[i].version == n.version {
			e.version, e.fixed, e.liking = old[i].version, old[i].fixed, old[i].liking
		} else {
			c.look(s, n, e)
		}
		c.most.avoid = max(c.most.avoid, e.liking.avoid)
		c.most.prefer = max(c.most.prefer, e.liking.prefer)
	}
	for i, n := range s.nodes {
		e := &c.entries[i]
		if n == nil || !e.fixed.ok() || !judge(c.wish, n).ok() {
			continue
		}
		e.score = score(c.wish, n, e.liking, c.most)
		c.ranking = append(c.ranking, i)
		e.place = len(c.ranking)
	}
	heap.Init(c)
}

// verdictOf is the present verdict of one node.
func (c *class) verdictOf(s *snapshot, i int) verdict {
	n := s.nodes[i]
	if v := judgeStatic(c.wish, n); !v.ok() {
		return v
	}
	return judge(c.wish, n)
}

// explain says why no node takes a pod of the class. Many pods of a class that wait
// share one answer.
func (c *class) explain(s *snapshot) string {
	if c.why == "" || c.whyAt != s.now() {
		c.why = explain(c.wish.pod, c.verdicts(s))
		c.whyAt = s.now()
	}
	return c.why
}

// verdicts is the answer of every node: what to tell when none takes the pod.
func (c *class) verdicts(s *snapshot) []verdict {
	c.update(s)
	var out []verdict
	for i, n := range s.nodes {
		if n == nil {
			continue
		}
		v := c.entries[i].fixed
		if v.ok() {
			v = judge(c.wish, n)
		}
		out = append(out, v)
	}
	return out
}

// classKey is the same for two pods exactly if they are judged and scored alike.
func classKey(p *v1.Pod) string {
	b := make([]byte, 0, 256)
	str := func(s string) { b = append(append(b, s...), 0) }
	num := func(n int64) { b = append(strconv.AppendInt(b, n, 36), 0) }
	list := func(l v1.ResourceList) {
		if len(l) == 0 {
			b = append(b, 1)
			return
		}
		names := make([]string, 0, len(l))
		for name := range l {
			names = append(names, string(name))
		}
		sort.Strings(names)
		for _, name := range names {
			q := l[v1.ResourceName(name)]
			str(name)
			if name == string(v1.ResourceCPU) {
				num(q.MilliValue())
			} else {
				num(q.Value())
			}
		}
		b = append(b, 2)
	}
	containers := func(cs []v1.Container) {
		for i := range cs {
			c := &cs[i]
			str(c.Image)
			list(c.Resources.Requests)
			if c.RestartPolicy != nil {
				str(string(*c.RestartPolicy))
			}
			for _, cp := range c.Ports {
				if cp.HostPort > 0 {
					str(cp.HostIP)
					str(string(cp.Protocol))
					num(int64(cp.HostPort))
				}
			}
			b = append(b, 3)
		}
		b = append(b, 4)
	}
	containers(p.Spec.InitContainers)
	containers(p.Spec.Containers)
	list(p.Spec.Overhead)
	if p.Spec.Resources != nil {
		list(p.Spec.Resources.Requests)
	}
	if p.Spec.PreemptionPolicy != nil {
		b = append(b, *p.Spec.PreemptionPolicy...)
	}
	str(p.Spec.NodeName)
	names := make([]string, 0, len(p.Spec.NodeSelector))
	for k := range p.Spec.NodeSelector {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		str(k)
		str(p.Spec.NodeSelector[k])
	}
	b = append(b, 5)
	for i := range p.Spec.Tolerations {
		t := &p.Spec.Tolerations[i]
		str(t.Key)
		str(string(t.Operator))
		str(t.Value)
		str(string(t.Effect))
	}
	// The types have no members that cannot be encoded.
	if p.Spec.Affinity != nil {
		raw, _ := json.Marshal(p.Spec.Affinity)
		b = append(b, raw...)
	}
	if len(p.Spec.TopologySpreadConstraints) > 0 {
		raw, _ := json.Marshal(p.Spec.TopologySpreadConstraints)
		b = append(b, raw...)
	}
	return string(b)
}
