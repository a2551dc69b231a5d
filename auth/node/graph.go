// Package node authorizes the nodes of the cluster: a node reads and writes what
// the pods bound to it need, and nothing of other nodes. It keeps which pods are
// on which node, fed by the API server with every change of pods, persistent
// volumes, volume attachments and resource slices; what a pod refers to is looked
// up in the pod itself when a node asks.
package node

import (
	"sync"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"

	"skiff.dev/skiff/kinds"
)

// Graph is safe for concurrent use. It keeps the objects it is given, uncopied.
type Graph struct {
	mu          sync.RWMutex
	pods        map[string]map[key]*v1.Pod // by node
	volumes     map[key]*v1.PersistentVolume
	claims      map[key]map[string]bool // persistent volumes by the claim that they are bound to
	attachments map[string]string       // volume attachment to node
	slices      map[string]string       // resource slice to node
}

type key struct{ namespace, name string }

// NewGraph returns an empty graph.
func NewGraph() *Graph {
	return &Graph{
		pods:        map[string]map[key]*v1.Pod{},
		volumes:     map[key]*v1.PersistentVolume{},
		claims:      map[key]map[string]bool{},
		attachments: map[string]string{},
		slices:      map[string]string{},
	}
}

// Apply takes one change into account; other kinds are ignored.
func (g *Graph) Apply(e kinds.Event) {
	obj := e.New
	if obj == nil {
		obj = e.Old
	}
	switch obj.(type) {
	case *v1.Pod, *v1.PersistentVolume, *storagev1.VolumeAttachment, *resourcev1.ResourceSlice:
	default:
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.Old != nil {
		g.remove(e.Old)
	}
	if e.New != nil {
		g.add(e.New)
	}
}

func (g *Graph) remove(o kinds.Object) {
	switch o := o.(type) {
	case *v1.Pod:
		of := g.pods[o.Spec.NodeName]
		delete(of, key{o.Namespace, o.Name})
		if len(of) == 0 {
			delete(g.pods, o.Spec.NodeName)
		}
	case *v1.PersistentVolume:
		delete(g.volumes, key{name: o.Name})
		if c := o.Spec.ClaimRef; c != nil {
			k := key{c.Namespace, c.Name}
			delete(g.claims[k], o.Name)
			if len(g.claims[k]) == 0 {
				delete(g.claims, k)
			}
		}
	case *storagev1.VolumeAttachment:
		delete(g.attachments, o.Name)
	case *resourcev1.ResourceSlice:
		delete(g.slices, o.Name)
	}
}

func (g *Graph) add(o kinds.Object) {
	switch o := o.(type) {
	case *v1.Pod:
		if o.Spec.NodeName == "" {
			return
		}
		of := g.pods[o.Spec.NodeName]
		if of == nil {
			of = map[key]*v1.Pod{}
			g.pods[o.Spec.NodeName] = of
		}
		of[key{o.Namespace, o.Name}] = o
	case *v1.PersistentVolume:
		g.volumes[key{name: o.Name}] = o
		if c := o.Spec.ClaimRef; c != nil {
			k := key{c.Namespace, c.Name}
			if g.claims[k] == nil {
				g.claims[k] = map[string]bool{}
			}
			g.claims[k][o.Name] = true
		}
	case *storagev1.VolumeAttachment:
		g.attachments[o.Name] = o.Spec.NodeName
	case *resourcev1.ResourceSlice:
		if o.Spec.NodeName != nil {
			g.slices[o.Name] = *o.Spec.NodeName
		}
	}
}

// what a node may be related to
type relation int

const (
	toPod relation = iota
	toSecret
	toConfigMap
	toClaim
	toVolume
	toServiceAccount
	toResourceClaim
	toAttachment
	toSlice
)

// related tells whether a pod of node leads to the object.
func (g *Graph) related(node string, r relation, namespace, name string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	switch r {
	case toPod:
		return g.pods[node][key{namespace, name}] != nil
	case toAttachment:
		return g.attachments[name] == node
	case toSlice:
		return g.slices[name] == node
	case toVolume:
		return g.usesVolume(node, name)
	}
	for k, pod := range g.pods[node] {
		if namespace == k.namespace && refers(pod, r, name) {
			return true
		}
	}
	return r == toSecret && g.volumeSecret(node, namespace, name)
}

func (g *Graph) usesVolume(node, name string) bool {
	pv := g.volumes[key{name: name}]
	return pv != nil && pv.Spec.ClaimRef != nil && g.usesClaim(node, pv.Spec.ClaimRef.Namespace, pv.Spec.ClaimRef.Name)
}

func (g *Graph) usesClaim(node, namespace, name string) bool {
	for k, pod := range g.pods[node] {
		if k.namespace == namespace && refers(pod, toClaim, name) {
			return true
		}
	}
	return false
}

// volumeSecret tells whether a volume that a pod of node uses names the secret.
func (g *Graph) volumeSecret(node, namespace, name string) bool {
	for k, pod := range g.pods[node] {
		if mirror(pod) {
			continue
		}
		for i := range pod.Spec.Volumes {
			claim := claimOf(pod, &pod.Spec.Volumes[i])
			if claim == "" {
				continue
			}
			for pv := range g.claims[key{k.namespace, claim}] {
				if namesSecret(g.volumes[key{name: pv}], namespace, name) {
					return true
				}
			}
		}
	}
	return false
}
