package scheduler

import (
	"testing"
	"testing/synctest"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const zone = v1.LabelTopologyZone

func zoned(name, z string) *v1.Node {
	return nodeOf(name, "4", "8Gi", func(n *v1.Node) {
		if z != "" {
			n.Labels[zone] = z
		}
	})
}

func labelled(app string) func(*v1.Pod) {
	return func(p *v1.Pod) { p.Labels = map[string]string{"app": app} }
}

func appTerm(app, topology string) v1.PodAffinityTerm {
	return v1.PodAffinityTerm{TopologyKey: topology, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}}
}

func near(app, topology string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Affinity = &v1.Affinity{PodAffinity: &v1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{appTerm(app, topology)}}}
	}
}

func apartFrom(app, topology string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []v1.PodAffinityTerm{appTerm(app, topology)}}}
	}
}

func spreadOver(topology string, skew int32, when v1.UnsatisfiableConstraintAction, app string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, v1.TopologySpreadConstraint{
			TopologyKey: topology, MaxSkew: skew, WhenUnsatisfiable: when,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}},
		})
	}
}

func TestDecisionsAmongPods(t *testing.T) {
	nodes := []*v1.Node{zoned("a", "z1"), zoned("b", "z1"), zoned("c", "z2")}
	web := func(name, node string, more ...func(*v1.Pod)) *v1.Pod {
		return podOf(name, "100m", "1Mi", append([]func(*v1.Pod){labelled("web"), on(node)}, more...)...)
	}
	for _, c := range []struct {
		name string
		pod  *v1.Pod
		pods []*v1.Pod
		want string
	}{
		{"near by node", podOf("p", "", "", near("web", v1.LabelHostname)), []*v1.Pod{web("w", "b")}, "b"},
		{"near nobody", podOf("p", "", "", near("web", zone)), nil,
			"0/3 nodes are available: 3 node(s) didn't match pod affinity rules. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."},
		{"the first of its kind", podOf("p", "", "", labelled("web"), near("web", zone)), nil, "a"},
		{"near, but not of another namespace", podOf("p", "", "", near("web", zone), func(p *v1.Pod) { p.Namespace = "other" }), []*v1.Pod{web("w", "b")},
			"0/3 nodes are available: 3 node(s) didn't match pod affinity rules. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."},
		{"apart by zone", podOf("p", "", "", apartFrom("web", zone)), []*v1.Pod{web("w", "a")}, "c"},
		{"apart from all", podOf("p", "", "", apartFrom("web", zone)), []*v1.Pod{web("w", "a"), web("x", "c")},
			"0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."},
		{"not wanted by others", podOf("p", "", "", labelled("web")),
			[]*v1.Pod{podOf("q", "", "", apartFrom("web", zone), on("a")), podOf("r", "", "", apartFrom("web", zone), on("c"))},
			"0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."},
		{"rather near", podOf("p", "", "", func(p *v1.Pod) {
			p.Spec.Affinity = &v1.Affinity{PodAffinity: &v1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: appTerm("web", v1.LabelHostname)}}}}
		}), []*v1.Pod{web("w", "b")}, "b"},
		{"rather apart", podOf("p", "", "", func(p *v1.Pod) {
			p.Spec.Affinity = &v1.Affinity{PodAntiAffinity: &v1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []v1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: appTerm("web", zone)}}}}
		}), []*v1.Pod{web("w", "a")}, "c"},
		{"spread over zones", podOf("p", "", "", labelled("web"), spreadOver(zone, 1, v1.DoNotSchedule, "web")), []*v1.Pod{web("w", "a")}, "c"},
		{"spread as far as it goes", podOf("p", "", "", labelled("web"), spreadOver(zone, 1, v1.DoNotSchedule, "web"), func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{zone: "z1"} }),
			[]*v1.Pod{web("w", "a")}, "b"},
		{"spread blocked", podOf("p", "9", "1Mi", labelled("web"), spreadOver(zone, 1, v1.DoNotSchedule, "web")), nil,
			"0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."},
		{"rather spread", podOf("p", "", "", labelled("web"), spreadOver(v1.LabelHostname, 1, v1.ScheduleAnyway, "web")), []*v1.Pod{web("w", "a"), web("x", "c")}, "b"},
	} {
		if got := decideOn(c.pod, nodes, c.pods...); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	plain := append(nodes, zoned("d", ""))
	full := []*v1.Pod{web("w", "a"), web("x", "a"), web("y", "c")}
	p := podOf("p", "", "", labelled("web"), spreadOver(zone, 1, v1.DoNotSchedule, "web"), func(p *v1.Pod) {
		p.Spec.NodeSelector = map[string]string{v1.LabelHostname: "d"}
	})
	want := "0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 3 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
	if got := decideOn(p, plain, full...); got != want {
		t.Errorf("missing label:\n got %s\nwant %s", got, want)
	}
}

// A pod that waits for another one is placed when that one is.
func TestWaitsForCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t)
		w.create(nodeOf("a", "1", "1Gi"), nodeOf("b", "1", "1Gi"))
		w.create(podOf("p", "", "", near("web", v1.LabelHostname)))
		if p := w.pod("p"); p.Spec.NodeName != "" {
			t.Fatalf("placed on %q without company", p.Spec.NodeName)
		}
		w.create(podOf("w", "", "", labelled("web"), func(p *v1.Pod) { p.Spec.NodeSelector = map[string]string{v1.LabelHostname: "b"} }))
		if p := w.pod("p"); p.Spec.NodeName != "b" {
			t.Fatalf("placed on %q", p.Spec.NodeName)
		}
	})
}
