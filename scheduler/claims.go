package scheduler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	storagehelpers "k8s.io/component-helpers/storage/volume"
)

const (
	reasonVolumeNode = "node(s) didn't match PersistentVolume's node affinity"
	reasonNoVolume   = "node(s) didn't find available persistent volumes to bind"
	reasonVolumeGone = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
	reasonVolumeZone = "node(s) had no available volume zone"
	reasonOneClaimer = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"

	reasonUnbound = "pod has unbound immediate PersistentVolumeClaims"
)

// storage is what the scheduler knows of claims and volumes. Objects are shared and
// immutable. It is the snapshot's, and like it not safe for concurrent use.
type storage struct {
	claims  map[types.NamespacedName]*v1.PersistentVolumeClaim
	volumes map[string]*v1.PersistentVolume
	classes map[string]*storagev1.StorageClass
	// promised are volumes as they will be when the server has reserved them for a claim.
	promised map[string]*v1.PersistentVolume
}

func newStorage() storage {
	return storage{map[types.NamespacedName]*v1.PersistentVolumeClaim{}, map[string]*v1.PersistentVolume{},
		map[string]*storagev1.StorageClass{}, map[string]*v1.PersistentVolume{}}
}

// setVolume learns a volume; its reservation, once seen, is no promise any more.
func (s *storage) setVolume(pv *v1.PersistentVolume) {
	s.volumes[pv.Name] = pv
	if pv.Spec.ClaimRef != nil {
		delete(s.promised, pv.Name)
	}
}

func (s *storage) volume(name string) *v1.PersistentVolume {
	if pv := s.promised[name]; pv != nil {
		return pv
	}
	return s.volumes[name]
}

// needs are what a pod's claims ask of a node.
type needs struct {
	refused string                      // why no node at all may take the pod
	bound   []*v1.PersistentVolume      // of its claims; nil for one that is gone
	open    []*v1.PersistentVolumeClaim // that get their volume with the node, the smallest first
	shared  bool                        // another pod has a claim that only one may have
}

// choice is what the open claims get on one node.
type choice struct {
	reserve   map[*v1.PersistentVolumeClaim]*v1.PersistentVolume
	provision []*v1.PersistentVolumeClaim
}

func (c *choice) none() bool { return c == nil || len(c.reserve)+len(c.provision) == 0 }

// claimsOf calls f for each claim that a pod's volumes name.
func claimsOf(p *v1.Pod, f func(name string, ephemeral bool) bool) {
	for i := range p.Spec.Volumes {
		switch v := &p.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			if !f(v.PersistentVolumeClaim.ClaimName, false) {
				return
			}
		case v.Ephemeral != nil:
			if !f(p.Name+"-"+v.Name, true) {
				return
			}
		}
	}
}

func claims(p *v1.Pod, name string) (found bool) {
	claimsOf(p, func(n string, _ bool) bool { found = n == name; return !found })
	return found
}

// needsOf finds what the claims of a pod ask for; nil if it has none.
func (s *snapshot) needsOf(p *v1.Pod) *needs {
	var n *needs
	immediate := false
	claimsOf(p, func(name string, ephemeral bool) bool {
		if n == nil {
			n = &needs{}
		}
		c := s.storage.claims[types.NamespacedName{Namespace: p.Namespace, Name: name}]
		switch {
		case c == nil && ephemeral:
			n.refused = fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
		case c == nil:
			n.refused = fmt.Sprintf("persistentvolumeclaim %q not found", name)
		case c.Status.Phase == v1.ClaimLost:
			n.refused = fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, c.Spec.VolumeName)
		case c.DeletionTimestamp != nil:
			n.refused = fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
		case ephemeral && !metav1.IsControlledBy(c, p):
			n.refused = fmt.Sprintf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", c.Namespace, c.Name, p.Namespace, p.Name)
		case isBound(c):
			n.bound = append(n.bound, s.storage.volumes[c.Spec.VolumeName])
		case c.Spec.VolumeName == "" && s.storage.delays(c):
			n.open = append(n.open, c)
		default:
			immediate = true
		}
		if n.refused == "" && slices.Contains(c.Spec.AccessModes, v1.ReadWriteOncePod) && s.claimed(p, c.Name) {
			n.shared = true
		}
		return n.refused == ""
	})
	if n == nil {
		return nil
	}
	if n.refused == "" && immediate {
		n.refused = reasonUnbound
	}
	slices.SortFunc(n.open, func(a, b *v1.PersistentVolumeClaim) int {
		x, y := a.Spec.Resources.Requests[v1.ResourceStorage], b.Spec.Resources.Requests[v1.ResourceStorage]
		return cmp.Or(x.Cmp(y), strings.Compare(a.Name, b.Name))
	})
	return n
}

