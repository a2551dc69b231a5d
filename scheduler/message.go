package scheduler

import (
	"fmt"
	"sort"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// No node at all is told in other words than no suitable one.
const noNodes = "no nodes available to schedule pods"

// explain says why no node takes a pod, in kube-scheduler's words:
//
//	0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: ...
func explain(p *v1.Pod, all []verdict) string {
	if len(all) == 0 {
		return noNodes
	}
	reasons := map[string]int{}
	for _, v := range all {
		for _, r := range v.reasons {
			reasons[r]++
		}
	}
	return histogram(len(all), reasons) + " preemption: " + preemption(p, all)
}

// preemption says why no pod has to go for p.
func preemption(p *v1.Pod, all []verdict) string {
	if p.Spec.PreemptionPolicy != nil && *p.Spec.PreemptionPolicy == v1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	why := map[string]int{}
	for _, v := range all {
		if v.final {
			why["Preemption is not helpful for scheduling"]++
		} else {
			why["No preemption victims found for incoming pod"]++
		}
	}
	return histogram(len(all), why)
}

func histogram(nodes int, counts map[string]int) string {
	var parts []string
	for r, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, r))
	}
	sort.Strings(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", nodes, strings.Join(parts, ", "))
}
