package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	coordination "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/engine"
)

// maxImages is how many images the Node object lists, the kubelet's default.
const maxImages = 50

// registration is what the node has written about itself.
type registration struct {
	status   v1.NodeStatus
	uid      types.UID
	reported time.Time
}

// register makes or refreshes the Node object and its Lease.
func (n *Node) register(ctx context.Context) error {
	n.machine = readMachine()
	status := n.nodeStatus(ctx, nil)
	labels := n.labels()
	n.mu.Lock()
	n.resources = resourceView{name: n.o.Name, allocatable: status.Allocatable, labels: labels, pressure: n.resources.pressure}
	n.mu.Unlock()

	node := &v1.Node{}
	node.Name, node.Labels = n.o.Name, labels
	node.Spec.Taints = n.o.Taints
	node.Status = status
	err := n.o.Client.Create(ctx, node.DeepCopy())
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	if err == nil {
		n.tellConditions(nil, status.Conditions)
	}
	have := &v1.Node{}
	if err := n.o.Client.Get(ctx, client.ObjectKey{Name: n.o.Name}, have); err != nil {
		return err
	}
	if missing(have.Labels, labels) {
		data, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
		if err != nil {
			return err
		}
		if err := n.o.Client.Patch(ctx, &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.o.Name}}, client.RawPatch(types.MergePatchType, data)); err != nil {
			return err
		}
	}
	n.mu.Lock()
	n.resources.labels, n.resources.uid = merged(have.Labels, labels), have.UID
	n.mu.Unlock()
	n.registered.uid = have.UID
	if err := n.writeNodeStatus(ctx, &have.Status); err != nil {
		return err
	}
	return n.renewLease(ctx)
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

func missing(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return true
		}
	}
	return false
}

func (n *Node) labels() map[string]string {
	l := map[string]string{
		v1.LabelHostname: strings.ToLower(n.o.Name), v1.LabelOSStable: runtime.GOOS, v1.LabelArchStable: runtime.GOARCH,
		"beta.kubernetes.io/os": runtime.GOOS, "beta.kubernetes.io/arch": runtime.GOARCH,
	}
	maps.Copy(l, n.o.Labels)
	return l
}

func (n *Node) allocatable() v1.ResourceList {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.resources.allocatable
}

