package node

import (
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
