// Package certificatesigning signs approved certificate requests of the four signers
// that Kubernetes has itself: clients of the API server, nodes as clients and as
// servers, and the old unnamed one (pkg/controller/certificates/signer in
// Kubernetes).
//
// Reads: CertificateSigningRequests.
// Writes: the certificate and the condition Failed of CertificateSigningRequests.
package certificatesigning

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/kinds/certificates"
)

type request = certificatesv1.CertificateSigningRequest

const (
	legacyUnknown = "kubernetes.io/legacy-unknown"
	defaultLife   = 365 * 24 * time.Hour
	leastLife     = 10 * time.Minute
)

// Start runs the controller until ctx ends; without an authority it does nothing.
func Start(ctx context.Context, env *loop.Env) error {
	if env.Config.Sign == nil {
		return nil
	}
	l := loop.New(ctx, env, "certificatesigning", 2, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		return reconcile.Result{}, sign(ctx, env, r)
	}))
	loop.On(l, &request{}, loop.Enqueue[*request](l))
	return l.Start()
}

func sign(ctx context.Context, env *loop.Env, r loop.Request) error {
	csr := &request{}
	if err := env.Cache.Get(ctx, r.NamespacedName, csr); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	ours, refusal := judge(csr)
	if !ours {
		return nil
	}
	if refusal != nil {
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: refusal.Error(),
		})
		return crclient.IgnoreNotFound(env.Client.Status().Update(ctx, csr))
	}
	usage, ext, err := certificates.X509Usages(csr.Spec.Usages)
	if err != nil {
		return fmt.Errorf("error auto signing csr: %w", err)
	}
	text, err := env.Config.Sign(csr.Spec.Request, usage, ext, life(csr.Spec.ExpirationSeconds, env.Config.CertificateLife))
	if err != nil {
		return fmt.Errorf("error auto signing csr: %w", err)
	}
	csr.Status.Certificate = text
	return crclient.IgnoreNotFound(env.Client.Status().Update(ctx, csr))
}

// judge tells whether a request is to be signed here now, and if so, why it may not be.
func judge(csr *request) (ours bool, refusal error) {
	if !certificates.Has(csr, certificatesv1.CertificateApproved) || certificates.Has(csr, certificatesv1.CertificateDenied) ||
		certificates.Has(csr, certificatesv1.CertificateFailed) || len(csr.Status.Certificate) > 0 {
		return false, nil
	}
	req, err := certificates.ParseRequest(csr.Spec.Request)
	if err != nil {
		return false, nil // never stored so
	}
	switch csr.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientSignerName:
		return true, certificates.APIClient(csr.Spec.Usages)
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return true, certificates.KubeletClient(req, csr.Spec.Usages)
	case certificatesv1.KubeletServingSignerName:
		return true, certificates.KubeletServing(req, csr.Spec.Usages)
	case legacyUnknown:
		return true, nil
	}
	return false, nil
}

// life is how long a certificate is good for: what is asked for, within bounds.
func life(seconds *int32, most time.Duration) time.Duration {
	if most == 0 {
		most = defaultLife
	}
	if seconds == nil {
		return most
	}
	return max(leastLife, min(most, time.Duration(*seconds)*time.Second))
}
