package scheduler

import (
	v1 "k8s.io/api/core/v1"
	corev1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

// Weights of kube-scheduler's default profile.
const (
	maxScore       = 100
	weightTaint    = 3
	weightAffinity = 2
	weightLeast    = 1
	weightBalance  = 1
	weightImage    = 1
)

// liking is what makes one node liked more than another and only changes with its
// object: raw figures, which are compared with the highest of all nodes.
type liking struct {
	avoid  int64 // taints PreferNoSchedule that are not tolerated
	prefer int64 // weights of preferred terms that match
	image  int64 // 0 to maxScore
}

func like(w *wish, n *node, s *snapshot) liking {
	var l liking
	for i := range n.obj.Spec.Taints {
		t := &n.obj.Spec.Taints[i]
		if t.Effect == v1.TaintEffectPreferNoSchedule && !corev1.TolerationsTolerateTaint(klog.Background(), w.preferNone, t, true) {
			l.avoid++
		}
	}
	if w.preferred != nil {
		l.prefer = w.preferred.Score(n.obj)
	}
	l.image = imageScore(w, n, s)
	return l
}

// imageScore likes nodes that have the images, the more the larger they are and
// the more nodes have them (so that not all pods crowd where one image is).
func imageScore(w *wish, n *node, s *snapshot) int64 {
	const mb = 1 << 20
	const least, most = 23 * mb, 1000 * mb
	if len(n.images) == 0 || len(w.images) == 0 {
		return 0
	}
	var sum int64
	for _, name := range w.images {
		if size, ok := n.images[name]; ok && s.images[name] != nil && s.count > 0 {
			sum += int64(float64(size) * float64(s.images[name].nodes) / float64(s.count))
		}
	}
	top := int64(most) * int64(len(w.images))
	sum = min(max(sum, least), top)
	return maxScore * (sum - least) / (top - least)
}

// score weighs a node that takes the pod; most are the highest raw figures of all
// nodes.
func score(w *wish, n *node, l, most liking) int64 {
	taint := int64(maxScore)
	if most.avoid > 0 {
		taint = maxScore - maxScore*l.avoid/most.avoid
	}
	var prefer int64
	if most.prefer > 0 {
		prefer = maxScore * l.prefer / most.prefer
	}
	return weightTaint*taint + weightAffinity*prefer + weightImage*l.image +
		weightLeast*leastAllocated(w, n) + weightBalance*balanced(w, n)
}

func leastAllocated(w *wish, n *node) int64 {
	var sum, parts int64
	for _, r := range [2][2]int64{
		{n.leastCPU + w.demand.leastCPU, n.allocatable.cpu},
		{n.leastMemory + w.demand.leastMemory, n.allocatable.memory},
	} {
		if r[1] == 0 {
			continue
		}
		parts++
		if r[0] <= r[1] {
			sum += (r[1] - r[0]) * maxScore / r[1]
		}
	}
	if parts == 0 {
		return 0
	}
	return sum / parts
}

// balanced likes nodes whose share of CPU in use the pod brings nearer to their
// share of memory in use.
func balanced(w *wish, n *node) int64 {
	r := &w.demand.requests
	if r.cpu == 0 && r.memory == 0 {
		return 0
	}
	with := balance(n.used.cpu+r.cpu, n.allocatable.cpu, n.used.memory+r.memory, n.allocatable.memory)
	without := balance(n.used.cpu, n.allocatable.cpu, n.used.memory, n.allocatable.memory)
	return maxScore/2 + (maxScore/2+with-without)/2
}

func balance(cpu, allCPU, memory, allMemory int64) int64 {
	if allCPU == 0 || allMemory == 0 {
		return maxScore
	}
	c := min(float64(cpu)/float64(allCPU), 1)
	m := min(float64(memory)/float64(allMemory), 1)
	d := (c - m) / 2
	if d < 0 {
		d = -d
	}
	return int64((1 - d) * maxScore)
}
