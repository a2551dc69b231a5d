package deployment

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/dump"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Annotations that carry a rollout's state, as kubectl rollout reads them.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"

	historyLimit = 2000 // characters of historyAnnotation
)

// notCopied are the annotations of a Deployment that its ReplicaSets do not get.
// The others, kubernetes.io/change-cause among them, follow the newest one.
var notCopied = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true, revisionAnnotation: true, historyAnnotation: true,
	desiredAnnotation: true, maxAnnotation: true, appsv1.DeprecatedRollbackTo: true,
}

// templateHash names a pod template as Kubernetes does, so that ReplicaSets carry
// the names people know: FNV-1a of the template's dump and the collision count.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	//lint:ignore SA1019 The dump of Kubernetes 1.36's own hash, byte for byte.
	fmt.Fprintf(h, "%v", dump.ForHash(*t))
	if collisions != nil {
		b := make([]byte, 8)
		binary.LittleEndian.PutUint32(b, uint32(*collisions))
		h.Write(b)
	}
	return rand.SafeEncodeString(fmt.Sprint(h.Sum32()))
}

// sameTemplate compares pod templates without the hash label.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	x, y := *a, *b
	x.Labels, y.Labels = withoutHash(a.Labels), withoutHash(b.Labels)
	return apiequality.Semantic.DeepEqual(x, y)
}

func withoutHash(labels map[string]string) map[string]string {
	if _, ok := labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		return labels
	}
	out := map[string]string{}
	for k, v := range labels {
		if k != appsv1.DefaultDeploymentUniqueLabelKey {
			out[k] = v
		}
	}
	return out
}

func withLabel(labels map[string]string, value string) map[string]string {
	out := map[string]string{appsv1.DefaultDeploymentUniqueLabelKey: value}
	for k, v := range labels {
		if k != appsv1.DefaultDeploymentUniqueLabelKey {
			out[k] = v
		}
	}
	return out
}

// newReplicaSet is the ReplicaSet of d's present template, with no replicas yet.
func newReplicaSet(d *appsv1.Deployment) *appsv1.ReplicaSet {
	hash := templateHash(&d.Spec.Template, d.Status.CollisionCount)
	name := d.Name
	if most := validation.DNS1123SubdomainMaxLength - 1 - len(hash); len(name) > most {
		name = name[:most]
	}
	template := *d.Spec.Template.DeepCopy()
	template.Labels = withLabel(template.Labels, hash)
	sel := d.Spec.Selector.DeepCopy()
	sel.MatchLabels = withLabel(sel.MatchLabels, hash)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: name + "-" + hash, Labels: template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: new(int32), MinReadySeconds: d.Spec.MinReadySeconds, Selector: sel, Template: template,
		},
	}
}

func revision(annotations map[string]string) int64 {
	v, err := strconv.ParseInt(annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// nextRevision is the one of the newest ReplicaSet, given all older ones.
func nextRevision(old []*appsv1.ReplicaSet) int64 {
	var most int64
	for _, rs := range old {
		most = max(most, revision(rs.Annotations))
	}
	return most + 1
}

// annotate brings the newest ReplicaSet's annotations forward and tells whether
// they changed. A ReplicaSet that is rolled back to keeps its earlier revisions in
// its history.
func annotate(d *appsv1.Deployment, rs *appsv1.ReplicaSet, next int64) (changed bool) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for k, v := range d.Annotations {
		if have, ok := rs.Annotations[k]; !notCopied[k] && (!ok || have != v) {
			rs.Annotations[k] = v
			changed = true
		}
	}
	before, had := rs.Annotations[revisionAnnotation]
	was, err := strconv.ParseInt(before, 10, 64)
	if err != nil && before != "" || was >= next {
		return changed
	}
	rs.Annotations[revisionAnnotation] = strconv.FormatInt(next, 10)
	if had {
		appendHistory(rs.Annotations, before)
	}
	return true
}

func appendHistory(annotations map[string]string, before string) {
	have := annotations[historyAnnotation]
	if have == "" {
		annotations[historyAnnotation] = before
		return
	}
	all := strings.Split(have, ",")
	length := len(have) + len(before) + 1
	for length > historyLimit && len(all) > 0 {
		length -= len(all[0]) + 1
		all = all[1:]
	}
	if length <= historyLimit {
		annotations[historyAnnotation] = strings.Join(append(all, before), ",")
	}
}

// annotateSize records the Deployment's size, by which a later change of it is
// told from a rollout.
func annotateSize(d *appsv1.Deployment, rs *appsv1.ReplicaSet) (changed bool) {
	if rs.Annotations == nil {
		rs.Annotations = map[string]string{}
	}
	for k, v := range map[string]int32{desiredAnnotation: *d.Spec.Replicas, maxAnnotation: *d.Spec.Replicas + maxSurge(d)} {
		if s := strconv.Itoa(int(v)); rs.Annotations[k] != s {
			rs.Annotations[k] = s
			changed = true
		}
	}
	return changed
}

func sizeAnnotation(rs *appsv1.ReplicaSet, key string) (int32, bool) {
	v, err := strconv.ParseInt(rs.Annotations[key], 10, 32)
	if err != nil || v < 0 {
		return 0, false
	}
	return int32(v), true
}
