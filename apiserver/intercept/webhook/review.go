package webhook

import (
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/codec"
)

// answer is what a webhook said, whichever version it speaks.
type answer struct {
	allowed     bool
	patch       []byte
	patchType   admissionv1.PatchType
	result      *metav1.Status
	warnings    []string
	annotations map[string]string
}

// question is a review on its way out, with an empty one for the answer.
type question struct {
	uid           types.UID
	review, reply runtime.Object
}

// rawObjects are the two states of the object, encoded.
type rawObjects struct{ object, old []byte }

// encode encodes them as found shows them. Objects have no kind and apiVersion of
// their own here.
func encode(a *match.Attributes, found match.Found) (rawObjects, error) {
	var raw rawObjects
	obj, err := a.Object(found.Kind)
	if err != nil {
		return raw, err
	}
	if obj != nil {
		if raw.object, err = codec.Object(codec.JSON, found.Kind, obj); err != nil {
			return raw, err
		}
	}
	old, err := a.Old(found.Kind)
	if err != nil {
		return raw, err
	}
	if old != nil {
		if raw.old, err = codec.Object(codec.JSON, found.Kind, old); err != nil {
			return raw, err
		}
	}
	return raw, nil
}

// ask makes the review that the webhook understands (webhook/request,
// CreateAdmissionObjects).
func ask(h *hook, a *match.Attributes, found match.Found, raw rawObjects) (question, error) {
	for _, v := range h.reviews {
		uid := uuid.NewUUID()
		switch v {
		case "v1":
			return question{uid, &admissionv1.AdmissionReview{Request: request(uid, a, found, raw)}, &admissionv1.AdmissionReview{}}, nil
		case "v1beta1":
			return question{uid, &admissionv1beta1.AdmissionReview{Request: requestBeta(request(uid, a, found, raw))}, &admissionv1beta1.AdmissionReview{}}, nil
		}
	}
	return question{}, fmt.Errorf("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
}

func request(uid types.UID, a *match.Attributes, found match.Found, raw rawObjects) *admissionv1.AdmissionRequest {
	u := a.GetUserInfo()
	user := authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: map[string]authenticationv1.ExtraValue{}}
	for k, v := range u.GetExtra() {
		user.Extra[k] = v
	}
	kind, resource, dry := metav1.GroupVersionKind(a.GetKind()), metav1.GroupVersionResource(a.GetResource()), a.IsDryRun()
	return &admissionv1.AdmissionRequest{
		UID:         uid,
		Kind:        metav1.GroupVersionKind(found.Kind),
		Resource:    metav1.GroupVersionResource(found.Resource),
		SubResource: a.GetSubresource(),
		RequestKind: &kind, RequestResource: &resource, RequestSubResource: a.GetSubresource(),
		Name: a.GetName(), Namespace: a.GetNamespace(), Operation: admissionv1.Operation(a.GetOperation()),
		UserInfo: user,
		Object:   runtime.RawExtension{Raw: raw.object}, OldObject: runtime.RawExtension{Raw: raw.old},
		DryRun:  &dry,
		Options: runtime.RawExtension{Object: a.GetOperationOptions()},
	}
}

func requestBeta(r *admissionv1.AdmissionRequest) *admissionv1beta1.AdmissionRequest {
	return &admissionv1beta1.AdmissionRequest{
		UID: r.UID, Kind: r.Kind, Resource: r.Resource, SubResource: r.SubResource,
		RequestKind: r.RequestKind, RequestResource: r.RequestResource, RequestSubResource: r.RequestSubResource,
		Name: r.Name, Namespace: r.Namespace, Operation: admissionv1beta1.Operation(r.Operation), UserInfo: r.UserInfo,
		Object: r.Object, OldObject: r.OldObject, DryRun: r.DryRun, Options: r.Options,
	}
}

// read checks an answer: it must be one to this question, and a validating webhook
// may not change anything (webhook/request, VerifyAdmissionResponse).
func (q *question) read(mutating bool) (*answer, error) {
	switch r := q.reply.(type) {
	case *admissionv1.AdmissionReview:
		return q.readV1(r, mutating)
	case *admissionv1beta1.AdmissionReview:
		return readBeta(r, mutating)
	}
	return nil, fmt.Errorf("unexpected response type %T", q.reply)
}

func (q *question) readV1(r *admissionv1.AdmissionReview, mutating bool) (*answer, error) {
	in := r.Response
	if in == nil {
		return nil, fmt.Errorf("webhook response was absent")
	}
	if in.UID != q.uid {
		return nil, fmt.Errorf("expected response.uid=%q, got %q", q.uid, in.UID)
	}
	want := admissionv1.SchemeGroupVersion.WithKind("AdmissionReview")
	if have := r.GroupVersionKind(); have != want {
		return nil, fmt.Errorf("expected webhook response of %v, got %v", want.String(), have.String())
	}
	out := &answer{allowed: in.Allowed, result: in.Result, warnings: in.Warnings, annotations: in.AuditAnnotations}
	switch patch := len(in.Patch) > 0; {
	case !mutating && patch:
		return nil, fmt.Errorf("validating webhook may not return response.patch")
	case !mutating && in.PatchType != nil:
		return nil, fmt.Errorf("validating webhook may not return response.patchType")
	case !mutating:
		return out, nil
	case patch && in.PatchType == nil:
		return nil, fmt.Errorf("webhook returned response.patch but not response.patchType")
	case !patch && in.PatchType != nil:
		return nil, fmt.Errorf("webhook returned response.patchType but not response.patch")
	}
	out.patch = in.Patch
	if in.PatchType != nil {
		if out.patchType = *in.PatchType; out.patchType == "" {
			return nil, fmt.Errorf("webhook returned invalid response.patchType of %q", out.patchType)
		}
	}
	return out, nil
}

// readBeta believes v1beta1 as it always has been: neither uid nor patch type were
// ever checked.
func readBeta(r *admissionv1beta1.AdmissionReview, mutating bool) (*answer, error) {
	in := r.Response
	if in == nil {
		return nil, fmt.Errorf("webhook response was absent")
	}
	out := &answer{allowed: in.Allowed, result: in.Result, warnings: in.Warnings, annotations: in.AuditAnnotations}
	if mutating && len(in.Patch) > 0 {
		out.patch, out.patchType = in.Patch, admissionv1.PatchTypeJSONPatch
	}
	return out, nil
}

// refusal makes a Status of a webhook's no (webhook/errors, ToStatusErr).
func refusal(name string, result *metav1.Status) *apierrors.StatusError {
	s := metav1.Status{Status: metav1.StatusFailure}
	if result != nil {
		s = *result
	}
	if s.Code < http.StatusBadRequest {
		s.Code = http.StatusBadRequest
	}
	if s.Status == "" || s.Status == metav1.StatusSuccess {
		s.Status = metav1.StatusFailure
	}
	denied := fmt.Sprintf("admission webhook %q denied the request", name)
	switch {
	case s.Message != "":
		s.Message = denied + ": " + s.Message
	case s.Reason != "":
		s.Message = denied + ": " + string(s.Reason)
	default:
		s.Message = denied + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: s}
}
