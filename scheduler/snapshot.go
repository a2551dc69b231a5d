package scheduler

import (
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// snapshot is the cluster as the scheduler sees it: every node with what its pods
// take, those it has just placed included. It is changed in place, one node at a
// time, and remembers which nodes changed, so that what was computed from it can be
// brought forward without a pass over all nodes. It is not safe for concurrent use.
type snapshot struct {
	nodes  []*node // by number; nil for a node that is gone
	free   []int   // numbers of nodes that are gone
	byName map[string]int
	count  int
	pods   map[types.UID]placed
	// lost are the pods of nodes that are not known, yet or any more.
	lost   map[string]map[types.UID]bool
	images map[string]*image
	// relating are the placed pods that ask something of others.
	relating   map[types.UID]*relations
	namespaces map[string]map[string]string // to labels
	storage    storage

	changes []int // numbers of changed nodes; the first is change number trimmed
	trimmed int
}

// node is one node. Its object is shared and immutable.
type node struct {
	obj         *v1.Node
	version     int // changes with obj
	allocatable amounts
	allowedPods int64

	pods                  int64
	used                  amounts
	leastCPU, leastMemory int64
	ports                 map[hostPort]int
	images                map[string]int64
}

// placed is a pod on a node; the node may not be known yet.
type placed struct {
	node    string
	demand  *demand
	pod     *v1.Pod // shared, immutable
	assumed bool    // by us; the server has not confirmed it yet
}

// image is what is known of one name over all nodes.
type image struct {
	nodes int
}

func newSnapshot() *snapshot {
	return &snapshot{byName: map[string]int{}, pods: map[types.UID]placed{}, lost: map[string]map[types.UID]bool{}, images: map[string]*image{},
		relating: map[types.UID]*relations{}, namespaces: map[string]map[string]string{}, storage: newStorage()}
}

// changesKept is how many changes are remembered; who is further behind looks at
// all nodes again.
const changesKept = 1 << 16

func (s *snapshot) changed(i int) {
	s.changes = append(s.changes, i)
	if len(s.changes) > 2*changesKept {
		cut := len(s.changes) - changesKept
		s.changes = append(s.changes[:0:0], s.changes[cut:]...)
		s.trimmed += cut
	}
}

// now is the number of the next change.
func (s *snapshot) now() int { return s.trimmed + len(s.changes) }

// since lists the nodes changed from change number at on; ok is false when that is
// too long ago.
func (s *snapshot) since(at int) (changed []int, ok bool) {
	if at < s.trimmed {
		return nil, false
	}
	return s.changes[at-s.trimmed:], true
}

// setNode adds a node or replaces its object; it returns its number.
func (s *snapshot) setNode(obj *v1.Node) int {
	i, ok := s.byName[obj.Name]
	if !ok {
		i = s.newNumber()
		s.byName[obj.Name] = i
		s.count++
		s.nodes[i] = &node{ports: map[hostPort]int{}}
		// Pods may have been heard of before their node.
		for uid := range s.lost[obj.Name] {
			s.nodes[i].take(s.pods[uid].demand, 1)
		}
		delete(s.lost, obj.Name)
	}
	n := s.nodes[i]
	s.forgetImages(n)
	n.obj = obj
	n.version++
	n.allocatable = amountsOf(obj.Status.Allocatable)
	n.allowedPods = obj.Status.Allocatable.Pods().Value()
	s.learnImages(n)
	s.changed(i)
	return i
}

func (s *snapshot) newNumber() int {
	if last := len(s.free) - 1; last >= 0 {
		i := s.free[last]
		s.free = s.free[:last]
		return i
	}
	s.nodes = append(s.nodes, nil)
	return len(s.nodes) - 1
}

func (s *snapshot) removeNode(name string) {
	i, ok := s.byName[name]
	if !ok {
		return
	}
	s.forgetImages(s.nodes[i])
	delete(s.byName, name)
	s.nodes[i] = nil
	s.free = append(s.free, i)
	s.count--
	for uid, p := range s.pods {
		if p.node == name {
			s.lose(uid, name)
		}
	}
	s.changed(i)
}

func (s *snapshot) lose(uid types.UID, name string) {
	if s.lost[name] == nil {
		s.lost[name] = map[types.UID]bool{}
	}
	s.lost[name][uid] = true
}

func (s *snapshot) learnImages(n *node) {
	n.images = nil
	for _, im := range n.obj.Status.Images {
		for _, name := range im.Names {
			name = normalImage(name)
			if n.images == nil {
				n.images = map[string]int64{}
			}
			if _, twice := n.images[name]; twice {
				continue
			}
			n.images[name] = im.SizeBytes
			if s.images[name] == nil {
				s.images[name] = &image{}
			}
			s.images[name].nodes++
		}
	}
}

func (s *snapshot) forgetImages(n *node) {
	for name := range n.images {
		if im := s.images[name]; im != nil {
			if im.nodes--; im.nodes == 0 {
				delete(s.images, name)
			}
		}
	}
}

// normalImage completes a name without tag or digest.
func normalImage(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		return name + ":latest"
	}
	return name
}

// place counts a pod on a node. Placing it again changes nothing but that the
// server's word confirms an assumption; it returns the node's number, -1 if there
// is no such node or nothing changed.
func (s *snapshot) place(p *v1.Pod, name string, d *demand, assumed bool) int {
	uid := p.UID
	if have, ok := s.pods[uid]; ok {
		if have.node == name {
			have.pod, have.assumed = p, have.assumed && assumed
			s.pods[uid] = have
			return -1
		}
		s.remove(uid)
	}
	s.pods[uid] = placed{name, d, p, assumed}
	if r := relationsOf(p); r != nil {
		s.relating[uid] = r
	}
	i, ok := s.byName[name]
	if !ok {
		s.lose(uid, name)
		return -1
	}
	s.nodes[i].take(d, 1)
	s.changed(i)
	return i
}

// remove takes a pod away; it returns its node's number, -1 if it had none.
func (s *snapshot) remove(uid types.UID) int {
	p, ok := s.pods[uid]
	if !ok {
		return -1
	}
	delete(s.pods, uid)
	delete(s.relating, uid)
	i, ok := s.byName[p.node]
	if !ok {
		delete(s.lost[p.node], uid)
		if len(s.lost[p.node]) == 0 {
			delete(s.lost, p.node)
		}
		return -1
	}
	s.nodes[i].take(p.demand, -1)
	s.changed(i)
	return i
}

func (n *node) take(d *demand, times int64) {
	n.pods += times
	n.used.plus(&d.requests, times)
	n.leastCPU += times * d.leastCPU
	n.leastMemory += times * d.leastMemory
	for _, p := range d.ports {
		if n.ports[p] += int(times); n.ports[p] == 0 {
			delete(n.ports, p)
		}
	}
}

func labelSet(p *v1.Pod) labels.Set { return labels.Set(p.Labels) }
