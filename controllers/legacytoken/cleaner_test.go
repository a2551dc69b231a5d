package legacytoken

import (
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

func token(name, account string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{corev1.ServiceAccountNameKey: account}},
		Type:       corev1.SecretTypeServiceAccountToken,
	}
}

// TestTokensAreRetired follows tokens through three years: the one that nobody uses is
// marked after one and deleted after two; the others stay.
func TestTokensAreRetired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := looptest.Start(t, loop.Config{}, Start)
		w.Settle()
		began := time.Now().UTC().Format(time.DateOnly)
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: trackingName}}
		if w.Get(m); m.Data[trackingKey] != began {
			t.Fatalf("%v", m.Data)
		}
		names := []string{"idle", "used", "mounted", "manual", "odd"}
		sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "sa"}}
		for _, n := range names {
			w.Create(token(n, "sa"))
			if n != "manual" {
				sa.Secrets = append(sa.Secrets, corev1.ObjectReference{Name: n})
			}
		}
		w.Create(sa, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{{
			Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "mounted"}}}}}})
		label := func(name, key, value string) {
			looptest.Update(w, token(name, "sa"), func(s *corev1.Secret) { metav1.SetMetaDataLabel(&s.ObjectMeta, key, value) })
		}
		label("odd", labelLastUsed, "yesterday")
		marked := func(name string) string {
			s := token(name, "sa")
			w.Get(s)
			return s.Labels[labelInvalidSince]
		}
		time.Sleep(period - round)
		w.Settle()
		for _, n := range names {
			if marked(n) != "" {
				t.Errorf("%s was marked before a year was over", n)
			}
		}
		label("used", labelLastUsed, time.Now().UTC().Format(time.DateOnly))
		time.Sleep(3 * round)
		w.Settle()
		if got := marked("idle"); got == "" || got > time.Now().UTC().Format(time.DateOnly) {
			t.Errorf("an unused token is not marked: %q", got)
		}
		for _, n := range names[1:] {
			if got := marked(n); got != "" {
				t.Errorf("%s is marked invalid", n)
			}
		}
		time.Sleep(period - 10*round)
		w.Settle()
		w.Get(token("idle", "sa"))
		time.Sleep(15 * round)
		w.Settle()
		s := token("idle", "sa")
		if err := w.Client.Get(w.Ctx, crclient.ObjectKeyFromObject(s), s); !apierrors.IsNotFound(err) {
			t.Errorf("a token marked for a year is still there: %v", err)
		}
		for _, n := range names[1:] {
			w.Get(token(n, "sa"))
		}
		if marked("used") == "" {
			t.Error("a token that was not used for a year after its last use is not marked")
		}

		// Tracking that was spoiled or deleted begins anew.
		looptest.Update(w, m, func(m *corev1.ConfigMap) { m.Data[trackingKey] = "once" })
		w.Settle()
		if w.Get(m); m.Data[trackingKey] != time.Now().UTC().Format(time.DateOnly) {
			t.Errorf("%v", m.Data)
		}
		w.Delete(m)
		w.Settle()
		w.Get(m)
	})
}
