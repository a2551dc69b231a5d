package admit

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/auth"
)

// CertificateApproval lets approve and deny whom the signer's name allows it
// (admission plugin of that name).
type CertificateApproval struct{ Authorizer auth.Authorizer }

// Name implements admission.Plugin.
func (CertificateApproval) Name() string { return "CertificateApproval" }

// Validate implements admission.Validator.
func (p CertificateApproval) Validate(ctx context.Context, r *admission.Request) error {
	_, old, ok := certificateUpdate(r, "approval")
	if !ok || maySigner(ctx, p.Authorizer, r.User, "approve", old.Spec.SignerName) {
		return nil
	}
	return forbid(r, fmt.Errorf("user not permitted to approve requests with signerName %q", old.Spec.SignerName))
}

// CertificateSigning is the same for those who sign and who tell of failures.
type CertificateSigning struct{ Authorizer auth.Authorizer }

// Name implements admission.Plugin.
func (CertificateSigning) Name() string { return "CertificateSigning" }

// Validate implements admission.Validator.
func (p CertificateSigning) Validate(ctx context.Context, r *admission.Request) error {
	csr, old, ok := certificateUpdate(r, "status")
	if !ok || bytes.Equal(old.Status.Certificate, csr.Status.Certificate) && equality.Semantic.DeepEqual(old.Status.Conditions, csr.Status.Conditions) ||
		maySigner(ctx, p.Authorizer, r.User, "sign", old.Spec.SignerName) {
		return nil
	}
	return forbid(r, fmt.Errorf("user not permitted to sign requests with signerName %q", old.Spec.SignerName))
}

// CertificateSubjectRestriction keeps clients from asking for the group of those who
// may do everything.
type CertificateSubjectRestriction struct{}

// Name implements admission.Plugin.
func (CertificateSubjectRestriction) Name() string { return "CertificateSubjectRestriction" }

// Validate implements admission.Validator.
func (CertificateSubjectRestriction) Validate(_ context.Context, r *admission.Request) error {
	if !is(r, certificatesv1.GroupName, "certificatesigningrequests", admission.Create) {
		return nil
	}
	csr, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || csr.Spec.SignerName != certificatesv1.KubeAPIServerClientSignerName {
		return nil
	}
	req, err := parseRequest(csr.Spec.Request)
	if err != nil {
		return forbid(r, fmt.Errorf("failed to parse CSR: %w", err))
	}
	if slices.Contains(req.Subject.Organization, auth.GroupMasters) {
		return forbid(r, fmt.Errorf("use of %s signer with system:masters group is not allowed", certificatesv1.KubeAPIServerClientSignerName))
	}
	return nil
}

func parseRequest(raw []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

// certificateUpdate recognises an update of one subresource of a request.
func certificateUpdate(r *admission.Request, sub string) (csr, old *certificatesv1.CertificateSigningRequest, ok bool) {
	if r.Operation != admission.Update || r.Subresource != sub || r.Kind.Group != certificatesv1.GroupName {
		return nil, nil, false
	}
	csr, ok = r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok {
		return nil, nil, false
	}
	old, ok = r.Old.(*certificatesv1.CertificateSigningRequest)
	return csr, old, ok
}

// maySigner asks for a right on a signer by its name, then on all of its domain
// (pkg/certauthorization).
func maySigner(ctx context.Context, az auth.Authorizer, u *auth.User, verb, signer string) bool {
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		d, _, err := az.Authorize(ctx, &auth.Attributes{User: u, Verb: verb, Group: certificatesv1.GroupName, Version: "*",
			Resource: "signers", Name: name, IsResource: true})
		if err == nil && d == auth.Allow {
			return true
		}
	}
	return false
}
