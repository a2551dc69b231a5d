package serviceaccounttoken

import (
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
)

func secret(name, account string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
		Type: corev1.SecretTypeServiceAccountToken}
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{RootCA: []byte("ca"), AccountToken: func(ns, sa, uid, secret string) (string, error) {
			return ns + "/" + sa + "/" + uid + "/" + secret, nil
		}}, Start)
		sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "app"}}
		w.Create(sa)
		w.Get(sa)
		mine, orphan, other := secret("mine", "app"), secret("orphan", "nobody"), secret("other", "app")
		other.Annotations[corev1.ServiceAccountUIDKey] = "an earlier one"
		plain := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "plain"}, Type: corev1.SecretTypeOpaque}
		w.Create(mine, orphan, other, plain)
		w.Settle()
		w.Get(mine)
		if d := mine.Data; string(d["token"]) != "default/app/"+string(sa.UID)+"/mine" || string(d["ca.crt"]) != "ca" || string(d["namespace"]) != "default" ||
			mine.Annotations[corev1.ServiceAccountUIDKey] != string(sa.UID) {
			t.Errorf("%q %v", d, mine.Annotations)
		}
		gone := func(s *corev1.Secret) {
			t.Helper()
			if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(s), &corev1.Secret{}); !apierrors.IsNotFound(err) {
				t.Errorf("%s is still there: %v", s.Name, err)
			}
		}
		gone(orphan)
		gone(other)
		w.Get(plain)
		if len(plain.Data) != 0 {
			t.Errorf("%q", plain.Data)
		}
		before := w.Backend.Writes()
		w.Settle()
		if n := w.Backend.Writes(); n != before {
			t.Errorf("%d writes while nothing changes", n-before)
		}
		w.Delete(sa)
		w.Settle()
		gone(mine)
	})
}
