package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// In v1beta1 a request could leave out who signs, what for, and whether a condition
// holds (pkg/apis/certificates/v1beta1/defaults.go in Kubernetes).

func oldRequest() []kinds.Version {
	return []kinds.Version{convert.Old[certificatesv1.CertificateSigningRequest, certificatesv1beta1.CertificateSigningRequest, certificatesv1beta1.CertificateSigningRequestList](
		convert.New(), certificatesv1beta1.SchemeGroupVersion, "CertificateSigningRequest", defaultOldRequest)}
}

func defaultOldRequest(r *certificatesv1beta1.CertificateSigningRequest) {
	if r.Spec.Usages == nil {
		r.Spec.Usages = []certificatesv1beta1.KeyUsage{certificatesv1beta1.UsageDigitalSignature, certificatesv1beta1.UsageKeyEncipherment}
	}
	if r.Spec.SignerName == nil {
		signer := signerOf(&r.Spec)
		r.Spec.SignerName = &signer
	}
	for i := range r.Status.Conditions {
		if c := &r.Status.Conditions[i]; c.Status == "" {
			c.Status = corev1.ConditionTrue
		}
	}
}

// signerOf recognises what kubelets ask for.
func signerOf(spec *certificatesv1beta1.CertificateSigningRequestSpec) string {
	block, _ := pem.Decode(spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return certificatesv1beta1.LegacyUnknownSignerName
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || !slices.Equal(req.Subject.Organization, []string{"system:nodes"}) || !strings.HasPrefix(req.Subject.CommonName, "system:node:") {
		return certificatesv1beta1.LegacyUnknownSignerName
	}
	named := len(req.DNSNames) > 0 || len(req.IPAddresses) > 0
	other := len(req.EmailAddresses) > 0 || len(req.URIs) > 0
	switch {
	case !named && !other && usedFor(spec.Usages, certificatesv1beta1.UsageClientAuth):
		return certificatesv1beta1.KubeAPIServerClientKubeletSignerName
	case named && !other && usedFor(spec.Usages, certificatesv1beta1.UsageServerAuth):
		return certificatesv1beta1.KubeletServingSignerName
	}
	return certificatesv1beta1.LegacyUnknownSignerName
}

// usedFor tells whether usages are digital signature and auth, with or without key
// encipherment.
func usedFor(usages []certificatesv1beta1.KeyUsage, auth certificatesv1beta1.KeyUsage) bool {
	for _, u := range usages {
		if u != auth && u != certificatesv1beta1.UsageDigitalSignature && u != certificatesv1beta1.UsageKeyEncipherment {
			return false
		}
	}
	return slices.Contains(usages, auth) && slices.Contains(usages, certificatesv1beta1.UsageDigitalSignature)
}
