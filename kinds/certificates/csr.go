// Package certificates holds the kinds of the group certificates.k8s.io: requests
// to sign a certificate. See package kinds for the table that this is a part of.
package certificates

import (
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

type request = certificatesv1.CertificateSigningRequest

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(signingRequest(), rules.MetaUpdate|rules.MetaFull),
	}
}

func signingRequest() *kinds.Kind {
	doc := certificatesv1beta1.CertificateSigningRequestSpec{}.SwaggerDoc() // the printers have these words
	return row.Fill[certificatesv1.CertificateSigningRequest, certificatesv1.CertificateSigningRequestList](certificatesv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "certificatesigningrequests", ShortNames: []string{"csr"},
		Name: row.PathSegment,
		// Whoever asks is written down by the API server: spec.username, uid, groups
		// and extra are its to fill in after this.
		PrepareCreate: rules.Do(func(r *request) {
			r.Spec.Username, r.Spec.UID, r.Spec.Groups, r.Spec.Extra = "", "", nil, nil
			r.Status = certificatesv1.CertificateSigningRequestStatus{}
		}),
		PrepareUpdate:  rules.Do2(func(r, old *request) { r.Spec, r.Status = old.Spec, old.Status }),
		Reset:          []string{"spec", "status"},
		Validate:       rules.Check(validateRequest),
		ValidateUpdate: rules.Check2(validateRequestUpdate),
		Subresources: map[string]kinds.Subresource{
			"approval": row.Part(prepareApproval, validateApproval, "spec", "status.certificate"),
			"status":   row.Part(prepareStatus, validateRequestStatus, "spec", "status.conditions"),
		},
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.AgeColumn(),
			rules.Column("SignerName", doc["signerName"]),
			rules.Column("Requestor", doc["request"]),
			rules.Column("RequestedDuration", doc["expirationSeconds"]),
			rules.Column("Condition", certificatesv1beta1.CertificateSigningRequestStatus{}.SwaggerDoc()["conditions"]),
		},
		Cells: rules.Cells(requestCells),
		Fields: map[string]func(kinds.Object) string{
			"spec.signerName": rules.Field(func(r *request) string { return r.Spec.SignerName }),
		},
	}, oldRequest()...)
}

// prepareApproval lets the approver write conditions alone.
func prepareApproval(r, old *request) {
	stampConditions(r, old)
	conditions := r.Status.Conditions
	r.Spec, r.Status = old.Spec, old.Status
	r.Status.Conditions = conditions
}

// prepareStatus lets the signer write all but what the approver wrote.
func prepareStatus(r, old *request) {
	r.Spec = old.Spec
	keepConditions(r, old, certificatesv1.CertificateApproved)
	keepConditions(r, old, certificatesv1.CertificateDenied)
	stampConditions(r, old)
}

func keepConditions(r, old *request, t certificatesv1.RequestConditionType) {
	have, had := conditionsOf(r, t), conditionsOf(old, t)
	if len(have) != len(had) {
		return
	}
	for i := range had {
		r.Status.Conditions[have[i]] = old.Status.Conditions[had[i]]
	}
}

func conditionsOf(r *request, t certificatesv1.RequestConditionType) []int {
	var out []int
	for i, c := range r.Status.Conditions {
		if c.Type == t {
			out = append(out, i)
		}
	}
	return out
}

// stampConditions gives times to conditions that have none.
func stampConditions(r, old *request) {
	now := metav1.Now()
	for i := range r.Status.Conditions {
		c := &r.Status.Conditions[i]
		if c.LastUpdateTime.IsZero() {
			c.LastUpdateTime = now
		}
		if !c.LastTransitionTime.IsZero() {
			continue
		}
		c.LastTransitionTime = now
		for _, o := range old.Status.Conditions {
			if o.Type == c.Type && o.Status == c.Status && !o.LastTransitionTime.IsZero() {
				c.LastTransitionTime = o.LastTransitionTime
				break
			}
		}
	}
}

func requestCells(r *request, now time.Time) []any {
	signer, asked := r.Spec.SignerName, "<none>"
	if signer == "" {
		signer = "<none>"
	}
	if r.Spec.ExpirationSeconds != nil {
		asked = duration.HumanDuration(time.Duration(*r.Spec.ExpirationSeconds) * time.Second)
	}
	return []any{r.Name, rules.Age(r.CreationTimestamp, now), signer, r.Spec.Username, asked, requestState(r)}
}

func requestState(r *request) string {
	state := "Pending"
	if len(conditionsOf(r, certificatesv1.CertificateApproved)) > 0 {
		state = "Approved"
	}
	if len(conditionsOf(r, certificatesv1.CertificateDenied)) > 0 {
		state = "Denied"
	}
	if len(conditionsOf(r, certificatesv1.CertificateFailed)) > 0 {
		state += ",Failed"
	}
	if len(r.Status.Certificate) > 0 {
		state += ",Issued"
	}
	return state
}
