package controllers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admit"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/controllers/loop"
)

// rights allows what it lists, "user verb resource/sub name", and masters all.
type rights []string

func (r rights) Authorize(_ context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	if slices.Contains(a.User.Groups, auth.GroupMasters) || slices.Contains(r, strings.TrimSpace(a.User.Name+" "+a.Verb+" "+resource+" "+a.Name)) {
		return auth.Allow, "", nil
	}
	return auth.NoOpinion, "", nil
}

func csr(t *testing.T, name, signer string, subject pkix.Name, usages ...certificatesv1.KeyUsage) *certificatesv1.CertificateSigningRequest {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: signer, Usages: append(usages, certificatesv1.UsageDigitalSignature),
		Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
	}}
}

const (
	toAPI  = certificatesv1.KubeAPIServerClientSignerName
	toNode = certificatesv1.KubeAPIServerClientKubeletSignerName
)

func TestCertificateRequests(t *testing.T) {
	m, err := pki.Ensure(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Within the bubble the clock is another: the authority has to be of it too.
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		az := rights{
			"system:node:n1 create certificatesigningrequests/selfnodeclient",
			"boot create certificatesigningrequests/nodeclient",
			"approver approve signers kubernetes.io/*",
		}
		offset := time.Until(m.CA.Cert.NotBefore.Add(time.Hour))
		c := startWith(t, apiserver.Options{Authorizer: az, Admission: admit.Default(admit.Options{Authorizer: az})}, loop.Config{
			Sign: func(request []byte, usage x509.KeyUsage, ext []x509.ExtKeyUsage, life time.Duration) ([]byte, error) {
				return m.CA.SignRequest(request, usage, ext, life, time.Now().Add(offset))
			},
		})
		node := pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}
		ask := func(u string, r *certificatesv1.CertificateSigningRequest) {
			t.Helper()
			c.must(c.as(&auth.User{Name: u, UID: "uid-" + u, Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}}).Create(ctx, r))
		}
		ten := int32(600)
		short := csr(t, "short", toNode, node, certificatesv1.UsageClientAuth)
		short.Spec.ExpirationSeconds = &ten
		short.Spec.Username = "somebody else"
		ask("system:node:n1", short)
		ask("boot", csr(t, "first", toNode, node, certificatesv1.UsageClientAuth))
		ask("system:node:n2", csr(t, "foreign", toNode, node, certificatesv1.UsageClientAuth))
		ask("jane", csr(t, "user", toAPI, pkix.Name{CommonName: "jane"}, certificatesv1.UsageClientAuth))
		ask("jane", csr(t, "wrong", toAPI, pkix.Name{CommonName: "jane"}, certificatesv1.UsageServerAuth))
		err := c.as(&auth.User{Name: "jane"}).Create(ctx, csr(t, "root", toAPI, pkix.Name{CommonName: "jane", Organization: []string{"system:masters"}}, certificatesv1.UsageClientAuth))
		if err == nil || err.Error() != `certificatesigningrequests.certificates.k8s.io "root" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed` {
			t.Errorf("a client of the group of masters: %v", err)
		}
		settle()

		get := func(name string) *certificatesv1.CertificateSigningRequest {
			t.Helper()
			r := &certificatesv1.CertificateSigningRequest{}
			c.must(c.Get(ctx, crclient.ObjectKey{Name: name}, r))
			return r
		}
		state := func(name string) string {
			r := get(name)
			var out []string
			for _, x := range r.Status.Conditions {
				out = append(out, string(x.Type)+":"+x.Message)
			}
			if len(r.Status.Certificate) > 0 {
				out = append(out, "issued")
			}
			return strings.Join(out, " ")
		}
		if s := get("short").Spec; s.Username != "system:node:n1" || s.UID != "uid-system:node:n1" || s.Groups[0] != "g" || s.Extra["k"][0] != "v" {
			t.Errorf("who asked: %+v", s)
		}
		approve := func(name string, by *auth.User) error {
			r := get(name)
			r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Message: "by hand"})
			return c.as(by).SubResource("approval").Update(ctx, r)
		}
		if err := approve("user", &auth.User{Name: "jane"}); err == nil || !strings.HasSuffix(err.Error(), `user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`) {
			t.Errorf("anybody approves: %v", err)
		}
		c.must(approve("user", &auth.User{Name: "approver"}))
		c.must(approve("wrong", &auth.User{Name: "approver"}))
		r := get("foreign")
		r.Status.Certificate = m.CA.PEM
		if err := c.as(&auth.User{Name: "jane"}).Status().Update(ctx, r); err == nil || !strings.HasSuffix(err.Error(), `user not permitted to sign requests with signerName "kubernetes.io/kube-apiserver-client-kubelet"`) {
			t.Errorf("anybody signs: %v", err)
		}
		settle()
		for name, want := range map[string]string{
			"short":   "Approved:Auto approving self kubelet client certificate after SubjectAccessReview. issued",
			"first":   "Approved:Auto approving kubelet client certificate after SubjectAccessReview. issued",
			"foreign": "",
			"user":    "Approved:by hand issued",
			"wrong":   "Approved:by hand Failed:invalid usage for client certificate: server auth",
		} {
			if got := state(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		certs, err := pki.ParseCertificates(get("short").Status.Certificate)
		c.must(err)
		if life := certs[0].NotAfter.Sub(certs[0].NotBefore); certs[0].Subject.CommonName != "system:node:n1" || life != 15*time.Minute {
			t.Errorf("%s for %v", certs[0].Subject, life)
		}

		time.Sleep(time.Hour)
		synctest.Wait()
		for name, there := range map[string]bool{"user": false, "first": false, "wrong": false, "foreign": true} {
			err := c.Get(ctx, crclient.ObjectKey{Name: name}, &certificatesv1.CertificateSigningRequest{})
			if there != (err == nil) || !there && !apierrors.IsNotFound(err) {
				t.Errorf("after an hour, %s: %v", name, err)
			}
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if err := c.Get(ctx, crclient.ObjectKey{Name: "foreign"}, &certificatesv1.CertificateSigningRequest{}); !apierrors.IsNotFound(err) {
			t.Errorf("after a day, one that nobody cared about: %v", err)
		}
	})
}
