// Package certificateapproving approves what nodes ask for as clients of the API
// server, where the asker may have it: their own certificate anew, or a node's first
// (pkg/controller/certificates/approver in Kubernetes).
//
// Reads: CertificateSigningRequests; asks by SubjectAccessReview.
// Writes: the condition Approved of CertificateSigningRequests.
package certificateapproving

import (
	"context"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/kinds/certificates"
)

type request = certificatesv1.CertificateSigningRequest

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	l := loop.New(ctx, env, "certificateapproving", 2, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		return reconcile.Result{}, approve(ctx, env, r)
	}))
	loop.On(l, &request{}, loop.Enqueue[*request](l))
	return l.Start()
}

func approve(ctx context.Context, env *loop.Env, r loop.Request) error {
	csr := &request{}
	if err := env.Cache.Get(ctx, r.NamespacedName, csr); err != nil {
		return crclient.IgnoreNotFound(err)
	}
	if len(csr.Status.Certificate) > 0 || certificates.Has(csr, certificatesv1.CertificateApproved) || certificates.Has(csr, certificatesv1.CertificateDenied) {
		return nil
	}
	asked := recognise(csr)
	for _, a := range asked {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: extra(csr),
			ResourceAttributes: &authorizationv1.ResourceAttributes{Group: certificatesv1.GroupName, Resource: "certificatesigningrequests", Verb: "create", Subresource: a.right},
		}}
		if err := env.Client.Create(ctx, review); err != nil {
			return fmt.Errorf("ask for the right %s: %w", a.right, err)
		}
		if !review.Status.Allowed {
			continue
		}
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: a.message,
		})
		return crclient.IgnoreNotFound(env.Client.SubResource("approval").Update(ctx, csr))
	}
	if len(asked) > 0 {
		env.Log.Info("a node's certificate request waits: its asker may not have it approved by itself", "request", csr.Name, "user", csr.Spec.Username)
	}
	return nil
}

// ask is a right by which a request is approved.
type ask struct{ right, message string }

// recognise tells which rights would do.
func recognise(csr *request) []ask {
	if csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName {
		return nil
	}
	req, err := certificates.ParseRequest(csr.Spec.Request)
	if err != nil || certificates.KubeletClient(req, csr.Spec.Usages) != nil {
		return nil // never stored so, or not a node's: somebody's to judge by hand
	}
	var out []ask
	if csr.Spec.Username == req.Subject.CommonName {
		out = append(out, ask{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."})
	}
	return append(out, ask{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."})
}

func extra(csr *request) map[string]authorizationv1.ExtraValue {
	out := make(map[string]authorizationv1.ExtraValue, len(csr.Spec.Extra))
	for k, v := range csr.Spec.Extra {
		out[k] = authorizationv1.ExtraValue(v)
	}
	return out
}
