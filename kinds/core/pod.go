package core

import (
	"strconv"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/rules"
)

func pod() *kinds.Kind {
	k := newKind[v1.Pod, v1.PodList]("pods", true, "po")
	k.Categories = []string{"all"}
	k.Name = rules.DNSSubdomain
	k.Default = rules.Do(defaultPod)
	k.PrepareCreate = rules.Do(preparePod)
	k.PrepareUpdate = rules.Do2(func(obj, old *v1.Pod) {
		obj.Status = old.Status
		dropPodFields(&obj.Spec, &old.Spec)
	})
	k.Generation = rules.Differ(func(obj, old *v1.Pod) bool { return !equality.Semantic.DeepEqual(obj.Spec, old.Spec) })
	k.Validate = rules.Check(validatePod)
	k.ValidateUpdate = rules.Check2(validatePodUpdate)
	k.Warnings = rules.Warn(podWarnings)
	k.Grace = func(obj kinds.Object, asked *int64) int64 { return podGrace(obj.(*v1.Pod), asked) }
	k.Subresources = podSubresources()
	k.Columns = podColumns()
	k.Cells = rules.Cells(podCells)
	k.RowConditions = podConditions
	k.Fields = podFields()
	return k
}

func podSubresources() map[string]kinds.Subresource {
	stream := func(kind string) kinds.Subresource {
		return kinds.Subresource{Verbs: []string{"create", "get"}, Kind: coreGVK(kind)}
	}
	return map[string]kinds.Subresource{
		"status": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(preparePodStatus),
			ValidateUpdate: rules.Check2(validatePodStatus),
			Reset:          []string{"spec", "metadata.deletionTimestamp", "metadata.ownerReferences"},
		},
		"ephemeralcontainers": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(preparePodEphemeral),
			ValidateUpdate: rules.Check2(validatePodEphemeral),
		},
		"resize": {
			Verbs:          statusVerbs(),
			PrepareUpdate:  rules.Do2(preparePodResize),
			ValidateUpdate: rules.Check2(validatePodResize),
		},
		"binding":     {Verbs: []string{"create"}, Kind: coreGVK("Binding")},
		"eviction":    {Verbs: []string{"create"}, Kind: schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"}},
		"log":         {Verbs: []string{"get"}, Kind: coreGVK("Pod")},
		"attach":      stream("PodAttachOptions"),
		"exec":        stream("PodExecOptions"),
		"portforward": stream("PodPortForwardOptions"),
		"proxy":       {Verbs: proxyVerbs(), Kind: coreGVK("PodProxyOptions")},
	}
}

// podGrace is what was asked, else the pod's own period; none for a pod that never
// got a node or has ended.
func podGrace(p *v1.Pod, asked *int64) int64 {
	period := int64(0)
	switch {
	case asked != nil:
		period = *asked
	case p.Spec.TerminationGracePeriodSeconds != nil:
		period = *p.Spec.TerminationGracePeriodSeconds
	}
	if p.Spec.NodeName == "" || p.Status.Phase == v1.PodFailed || p.Status.Phase == v1.PodSucceeded {
		return 0
	}
	if period < 0 {
		return 1
	}
	return period
}

func podFields() map[string]func(kinds.Object) string {
	nodeName := rules.Field(func(p *v1.Pod) string { return p.Spec.NodeName })
	return map[string]func(kinds.Object) string{
		"spec.nodeName": nodeName,
		// The name that v1beta1 had.
		"spec.host":                nodeName,
		"spec.restartPolicy":       rules.Field(func(p *v1.Pod) string { return string(p.Spec.RestartPolicy) }),
		"spec.schedulerName":       rules.Field(func(p *v1.Pod) string { return p.Spec.SchedulerName }),
		"spec.serviceAccountName":  rules.Field(func(p *v1.Pod) string { return p.Spec.ServiceAccountName }),
		"spec.hostNetwork":         rules.Field(func(p *v1.Pod) string { return strconv.FormatBool(p.Spec.HostNetwork) }),
		"status.phase":             rules.Field(func(p *v1.Pod) string { return string(p.Status.Phase) }),
		"status.podIP":             rules.Field(podIP),
		"status.podIPs":            rules.Field(func(*v1.Pod) string { return "" }),
		"status.nominatedNodeName": rules.Field(func(p *v1.Pod) string { return p.Status.NominatedNodeName }),
	}
}

func podIP(p *v1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return p.Status.PodIPs[0].IP
	}
	return ""
}
