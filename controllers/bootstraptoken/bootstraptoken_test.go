package bootstraptoken

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/controllers/looptest"
)

func token(id string, data ...string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: namePrefix + id}, Type: corev1.SecretTypeBootstrapToken,
		Data: map[string][]byte{keyID: []byte(id), keySecret: []byte("0123456789abcdef")}}
	for i := 0; i < len(data); i += 2 {
		s.Data[data[i]] = []byte(data[i+1])
	}
	return s
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: public, Name: infoName}, Data: map[string]string{infoKubeconfig: "where", signaturePrefix + "gone": "x"}}
		end := time.Now().Add(time.Hour).Format(time.RFC3339)
		signing, brief, mute := token("aaaaaa", keySigning, "true"), token("bbbbbb", keySigning, "true", keyExpiration, end), token("cccccc")
		w.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: public}})
		w.Create(cm, signing, brief, mute, token("dddddd", keyExpiration, "some day"))
		keys := func() string {
			t.Helper()
			w.Get(cm)
			return strings.Join(slices.Sorted(maps.Keys(cm.Data)), " ")
		}
		w.Settle()
		if got := keys(); got != "jws-kubeconfig-aaaaaa jws-kubeconfig-bbbbbb kubeconfig" {
			t.Errorf("signed by %s", got)
		}
		// What go-jose makes of the same.
		if got, want := cm.Data[signaturePrefix+"aaaaaa"], "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFhYWFhYSJ9.."; !strings.HasPrefix(got, want) || len(got) != len(want)+43 {
			t.Errorf("signature %s", got)
		}
		if err := w.Client.Get(w.Ctx, crclient.ObjectKey{Namespace: system, Name: namePrefix + "dddddd"}, &corev1.Secret{}); !apierrors.IsNotFound(err) {
			t.Errorf("a token that ends some day: %v", err)
		}
		time.Sleep(time.Hour)
		w.Settle()
		if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(brief), &corev1.Secret{}); !apierrors.IsNotFound(err) {
			t.Errorf("a token whose time is over: %v", err)
		}
		if got := keys(); got != "jws-kubeconfig-aaaaaa kubeconfig" {
			t.Errorf("signed by %s", got)
		}
	})
}
