package core

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podAllowances are rules that an update need not keep because the old object broke
// them already, as it was made before they were there.
type podAllowances struct {
	deletionCost        bool // an annotation controller.kubernetes.io/pod-deletion-cost that is no number
	selectorValues      bool // label values in pod affinity that are none
	nodeAffinityValues  bool // the same in required node affinity
	indivisiblePages    bool // huge pages that are no multiple of their size
	spreadSelector      bool // an invalid label selector in a topology spread constraint
	spreadKeys          bool // invalid matchLabelKeys there
	tokenPath           bool // a projected token outside of its volume
	hostSysctls         bool // namespaced sysctls in the host's namespaces
	comparingTolerates  bool // tolerations with the operators Lt and Gt
	anySELinuxPolicy    bool // a policy other than Recursive
	userNSHostNetwork   bool // a user namespace on the host's network
	userNSDevices       bool // block devices in a user namespace
	restartInitOnResize bool // RestartContainer in an init container's resize policy
}

func allowancesFor(old *v1.PodSpec, meta *metav1.ObjectMeta) podAllowances {
	var a podAllowances
	_, err := deletionCost(meta.Annotations)
	a.deletionCost = err != nil
	// breaks tells whether old breaks the rules that check applies.
	breaks := func(check func(c *podCheck)) bool {
		c := podCheck{spec: old}
		check(&c)
		return len(c.List) > 0
	}
	path := field.NewPath("spec")
	if old.Affinity != nil {
		a.selectorValues = breaks(func(c *podCheck) { c.affinitySelectors(old.Affinity, path) })
		if n := old.Affinity.NodeAffinity; n != nil && n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			a.nodeAffinityValues = breaks(func(c *podCheck) { c.nodeSelectorValues(n.RequiredDuringSchedulingIgnoredDuringExecution, path) })
		}
	}
	for i := range old.TopologySpreadConstraints {
		constraint := &old.TopologySpreadConstraints[i]
		a.spreadSelector = a.spreadSelector || breaks(func(c *podCheck) { c.selector(constraint.LabelSelector, false, path) })
		a.spreadKeys = a.spreadKeys || breaks(func(c *podCheck) { c.labelKeys(constraint.MatchLabelKeys, nil, constraint.LabelSelector, path) })
	}
	a.tokenPath = breaks(func(c *podCheck) { c.tokenPaths(path) })
	a.comparingTolerates = slices.ContainsFunc(old.Tolerations, func(t v1.Toleration) bool {
		return t.Operator == v1.TolerationOpLt || t.Operator == v1.TolerationOpGt
	})
	userNS := old.HostUsers != nil && !*old.HostUsers
	a.userNSHostNetwork = userNS && old.HostNetwork
	if sc := old.SecurityContext; sc != nil {
		a.anySELinuxPolicy = sc.SELinuxChangePolicy != nil
		a.hostSysctls = slices.ContainsFunc(sc.Sysctls, func(s v1.Sysctl) bool { return hostSysctl(s.Name, old) != "" })
	}
	eachContainer(old, func(c *v1.Container) {
		a.indivisiblePages = a.indivisiblePages || indivisible(c.Resources.Limits) || indivisible(c.Resources.Requests)
		a.userNSDevices = a.userNSDevices || userNS && len(c.VolumeDevices) > 0
	})
	a.indivisiblePages = a.indivisiblePages || indivisible(old.Overhead)
	for i := range old.InitContainers {
		c := &old.InitContainers[i]
		a.restartInitOnResize = a.restartInitOnResize || !isSidecar(c) && slices.ContainsFunc(c.ResizePolicy, func(p v1.ContainerResizePolicy) bool {
			return p.RestartPolicy == v1.RestartContainer
		})
	}
	return a
}

func indivisible(list v1.ResourceList) bool {
	for name, q := range list {
		if isHugePages(name) && !pagesDivide(name, q) {
			return true
		}
	}
	return false
}
