package core

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// preparePod gives a new pod its first status and takes what label keys mean from
// its labels. It runs after Default.
func preparePod(p *v1.Pod) {
	class := p.Status.QOSClass
	if class == "" {
		class = QOSClass(p)
	}
	p.Status = v1.PodStatus{Phase: v1.PodPending, QOSClass: class}
	dropPodFields(&p.Spec, nil)
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []v1.PodCondition{{
			Type: v1.PodScheduled, Status: v1.ConditionFalse, Reason: v1.PodReasonSchedulingGated,
			Message:            "Scheduling is blocked due to non-empty scheduling gates",
			LastTransitionTime: metav1.Now(),
		}}
	}
	if a := p.Spec.Affinity; a != nil {
		if a.PodAffinity != nil {
			applyTermKeys(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, p.Labels)
		}
		if a.PodAntiAffinity != nil {
			applyTermKeys(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, p.Labels)
		}
	}
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		applyLabelKeys(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn, p.Labels)
	}
	appArmorFromAnnotations(p)
}

func applyTermKeys(preferred []v1.WeightedPodAffinityTerm, required []v1.PodAffinityTerm, labels map[string]string) {
	apply := func(t *v1.PodAffinityTerm) {
		applyLabelKeys(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn, labels)
		applyLabelKeys(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, labels)
	}
	for i := range preferred {
		apply(&preferred[i].PodAffinityTerm)
	}
	for i := range required {
		apply(&required[i])
	}
}

// applyLabelKeys adds to a selector what keys mean for a pod of these labels. No
// selector matches nothing and stays so.
func applyLabelKeys(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator, labels map[string]string) {
	if s == nil {
		return
	}
	for _, key := range keys {
		if value, ok := labels[key]; ok {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
		}
	}
}

// QOSClass is the pod's quality of service: Guaranteed when every container limits
// cpu and memory and asks for as much, BestEffort when none says anything.
// Resources of the whole pod count in place of the containers'.
func QOSClass(p *v1.Pod) v1.PodQOSClass {
	requests, limits := v1.ResourceList{}, v1.ResourceList{}
	guaranteed := true
	add := func(r *v1.ResourceRequirements) {
		addCompute(requests, r.Requests)
		if addCompute(limits, r.Limits) < 2 {
			guaranteed = false
		}
	}
	if r := p.Spec.Resources; r != nil {
		addCompute(requests, r.Requests)
		if len(r.Limits) > 0 && addCompute(limits, r.Limits) < 2 {
			guaranteed = false
		}
	} else {
		for i := range p.Spec.Containers {
			add(&p.Spec.Containers[i].Resources)
		}
		for i := range p.Spec.InitContainers {
			add(&p.Spec.InitContainers[i].Resources)
		}
	}
	if len(requests) == 0 && len(limits) == 0 {
		return v1.PodQOSBestEffort
	}
	if !guaranteed || len(requests) != len(limits) {
		return v1.PodQOSBurstable
	}
	for name, q := range requests {
		if limit, ok := limits[name]; !ok || limit.Cmp(q) != 0 {
			return v1.PodQOSBurstable
		}
	}
	return v1.PodQOSGuaranteed
}

// addCompute adds cpu and memory above zero to sum and tells how many there were.
func addCompute(sum, list v1.ResourceList) int {
	n := 0
	for _, name := range [...]v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		q, ok := list[name]
		if !ok || q.Sign() <= 0 {
			continue
		}
		n++
		total := resource.Quantity{}
		if was, ok := sum[name]; ok {
			total = was
		} else {
			total.Format = q.Format
		}
		total.Add(q)
		sum[name] = total
	}
	return n
}

// DropPodTemplate drops the fields of features that are off, as Kubernetes' default
// feature gates have them, unless old uses them. Both may be nil.
func DropPodTemplate(t, old *v1.PodTemplateSpec) {
	if t == nil {
		return
	}
	var was *v1.PodSpec
	if old != nil {
		was = &old.Spec
	}
	dropPodFields(&t.Spec, was)
}

// dropPodFields touches nothing that old has too: parts of spec may be shared with
// it.
func dropPodFields(spec, old *v1.PodSpec) {
	if old == nil {
		old = &v1.PodSpec{}
	}
	if spec.SchedulingGroup != nil && old.SchedulingGroup == nil {
		spec.SchedulingGroup = nil
	}
	if hasStopSignal(spec) && !hasStopSignal(old) {
		eachContainer(spec, func(c *v1.Container) {
			if c.Lifecycle == nil || c.Lifecycle.StopSignal == nil {
				return
			}
			if c.Lifecycle.StopSignal = nil; *c.Lifecycle == (v1.Lifecycle{}) {
				c.Lifecycle = nil
			}
		})
	}
	dropProjections(spec, old)
}

func hasStopSignal(spec *v1.PodSpec) bool {
	found := false
	eachContainer(spec, func(c *v1.Container) { found = found || c.Lifecycle != nil && c.Lifecycle.StopSignal != nil })
	return found
}

