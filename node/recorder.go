package node

import (
	"context"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/node/lifecycle"
)

// eventSink writes events through a client.
type eventSink struct {
	ctx context.Context
	c   client.Client
}

func (s eventSink) Create(e *v1.Event) (*v1.Event, error) {
	return e, s.c.Create(s.ctx, e)
}

func (s eventSink) Update(e *v1.Event) (*v1.Event, error) {
	return e, s.c.Update(s.ctx, e)
}

func (s eventSink) Patch(e *v1.Event, data []byte) (*v1.Event, error) {
	return e, s.c.Patch(s.ctx, e, client.RawPatch(types.StrategicMergePatchType, data))
}

// newRecorder sends events as client-go's recorder does: correlated, counted, and
// held back when one object has too many.
func newRecorder(ctx context.Context, c client.Client, node string) (record.EventRecorder, func()) {
	b := record.NewBroadcaster(record.WithContext(ctx))
	b.StartRecordingToSink(eventSink{context.WithoutCancel(ctx), c})
	return b.NewRecorder(c.Scheme(), v1.EventSource{Component: "kubelet", Host: node}), b.Shutdown
}

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
