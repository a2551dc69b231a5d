package node

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/node/lifecycle"
)

// event tells something about the pod.
func (n *Node) event(pod *v1.Pod, kind, reason, format string, args ...any) {
	n.events.Eventf(podRef(pod), kind, reason, format, args...)
}

// containerEvent tells something about one container of the pod.
func (n *Node) containerEvent(pod *v1.Pod, container, kind, reason, format string, args ...any) {
	ref := podRef(pod)
	list := "containers"
	if _, k, ok := lifecycle.Find(pod, container); ok {
		switch k {
		case lifecycle.Init, lifecycle.Sidecar:
			list = "initContainers"
		case lifecycle.Ephemeral:
			list = "ephemeralContainers"
		}
	}
	ref.FieldPath = "spec." + list + "{" + container + "}"
	n.events.Eventf(ref, kind, reason, format, args...)
}

func podRef(pod *v1.Pod) *v1.ObjectReference {
	return &v1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name,
		UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
}

// ref is the node as the kubelet names it in events: its name for a UID.
func (n *Node) ref() *v1.ObjectReference {
	return &v1.ObjectReference{Kind: "Node", Name: n.o.Name, UID: types.UID(n.o.Name)}
}

// tellConditions records what has changed of the node's conditions, in the
// kubelet's words.
func (n *Node) tellConditions(old, now []v1.NodeCondition) {
	words := map[v1.NodeConditionType][2]string{ // when true, when false
		v1.NodeMemoryPressure: {"NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
		v1.NodeDiskPressure:   {"NodeHasDiskPressure", "NodeHasNoDiskPressure"},
		v1.NodePIDPressure:    {"NodeHasInsufficientPID", "NodeHasSufficientPID"},
		v1.NodeReady:          {"NodeReady", "NodeNotReady"},
	}
	for _, c := range now {
		if slices.ContainsFunc(old, func(o v1.NodeCondition) bool { return o.Type == c.Type && o.Status == c.Status }) {
			continue
		}
		reason := words[c.Type][1]
		if c.Status == v1.ConditionTrue {
			reason = words[c.Type][0]
		}
		n.events.Eventf(n.ref(), v1.EventTypeNormal, reason, "Node %s status is now: %s", n.o.Name, reason)
	}
}
