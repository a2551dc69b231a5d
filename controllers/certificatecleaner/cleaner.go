// Package certificatecleaner removes certificate requests that have served: an hour
// after they were issued, denied or failed, a day after nobody cared, and when their
// certificate has ended (pkg/controller/certificates/cleaner in Kubernetes, which
// looks every hour; here each request is looked at when its time has come).
//
// Reads: CertificateSigningRequests.
// Writes: deletes CertificateSigningRequests.
package certificatecleaner

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"skiff.dev/skiff/controllers/loop"
)

type request = certificatesv1.CertificateSigningRequest

const (
	keepDone    = time.Hour
	keepPending = 24 * time.Hour
)

// Start runs the controller until ctx ends.
func Start(ctx context.Context, env *loop.Env) error {
	l := loop.New(ctx, env, "certificatecleaner", 1, reconcile.Func(func(ctx context.Context, r loop.Request) (reconcile.Result, error) {
		return clean(ctx, env, r, time.Now())
	}))
	loop.On(l, &request{}, func(_, csr *request) {
		if csr != nil {
			l.Add(loop.Key(csr))
		}
	})
	return l.Start()
}

func clean(ctx context.Context, env *loop.Env, r loop.Request, now time.Time) (reconcile.Result, error) {
	csr := &request{}
	if err := env.Cache.Get(ctx, r.NamespacedName, csr, crclient.UnsafeDisableDeepCopy); err != nil {
		return reconcile.Result{}, crclient.IgnoreNotFound(err)
	}
	due, ok := end(csr)
	if !ok {
		return reconcile.Result{}, nil
	}
	if wait := due.Sub(now); wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	err := env.Client.Delete(ctx, csr, crclient.Preconditions{UID: &csr.UID, ResourceVersion: &csr.ResourceVersion})
	return reconcile.Result{}, crclient.IgnoreNotFound(err)
}

// end is when a request may go; ok is false for one that stays.
func end(csr *request) (due time.Time, ok bool) {
	earlier := func(t metav1.Time, keep time.Duration) {
		if t.IsZero() {
			return
		}
		if x := t.Add(keep); !ok || x.Before(due) {
			due, ok = x, true
		}
	}
	if len(csr.Status.Conditions) == 0 {
		earlier(csr.CreationTimestamp, keepPending)
	}
	for _, c := range csr.Status.Conditions {
		switch {
		case c.Type == certificatesv1.CertificateDenied, c.Type == certificatesv1.CertificateFailed:
			earlier(c.LastUpdateTime, keepDone)
		case c.Type == certificatesv1.CertificateApproved && len(csr.Status.Certificate) > 0:
			earlier(c.LastUpdateTime, keepDone)
			if t, issued := notAfter(csr.Status.Certificate); issued {
				earlier(metav1.NewTime(t), 0)
			}
		case c.Type == certificatesv1.CertificateApproved:
			earlier(c.LastUpdateTime, keepPending)
		}
	}
	return due, ok
}

func notAfter(text []byte) (time.Time, bool) {
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}, false
	}
	certs, err := x509.ParseCertificates(block.Bytes)
	if err != nil || len(certs) == 0 {
		return time.Time{}, false
	}
	return certs[0].NotAfter, true
}