// nodeStatus is what this node says of itself now; times of conditions that did
// not change are taken from old.
func (n *Node) nodeStatus(ctx context.Context, old []v1.NodeCondition) v1.NodeStatus {
	capacity := n.capacity(ctx)
	s := v1.NodeStatus{
		Capacity: capacity, Allocatable: less(capacity, n.o.Reserved),
		DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: n.o.Port}},
		NodeInfo:        n.machine.info,
		RuntimeHandlers: []v1.NodeRuntimeHandler{{Name: "", Features: &v1.NodeRuntimeHandlerFeatures{RecursiveReadOnlyMounts: new(bool), UserNamespaces: new(bool)}}},
	}
	s.NodeInfo.KubeletVersion, s.NodeInfo.ContainerRuntimeVersion = n.o.Version, n.o.RuntimeVersion
	for _, ip := range n.o.NodeIPs {
		s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip})
	}
	s.Addresses = append(s.Addresses, v1.NodeAddress{Type: v1.NodeHostName, Address: n.o.Name})
	p := n.conditions(ctx)
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	add := func(t v1.NodeConditionType, on bool, reason, message string) {
		c := v1.NodeCondition{Type: t, Status: v1.ConditionFalse, Reason: reason, Message: message, LastHeartbeatTime: now, LastTransitionTime: now}
		if on {
			c.Status = v1.ConditionTrue
		}
		if i := slices.IndexFunc(old, func(o v1.NodeCondition) bool { return o.Type == t }); i >= 0 && old[i].Status == c.Status {
			c.LastTransitionTime = old[i].LastTransitionTime
		}
		s.Conditions = append(s.Conditions, c)
	}
	choose := func(on bool, yes, no string) string {
		if on {
			return yes
		}
		return no
	}
	add(v1.NodeMemoryPressure, p.Memory, choose(p.Memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory"),
		choose(p.Memory, "kubelet has insufficient memory available", "kubelet has sufficient memory available"))
	add(v1.NodeDiskPressure, p.Disk, choose(p.Disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure"),
		choose(p.Disk, "kubelet has disk pressure", "kubelet has no disk pressure"))
	add(v1.NodePIDPressure, p.PID, choose(p.PID, "KubeletHasInsufficientPID", "KubeletHasSufficientPID"),
		choose(p.PID, "kubelet has insufficient PID available", "kubelet has sufficient PID available"))
	add(v1.NodeReady, true, "KubeletReady", "kubelet is posting ready status")
	if list, err := n.o.Engine.Images().List(ctx); err == nil {
		s.Images = nodeImages(list)
	}
	return s
}

// nodeImages lists the largest images with a few of their names.
func nodeImages(list []*engine.Image) []v1.ContainerImage {
	slices.SortFunc(list, func(a, b *engine.Image) int { return int(b.Size - a.Size) })
	var out []v1.ContainerImage
	for _, img := range list {
		names := append(slices.Clone(img.Digests), img.Names...)
		if len(names) == 0 {
			continue
		}
		out = append(out, v1.ContainerImage{Names: names[:min(len(names), 5)], SizeBytes: img.Size})
		if len(out) == maxImages {
			break
		}
	}
	return out
}

// writeNodeStatus patches the status where it differs from have.
func (n *Node) writeNodeStatus(ctx context.Context, have *v1.NodeStatus) error {
	s := n.nodeStatus(ctx, have.Conditions)
	data, err := json.Marshal(map[string]any{"status": s})
	if err != nil {
		return err
	}
	node := &v1.Node{}
	node.Name = n.o.Name
	if err := n.o.Client.Status().Patch(ctx, node, client.RawPatch(types.StrategicMergePatchType, data)); err != nil {
		return err
	}
	n.tellConditions(have.Conditions, s.Conditions)
	n.registered.status, n.registered.reported = s, time.Now()
	return nil
}

// heartbeat renews the lease, and writes the status when something changed or
// enough time has passed.
func (n *Node) heartbeat(ctx context.Context) {
	if err := n.renewLease(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("cannot renew the node's lease", "error", err)
	}
	now := n.nodeStatus(ctx, n.registered.status.Conditions)
	n.relieve()
	if time.Since(n.registered.reported) < statusInterval && sameStatus(&now, &n.registered.status) {
		return
	}
	have := &v1.Node{}
	err := n.o.Client.Get(ctx, client.ObjectKey{Name: n.o.Name}, have)
	switch {
	case apierrors.IsNotFound(err):
		err = n.register(ctx) // somebody deleted it
	case err == nil:
		err = n.writeNodeStatus(ctx, &have.Status)
	}
	if err != nil && ctx.Err() == nil {
		n.log.Warn("cannot write the node's status", "error", err)
	}
}

func sameStatus(a, b *v1.NodeStatus) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	for _, s := range []*v1.NodeStatus{x, y} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return equality.Semantic.DeepEqual(x, y)
}

// renewLease says that the node lives, without reading first.
func (n *Node) renewLease(ctx context.Context) error {
	now := metav1.NewMicroTime(time.Now())
	key := metav1.ObjectMeta{Namespace: v1.NamespaceNodeLease, Name: n.o.Name}
	data := fmt.Appendf(nil, `{"spec":{"holderIdentity":%q,"leaseDurationSeconds":%d,"renewTime":%q}}`,
		n.o.Name, int(leaseDuration/time.Second), now.UTC().Format(metav1.RFC3339Micro))
	err := n.o.Client.Patch(ctx, &coordination.Lease{ObjectMeta: key}, client.RawPatch(types.MergePatchType, data))
	if !apierrors.IsNotFound(err) {
		return err
	}
	holder, seconds := n.o.Name, int32(leaseDuration/time.Second)
	lease := &coordination.Lease{ObjectMeta: key, Spec: coordination.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}}
	lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.o.Name, UID: n.registered.uid}}
	err = n.o.Client.Create(ctx, lease)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if apierrors.IsNotFound(err) {
		// The namespace is made by a controller, perhaps a moment later.
		n.log.Debug("no namespace for node leases yet")
		return nil
	}
	return err
}

func (n *Node) nodeUID() types.UID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.resources.uid
}
