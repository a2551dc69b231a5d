package namespace

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
	"skiff.dev/skiff/controllers/rootca"
	"skiff.dev/skiff/controllers/serviceaccount"
)

func TestNamespaceWaitsForPodsAndFinalizers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{RootCA: []byte("pem")}, Start, serviceaccount.Start, rootca.Start)
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
		w.Create(ns)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: corev1.PodSpec{NodeName: "n"}}
		held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "held", Finalizers: []string{"example.com/hold"}}}
		other := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kept"}}
		w.Create(pod, held, other)
		w.Settle()
		ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "kube-root-ca.crt"}}
		w.Get(ca)
		w.Delete(ns)
		w.Settle()
		w.Get(ca) // while a pod ends, what it may need stays
		w.Get(ns)
		if got := message(ns, corev1.NamespaceContentRemaining); got != "Some resources are remaining: pods. has 1 resource instances" {
			t.Fatalf("remaining: %q", got)
		}
		w.Delete(pod, crclient.GracePeriodSeconds(0))
		time.Sleep(time.Minute)
		w.Get(ns)
		if got := message(ns, corev1.NamespaceFinalizersRemaining); got != "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances" {
			t.Fatalf("finalizers: %q", got)
		}
		looptest.Update(w, held, func(cm *corev1.ConfigMap) { cm.Finalizers = nil })
		time.Sleep(time.Minute)
		if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(ns), ns); err == nil || !strings.Contains(err.Error(), "not found") {
			t.Fatalf("namespace: %v", err)
		}
		w.Get(other)
	})
}

func message(ns *corev1.Namespace, typ corev1.NamespaceConditionType) string {
	for _, c := range ns.Status.Conditions {
		if c.Type == typ && c.Status == corev1.ConditionTrue {
			return c.Message
		}
	}
	return ""
}

// What is taken away from a living namespace comes back.
func TestDefaultsComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{RootCA: []byte("pem")}, serviceaccount.Start, rootca.Start)
		sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
		ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kube-root-ca.crt"}}
		w.Settle()
		w.Delete(sa)
		looptest.Update(w, ca, func(cm *corev1.ConfigMap) { cm.Data = map[string]string{"ca.crt": "forged"} })
		w.Settle()
		w.Get(sa)
		w.Get(ca)
		if ca.Data["ca.crt"] != "pem" {
			t.Fatalf("%v", ca.Data)
		}
	})
}