func isBound(c *v1.PersistentVolumeClaim) bool {
	return c.Spec.VolumeName != "" && metav1.HasAnnotation(c.ObjectMeta, storagehelpers.AnnBindCompleted)
}

// delays tells whether a claim waits for a node to be chosen.
func (s *storage) delays(c *v1.PersistentVolumeClaim) bool {
	class := s.classes[storagehelpers.GetPersistentVolumeClaimClass(c)]
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// claimed tells whether a pod other than p that is placed has a claim.
func (s *snapshot) claimed(p *v1.Pod, name string) bool {
	for uid, q := range s.pods {
		if uid != p.UID && q.pod != nil && q.pod.Namespace == p.Namespace && claims(q.pod, name) {
			return true
		}
	}
	return false
}

// judge is the verdict of a pod's claims on a node, and what they get there.
func (n *needs) judge(s *storage, node *v1.Node) (verdict, *choice) {
	if n.shared {
		return verdict{[]string{reasonOneClaimer}, false}, nil
	}
	for _, pv := range n.bound {
		switch {
		case pv == nil:
			return verdict{[]string{reasonVolumeGone}, true}, nil
		case storagehelpers.CheckNodeAffinity(pv, node.Labels) != nil:
			return verdict{[]string{reasonVolumeNode}, true}, nil
		case !zoneFits(pv, node):
			return verdict{[]string{reasonVolumeZone}, true}, nil
		}
	}
	c := s.choose(n.open, node)
	if c == nil {
		return verdict{[]string{reasonNoVolume}, true}, nil
	}
	return verdict{}, c
}

// choose finds volumes for claims on a node; nil if one gets none.
func (s *storage) choose(open []*v1.PersistentVolumeClaim, node *v1.Node) *choice {
	c := &choice{reserve: map[*v1.PersistentVolumeClaim]*v1.PersistentVolume{}}
	if len(open) == 0 {
		return c
	}
	var all []*v1.PersistentVolume
	for name := range s.volumes {
		all = append(all, s.volume(name))
	}
	// Of volumes that are alike always the same is taken.
	slices.SortFunc(all, func(a, b *v1.PersistentVolume) int { return strings.Compare(a.Name, b.Name) })
	taken := map[string]*v1.PersistentVolume{}
	for _, claim := range open {
		if at, ok := claim.Annotations[storagehelpers.AnnSelectedNode]; ok {
			if at != node.Name {
				return nil
			}
			c.provision = append(c.provision, claim)
			continue
		}
		// The selector of a claim is valid, or the claim would not be there.
		pv, err := storagehelpers.FindMatchingVolume(claim, all, node, taken, true, true)
		switch {
		case err == nil && pv != nil:
			taken[pv.Name] = pv
			c.reserve[claim] = pv
		case s.provisions(claim, node):
			c.provision = append(c.provision, claim)
		default:
			return nil
		}
	}
	return c
}

// provisions tells whether a claim's class can make a volume for a node.
func (s *storage) provisions(claim *v1.PersistentVolumeClaim, node *v1.Node) bool {
	class := s.classes[storagehelpers.GetPersistentVolumeClaimClass(claim)]
	if class == nil || class.Provisioner == "" || class.Provisioner == storagehelpers.NotSupportedProvisioner {
		return false
	}
	return len(class.AllowedTopologies) == 0 || slices.ContainsFunc(class.AllowedTopologies, func(t v1.TopologySelectorTerm) bool {
		return !slices.ContainsFunc(t.MatchLabelExpressions, func(e v1.TopologySelectorLabelRequirement) bool {
			return !slices.Contains(e.Values, node.Labels[e.Key])
		})
	})
}

var zoneLabels = []string{v1.LabelFailureDomainBetaZone, v1.LabelFailureDomainBetaRegion, v1.LabelTopologyZone, v1.LabelTopologyRegion}

// zoneFits compares the zones that old volumes carry as labels with a node's. A node
// without such labels is in a cluster without zones.
func zoneFits(pv *v1.PersistentVolume, node *v1.Node) bool {
	if !slices.ContainsFunc(zoneLabels, func(l string) bool { return node.Labels[l] != "" }) {
		return true
	}
	for _, l := range zoneLabels {
		if zones, ok := pv.Labels[l]; ok && !slices.Contains(strings.Split(zones, "__"), node.Labels[l]) {
			return false
		}
	}
	return true
}

// refuse says in kube-scheduler's words why no node was even asked.
func refuse(p *v1.Pod, nodes int, why string) string {
	if nodes == 0 {
		return noNodes
	}
	all := make([]verdict, nodes)
	for i := range all {
		all[i].final = true
	}
	return fmt.Sprintf("0/%d nodes are available: %s. preemption: %s", nodes, why, preemption(p, all))
}
