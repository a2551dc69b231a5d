package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/core"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// The rules of this file are those of pkg/apis/certificates/validation in Kubernetes.

const legacySigner = "kubernetes.io/legacy-unknown"

var usages = []certificatesv1.KeyUsage{
	certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageDecipherOnly, certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection,
	certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem, certificatesv1.UsageIPsecTunnel,
	certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
	certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning,
	certificatesv1.UsageSMIME, certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
}

// leniency is what an update may keep of an old request.
type leniency struct {
	bothWays, legacy, sameTypes, noType, anyCertificate, anyUsage, sameUsages bool
}

func lenientTo(r, old *request) leniency {
	approved := len(conditionsOf(old, certificatesv1.CertificateApproved)) > 0
	may := leniency{
		bothWays:       approved && len(conditionsOf(old, certificatesv1.CertificateDenied)) > 0,
		legacy:         old.Spec.SignerName == legacySigner,
		anyCertificate: bytes.Equal(r.Status.Certificate, old.Status.Certificate) || certificateError(old.Status.Certificate) != nil,
	}
	types := map[certificatesv1.RequestConditionType]bool{}
	for _, c := range old.Status.Conditions {
		may.sameTypes = may.sameTypes || types[c.Type]
		may.noType = may.noType || c.Type == ""
		types[c.Type] = true
	}
	seen := map[certificatesv1.KeyUsage]bool{}
	for _, u := range old.Spec.Usages {
		may.sameUsages = may.sameUsages || seen[u]
		may.anyUsage = may.anyUsage || !slices.Contains(usages, u)
		seen[u] = true
	}
	return may
}

func validateRequest(r *request) field.ErrorList { return judgeRequest(r, leniency{}) }

func judgeRequest(r *request, may leniency) field.ErrorList {
	var l rules.List
	path := field.NewPath("spec")
	if err := requestError(r.Spec.Request); err != nil {
		l.Invalid(path.Child("request"), r.Spec.Request, err.Error())
	}
	if len(r.Spec.Usages) == 0 {
		l.Required(path.Child("usages"), "")
	}
	seen := map[certificatesv1.KeyUsage]bool{}
	for i, u := range r.Spec.Usages {
		if !may.anyUsage {
			rules.Supported(&l, path.Child("usages").Index(i), u, usages...)
		}
		if seen[u] && !may.sameUsages {
			l.Duplicate(path.Child("usages").Index(i), u)
		}
		seen[u] = true
	}
	if r.Spec.SignerName == legacySigner && !may.legacy {
		l.Invalid(path.Child("signerName"), r.Spec.SignerName, "the legacy signerName is not allowed via this API version")
	} else {
		l.Add(core.ValidateSignerName(r.Spec.SignerName, path.Child("signerName"))...)
	}
	if n := r.Spec.ExpirationSeconds; n != nil && *n < 600 {
		l.Invalid(path.Child("expirationSeconds"), *n, "may not specify a duration less than 600 seconds (10 minutes)")
	}
	judgeConditions(&l, r, may, field.NewPath("status", "conditions"))
	if !may.anyCertificate {
		if err := certificateError(r.Status.Certificate); err != nil {
			l.Invalid(field.NewPath("status", "certificate"), "<certificate data>", err.Error())
		}
	}
	return l.Errors()
}

func requestError(raw []byte) error {
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return req.CheckSignature()
}

func certificateError(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	for n := 0; ; n++ {
		block, rest := pem.Decode(raw)
		switch {
		case block == nil && n == 0:
			return errors.New("must contain at least one CERTIFICATE PEM block")
		case block == nil:
			return nil
		case block.Type != "CERTIFICATE":
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		case len(block.Headers) != 0:
			return errors.New("no PEM block headers are permitted")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		raw = rest
	}
}

func judgeConditions(l *rules.List, r *request, may leniency, path *field.Path) {
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range r.Status.Conditions {
		at := path.Index(i)
		if c.Type == "" && !may.noType {
			l.Required(at.Child("type"), "")
		}
		statuses := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		switch c.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			statuses = []corev1.ConditionStatus{corev1.ConditionTrue}
		}
		rules.SupportedOrRequired(l, at.Child("status"), c.Status, statuses...)
		other := map[certificatesv1.RequestConditionType]certificatesv1.RequestConditionType{
			certificatesv1.CertificateApproved: certificatesv1.CertificateDenied,
			certificatesv1.CertificateDenied:   certificatesv1.CertificateApproved,
		}[c.Type]
		if other != "" && seen[other] && !may.bothWays {
			l.Invalid(path, c.Type, "Approved and Denied conditions are mutually exclusive")
		}
		if seen[c.Type] && !may.sameTypes {
			l.Duplicate(at.Child("type"), c.Type)
		}
		seen[c.Type] = true
	}
}

func validateRequestUpdate(r, old *request) field.ErrorList { return judgeUpdate(r, old, false, false) }

func validateApproval(r, old *request) field.ErrorList { return judgeUpdate(r, old, true, false) }

func validateRequestStatus(r, old *request) field.ErrorList { return judgeUpdate(r, old, false, true) }

// judgeUpdate judges who may approve and who may sign.
func judgeUpdate(r, old *request, approves, signs bool) field.ErrorList {
	l := rules.List(judgeRequest(r, lenientTo(r, old)))
	path := field.NewPath("status", "conditions")
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed} {
		if len(conditionsOf(r, t)) < len(conditionsOf(old, t)) {
			l.Forbidden(path, fmt.Sprintf("updates may not remove a condition of type %q", t))
		}
	}
	for _, t := range []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied} {
		is, was := conditionsOf(r, t), conditionsOf(old, t)
		if approves || len(is) < len(was) {
			continue
		}
		if len(is) > len(was) {
			l.Forbidden(path, fmt.Sprintf("updates may not add a condition of type %q", t))
			continue
		}
		for i := range was {
			if !row.Same(r.Status.Conditions[is[i]], old.Status.Conditions[was[i]]) {
				l.Forbidden(path, fmt.Sprintf("updates may not modify a condition of type %q", t))
				break
			}
		}
	}
	if !bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		at := field.NewPath("status", "certificate")
		if !signs {
			l.Forbidden(at, "updates may not set certificate content")
		} else if len(old.Status.Certificate) > 0 {
			l.Forbidden(at, "updates may not modify existing certificate content")
		}
	}
	return l.Errors()
}
