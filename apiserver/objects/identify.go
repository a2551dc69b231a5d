package objects

import (
	certificatesv1 "k8s.io/api/certificates/v1"

	"skiff.dev/skiff/kinds"
)

// identify writes into a new object who made it, where the object says so: what the
// client wrote there was taken away by PrepareCreate
// (registry/certificates/certificates, PrepareForCreate).
func identify(r *Request, obj kinds.Object) {
	csr, ok := obj.(*certificatesv1.CertificateSigningRequest)
	if !ok || r.User == nil {
		return
	}
	csr.Spec.Username, csr.Spec.UID, csr.Spec.Groups = r.User.Name, r.User.UID, r.User.Groups
	if len(r.User.Extra) > 0 {
		csr.Spec.Extra = make(map[string]certificatesv1.ExtraValue, len(r.User.Extra))
		for k, v := range r.User.Extra {
			csr.Spec.Extra[k] = v
		}
	}
}