func dropProjections(spec, old *v1.PodSpec) {
	bundle := func(s v1.VolumeProjection) bool { return s.ClusterTrustBundle != nil }
	certificate := func(s v1.VolumeProjection) bool { return s.PodCertificate != nil }
	for i := range spec.Volumes {
		if spec.Volumes[i].Projected == nil {
			continue
		}
		sources := spec.Volumes[i].Projected.Sources
		for j := range sources {
			if sources[j].ClusterTrustBundle != nil && !projects(old, bundle) {
				sources[j].ClusterTrustBundle = nil
			}
			if sources[j].PodCertificate != nil && !projects(old, certificate) {
				sources[j].PodCertificate = nil
			}
		}
	}
}

func projects(spec *v1.PodSpec, what func(v1.VolumeProjection) bool) bool {
	return slices.ContainsFunc(spec.Volumes, func(v v1.Volume) bool {
		return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, what)
	})
}

// eachContainer calls f with every container of a pod: init containers, containers,
// ephemeral containers.
func eachContainer(spec *v1.PodSpec, f func(*v1.Container)) {
	for i := range spec.InitContainers {
		f(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		f(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		f((*v1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
}

// preparePodStatus leaves a status write only the status. Owners stay as they are
// and observed generations are not forgotten by old writers.
func preparePodStatus(obj, old *v1.Pod) {
	obj.Spec = old.Spec
	obj.DeletionTimestamp = nil
	obj.OwnerReferences = old.OwnerReferences
	if obj.Status.QOSClass == "" {
		obj.Status.QOSClass = old.Status.QOSClass
	}
	if obj.Status.ObservedGeneration == 0 {
		obj.Status.ObservedGeneration = old.Status.ObservedGeneration
	}
	// A type may stand there more than once; the nth takes from the nth.
	was := map[v1.PodConditionType][]int64{}
	for _, c := range old.Status.Conditions {
		was[c.Type] = append(was[c.Type], c.ObservedGeneration)
	}
	for i := range obj.Status.Conditions {
		c := &obj.Status.Conditions[i]
		list := was[c.Type]
		if len(list) == 0 {
			continue
		}
		was[c.Type] = list[1:]
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = list[0]
		}
	}
	dropStatusFields(&obj.Status, &old.Status)
	syncPodIPs(&obj.Status)
}

// dropStatusFields drops what features that are off report, unless old has it.
func dropStatusFields(s, old *v1.PodStatus) {
	if len(old.NodeAllocatableResourceClaimStatuses) == 0 {
		s.NodeAllocatableResourceClaimStatuses = nil
	}
	inUse := false
	eachMount(old, func(m *v1.VolumeMountStatus) { inUse = inUse || m.VolumeStatus != nil })
	if inUse {
		return
	}
	eachMount(s, func(m *v1.VolumeMountStatus) {
		if m.VolumeStatus != nil {
			m.VolumeStatus = nil
		}
	})
}

func eachMount(s *v1.PodStatus, f func(*v1.VolumeMountStatus)) {
	for _, list := range [...][]v1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				f(&list[i].VolumeMounts[j])
			}
		}
	}
}

// resetForStatus keeps all of old's metadata but labels and annotations and what
// the server keeps itself.
func resetForStatus(obj, old *v1.Pod) {
	metav1.ResetObjectMetaForStatus(&obj.ObjectMeta, &old.ObjectMeta)
}

func preparePodEphemeral(obj, old *v1.Pod) {
	added := obj.Spec.EphemeralContainers
	obj.Spec, obj.Status = old.Spec, old.Status
	obj.Spec.EphemeralContainers = added
	resetForStatus(obj, old)
	dropPodFields(&obj.Spec, &old.Spec)
}

// preparePodResize leaves resources and resize policies; when the containers are
// not the same ones, all is left for validation to refuse.
func preparePodResize(obj, old *v1.Pod) {
	n, o := &obj.Spec, &old.Spec
	if len(n.Containers) == len(o.Containers) && len(n.InitContainers) == len(o.InitContainers) {
		containers, inits := onlyResources(n.Containers, o.Containers), onlyResources(n.InitContainers, o.InitContainers)
		whole := n.Resources
		obj.Spec, obj.Status = old.Spec, old.Status
		obj.Spec.Containers, obj.Spec.InitContainers, obj.Spec.Resources = containers, inits, whole
		resetForStatus(obj, old)
	}
	dropPodFields(&obj.Spec, &old.Spec)
	dropStatusFields(&obj.Status, &old.Status)
}

func onlyResources(obj, old []v1.Container) []v1.Container {
	out := slices.Clone(old)
	for i := range obj {
		if obj[i].Name != old[i].Name {
			return obj
		}
		out[i].Resources, out[i].ResizePolicy = obj[i].Resources, obj[i].ResizePolicy
	}
	return out
}
