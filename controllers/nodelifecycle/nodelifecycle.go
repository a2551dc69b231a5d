// Package nodelifecycle notices nodes that have fallen silent, and says by taints
// what state a node is in.
//
// Reads: Nodes, Leases of kube-node-lease, Pods.
// Writes: the conditions of silent Nodes; the taints node.kubernetes.io/*; the Ready
// condition of Pods on nodes that are not ready.
//
// It does not slow down when most nodes of a zone fail at once, as Kubernetes does
// from 55% of more than 50 nodes on; it only stops evicting when none is ready.
package nodelifecycle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

// ByNode is the index of pods by spec.nodeName.
const ByNode = "spec.nodeName"

const (
	defaultGrace        = 50 * time.Second
	defaultStartupGrace = 60 * time.Second
)

type controller struct {
	env    *loop.Env
	events loop.Recorder
	loop   *loop.Loop[loop.Request]

	mu    sync.Mutex
	heard map[string]time.Time // by our own clock, not the node's
	ready map[string]bool
}

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	c := &controller{env: env, events: env.Recorder("node-controller"), heard: map[string]time.Time{}, ready: map[string]bool{}}
	c.loop = loop.New(ctx, env, "nodelifecycle", 2, reconcile.Func(c.reconcile))
	c.loop.Index(&corev1.Pod{}, ByNode, NodeName)
	loop.On(c.loop, &corev1.Node{}, c.onNode)
	loop.On(c.loop, &coordinationv1.Lease{}, func(old, l *coordinationv1.Lease) {
		if l == nil || l.Namespace != corev1.NamespaceNodeLease {
			return
		}
		if old == nil || old.Spec.RenewTime == nil || !old.Spec.RenewTime.Equal(l.Spec.RenewTime) {
			c.hear(l.Name)
		}
	})
	return c.loop.Start()
}

// NodeName is the value of the index ByNode.
func NodeName(obj crclient.Object) []string {
	if p, ok := obj.(*corev1.Pod); ok && p.Spec.NodeName != "" {
		return []string{p.Spec.NodeName}
	}
	return nil
}

func (c *controller) hear(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[node] = time.Now()
}

func (c *controller) onNode(old, n *corev1.Node) {
	if n == nil {
		c.mu.Lock()
		delete(c.heard, old.Name)
		delete(c.ready, old.Name)
		c.mu.Unlock()
		c.wakeAll()
		return
	}
	if old == nil || beat(old) != beat(n) {
		c.hear(n.Name)
	}
	is := ready(n) == corev1.ConditionTrue
	c.mu.Lock()
	was, known := c.ready[n.Name]
	c.ready[n.Name] = is
	c.mu.Unlock()
	if known && was != is {
		// Whether others evict depends on whether any node is ready.
		c.wakeAll()
	}
	c.loop.Add(loop.Key(n))
}

// beat is the newest sign of life in a node's status.
func beat(n *corev1.Node) metav1.Time {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.LastHeartbeatTime
		}
	}
	return metav1.Time{}
}

func (c *controller) wakeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.ready {
		c.loop.Add(loop.Request{NamespacedName: types.NamespacedName{Name: name}})
	}
}

func (c *controller) anyReady() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ready := range c.ready {
		if ready {
			return true
		}
	}
	return false
}

// silence is how long a node may stay silent yet; 0 or less: it is too long.
func (c *controller) silence(n *corev1.Node) time.Duration {
	grace := c.env.Config.NodeGrace
	if grace == 0 {
		grace = defaultGrace
	}
	if !slices.ContainsFunc(n.Status.Conditions, func(x corev1.NodeCondition) bool { return x.Type == corev1.NodeReady }) {
		grace = max(grace, c.env.Config.NodeStartupGrace)
		if c.env.Config.NodeStartupGrace == 0 {
			grace = max(grace, defaultStartupGrace)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.heard[n.Name]
	if !ok {
		at = time.Now()
		c.heard[n.Name] = at
	}
	return time.Until(at.Add(grace))
}

func (c *controller) reconcile(ctx context.Context, r loop.Request) (reconcile.Result, error) {
	n := &corev1.Node{}
	if err := c.env.Cache.Get(ctx, r.NamespacedName, n); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	left := c.silence(n)
	if left <= 0 {
		if conditions := silent(n, metav1.Now()); conditions != nil {
			n.Status.Conditions = conditions
			if err := c.env.Client.Status().Update(ctx, n); err != nil {
				return reconcile.Result{}, err
			}
			c.mu.Lock()
			c.ready[n.Name] = false
			c.mu.Unlock()
			c.wakeAll()
		}
	}
	if want := taints(n, c.anyReady(), time.Now()); !sameTaints(n.Spec.Taints, want) {
		base := n.DeepCopy()
		n.Spec.Taints = want
		// Taints have no merge key: the whole list is written, guarded by the version.
		if err := c.env.Client.Patch(ctx, n, crclient.MergeFromWithOptions(base, crclient.MergeFromWithOptimisticLock{})); err != nil {
			return reconcile.Result{}, err
		}
	}
	if ready(n) != corev1.ConditionTrue {
		if err := c.unreadyPods(ctx, n.Name); err != nil {
			return reconcile.Result{}, err
		}
	}
	if left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	return reconcile.Result{}, nil
}

// unreadyPods takes the pods of a node that is not ready out of their services.
func (c *controller) unreadyPods(ctx context.Context, node string) error {
	var pods corev1.PodList
	if err := c.env.Cache.List(ctx, &pods, crclient.MatchingFields{ByNode: node}, crclient.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	var errs []error
	for i := range pods.Items {
		if !loop.Ready(&pods.Items[i]) {
			continue
		}
		pod := pods.Items[i].DeepCopy()
		base := pod.DeepCopy()
		cond := loop.Condition(pod, corev1.PodReady)
		cond.Status, cond.LastTransitionTime = corev1.ConditionFalse, metav1.Now()
		if err := c.env.Client.Status().Patch(ctx, pod, crclient.StrategicMergeFrom(base)); err != nil {
			errs = append(errs, crclient.IgnoreNotFound(err))
			continue
		}
		c.events.Eventf(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	return errors.Join(errs...)
}
