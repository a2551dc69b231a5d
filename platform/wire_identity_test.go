package platform

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/auth/pki"
)

func TestMergeAuthentication(t *testing.T) {
	m, err := pki.Ensure(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.Ensure(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	certs := map[string]string{"client-ca-file": string(m.CA.PEM)}
	lists := map[string][]string{"requestheader-allowed-names": {"front-proxy-client"}, "requestheader-uid-headers": nil}
	cm := &corev1.ConfigMap{}
	if changed, err := mergeAuthentication(cm, certs, lists); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if got := cm.Data; got["requestheader-allowed-names"] != `["front-proxy-client"]` || got["requestheader-uid-headers"] != "[]" || got["client-ca-file"] != string(m.CA.PEM) {
		t.Errorf("%q", got)
	}
	if changed, err := mergeAuthentication(cm, certs, lists); err != nil || changed {
		t.Error("written again", err)
	}
	cm.Data["client-ca-file"] = string(other.CA.PEM)
	cm.Data["requestheader-allowed-names"] = `["another"]`
	if changed, err := mergeAuthentication(cm, certs, lists); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if got := cm.Data; got["client-ca-file"] != string(m.CA.PEM)+string(other.CA.PEM) || got["requestheader-allowed-names"] != `["front-proxy-client","another"]` {
		t.Errorf("another server's part is lost: %q", got)
	}
}
