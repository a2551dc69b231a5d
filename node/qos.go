package node

import (
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/engine"
	"skiff.dev/skiff/node/podspec"
)

// classes keeps the control groups above the pods' own as the kubelet does
// (pkg/kubelet/cm/qos_container_manager_linux.go of Kubernetes): kubepods holds
// what the node may give away, kubepods/besteffort has the smallest share, and
// kubepods/burstable the sum of what its pods request. One addition or subtraction
// a pod keeps the sum; the group is written when the sum has changed.
type classes struct {
	groups engine.Groups // nil where the engine has none

	mu      sync.Mutex // held through the writes, so that they come in order
	request map[types.UID]int64
	sum     int64 // of request, thousandths of a core
	written int64 // shares of burstable
}

// start makes the groups with what the node has to give.
func (c *classes) start(n *Node, allocatable v1.ResourceList) error {
	if c.groups == nil {
		return nil
	}
	for path, r := range podspec.ClassGroups(allocatable) {
		if err := c.groups.SetGroup(n.ctx, path, r); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = 0
	return c.write(n)
}

// set counts the pod with what it requests now; drop counts it no more.
func (c *classes) set(n *Node, pod *v1.Pod) {
	if podspec.QoS(pod) == v1.PodQOSBurstable {
		c.count(n, pod.UID, podspec.CPURequest(pod))
	}
}

func (c *classes) drop(n *Node, uid types.UID) { c.count(n, uid, 0) }

func (c *classes) count(n *Node, uid types.UID, milli int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.groups == nil || c.request[uid] == milli {
		return
	}
	c.sum += milli - c.request[uid]
	if milli == 0 {
		delete(c.request, uid)
	} else {
		c.request[uid] = milli
	}
	if err := c.write(n); err != nil && n.ctx.Err() == nil {
		n.log.Warn("cannot set the share of burstable pods", "error", err)
	}
}

func (c *classes) write(n *Node) error {
	shares := podspec.Shares(c.sum)
	if shares == c.written {
		return nil
	}
	if err := c.groups.SetGroup(n.ctx, podspec.GroupBurstable, engine.Resources{CPUShares: shares}); err != nil {
		return err
	}
	c.written = shares
	return nil
}
