package node

import (
	"context"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/policy"
	"skiff.dev/skiff/kinds"
)

func pod(name, node string, mirror bool) *v1.Pod {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	p.Spec = v1.PodSpec{NodeName: node, ServiceAccountName: "sa-" + name,
		ImagePullSecrets: []v1.LocalObjectReference{{Name: "pull-" + name}},
		Containers: []v1.Container{{
			EnvFrom: []v1.EnvFromSource{{ConfigMapRef: &v1.ConfigMapEnvSource{LocalObjectReference: v1.LocalObjectReference{Name: "envfrom-" + name}}}},
			Env:     []v1.EnvVar{{ValueFrom: &v1.EnvVarSource{SecretKeyRef: &v1.SecretKeySelector{LocalObjectReference: v1.LocalObjectReference{Name: "env-" + name}}}}},
		}},
		Volumes: []v1.Volume{
			{Name: "s", VolumeSource: v1.VolumeSource{Secret: &v1.SecretVolumeSource{SecretName: "vol-" + name}}},
			{Name: "c", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "claim-" + name}}},
			{Name: "p", VolumeSource: v1.VolumeSource{Projected: &v1.ProjectedVolumeSource{Sources: []v1.VolumeProjection{
				{ConfigMap: &v1.ConfigMapProjection{LocalObjectReference: v1.LocalObjectReference{Name: "kube-root-ca.crt"}}}}}}},
		}}
	if mirror {
		p.Annotations = map[string]string{v1.MirrorPodAnnotationKey: "x"}
	}
	return p
}

func TestAuthorize(t *testing.T) {
	g := NewGraph()
	for _, o := range []kinds.Object{
		pod("a", "n1", false), pod("b", "n2", false), pod("m", "n1", true), pod("pending", "", false),
		&v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-a"}, Spec: v1.PersistentVolumeSpec{
			ClaimRef: &v1.ObjectReference{Namespace: "ns", Name: "claim-a"},
			PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{
				NodePublishSecretRef:       &v1.SecretReference{Namespace: "storage", Name: "publish"},
				ControllerPublishSecretRef: &v1.SecretReference{Namespace: "storage", Name: "controller"}}}}},
		&storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "va"}, Spec: storagev1.VolumeAttachmentSpec{NodeName: "n1"}},
	} {
		g.Apply(kinds.Event{New: o})
	}
	z := New(g, policy.NodeRules())
	const none = "no relationship found between node 'n1' and this object"
	for _, c := range []struct {
		name, verb, group, resource, sub, ns, obj, fields string
		want                                              string
	}{
		{name: "secret of a volume", verb: "get", resource: "secrets", ns: "ns", obj: "vol-a", want: allow},
		{name: "secret of the environment", verb: "watch", resource: "secrets", ns: "ns", obj: "env-a", want: allow},
		{name: "pull secret", verb: "get", resource: "secrets", ns: "ns", obj: "pull-a", want: allow},
		{name: "secret of a persistent volume", verb: "get", resource: "secrets", ns: "storage", obj: "publish", want: allow},
		{name: "controller's secret", verb: "get", resource: "secrets", ns: "storage", obj: "controller", want: none},
		{name: "another node's secret", verb: "get", resource: "secrets", ns: "ns", obj: "vol-b", want: none},
		{name: "a mirror pod's secret", verb: "get", resource: "secrets", ns: "ns", obj: "vol-m", want: none},
		{name: "same name elsewhere", verb: "get", resource: "secrets", ns: "other", obj: "vol-a", want: none},
		{name: "all secrets", verb: "list", resource: "secrets", want: "can only read namespaced object of this type"},
		{name: "writing a secret", verb: "update", resource: "secrets", ns: "ns", obj: "vol-a", want: "can only read resources of this type"},
		{name: "no name", verb: "list", resource: "secrets", ns: "ns", want: "No Object name found"},
		{name: "root certificate", verb: "get", resource: "configmaps", ns: "ns", obj: "kube-root-ca.crt", want: allow},
		{name: "config map", verb: "get", resource: "configmaps", ns: "ns", obj: "envfrom-a", want: allow},
		{name: "claim", verb: "get", resource: "persistentvolumeclaims", ns: "ns", obj: "claim-a", want: allow},
		{name: "volume", verb: "get", resource: "persistentvolumes", obj: "pv-a", want: allow},
		{name: "attachment", verb: "get", group: "storage.k8s.io", resource: "volumeattachments", obj: "va", want: allow},
		{name: "token", verb: "create", resource: "serviceaccounts", sub: "token", ns: "ns", obj: "sa-a", want: allow},
		{name: "another's token", verb: "create", resource: "serviceaccounts", sub: "token", ns: "ns", obj: "sa-b", want: none},
		{name: "own lease", verb: "update", group: "coordination.k8s.io", resource: "leases", ns: leaseNamespace, obj: "n1", want: allow},
		{name: "other lease", verb: "update", group: "coordination.k8s.io", resource: "leases", ns: leaseNamespace, obj: "n2", want: "can only access node lease with the same name as the requesting node"},
		{name: "own node", verb: "get", resource: "nodes", obj: "n1", want: allow},
		{name: "other node", verb: "get", resource: "nodes", obj: "n2", want: "node 'n1' cannot read 'n2', only its own Node object"},
		{name: "all nodes", verb: "list", resource: "nodes", want: "node 'n1' cannot read all nodes, only its own Node object"},
		{name: "own pod", verb: "get", resource: "pods", ns: "ns", obj: "a", want: allow},
		{name: "other pod", verb: "get", resource: "pods", ns: "ns", obj: "b", want: none},
		{name: "own pods", verb: "watch", resource: "pods", fields: "spec.nodeName=n1", want: allow},
		{name: "all pods", verb: "watch", resource: "pods", want: "can only list/watch pods with spec.nodeName field selector"},
		{name: "status", verb: "patch", resource: "pods", sub: "status", ns: "ns", obj: "a", want: allow},
		{name: "services", verb: "list", resource: "services", want: allow},
		{name: "deleting a service", verb: "delete", resource: "services", ns: "ns", obj: "x", want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, reason, err := z.Authorize(context.Background(), &auth.Attributes{User: &auth.User{Name: "system:node:n1", Groups: []string{auth.GroupNodes}},
				Verb: c.verb, Group: c.group, Resource: c.resource, Subresource: c.sub, Namespace: c.ns, Name: c.obj, FieldSelector: c.fields, IsResource: true})
			if d == auth.Allow {
				reason = allow
			}
			if err != nil || reason != c.want {
				t.Errorf("got %q, want %q (%v)", reason, c.want, err)
			}
		})
	}
	old := pod("a", "n1", false)
	g.Apply(kinds.Event{Old: old})
	if g.related("n1", toSecret, "ns", "vol-a") || g.related("n1", toVolume, "", "pv-a") {
		t.Error("a deleted pod still leads to its secret")
	}
}

func TestOnlyNodes(t *testing.T) {
	z := New(NewGraph(), policy.NodeRules())
	for _, u := range []*auth.User{{Name: "system:node:n1"}, {Name: "jane", Groups: []string{auth.GroupNodes}}} {
		if d, reason, _ := z.Authorize(context.Background(), &auth.Attributes{User: u, Verb: "list", Resource: "services", IsResource: true}); d != auth.NoOpinion || reason != "" {
			t.Errorf("%s: %v %q", u.Name, d, reason)
		}
	}
}
