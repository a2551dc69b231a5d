package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	admissionv1beta1 "k8s.io/api/admissionregistration/v1beta1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/convert"
)

// Webhooks of v1beta1 failed open, matched exactly and had longer to answer. Side
// effects that nobody told of cannot be said in v1; they become NoneOnDryRun, so that
// old manifests are accepted and a dry run is told to the webhook.

var v1beta1 = admissionv1beta1.SchemeGroupVersion

func oldMutatingWebhook() []kinds.Version {
	c := convert.New(convert.After(func(_ *admissionv1beta1.MutatingWebhook, out *admissionv1.MutatingWebhook) error {
		out.SideEffects = knownEffects(out.SideEffects)
		return nil
	}))
	return []kinds.Version{convert.Old[admissionv1.MutatingWebhookConfiguration, admissionv1beta1.MutatingWebhookConfiguration, admissionv1beta1.MutatingWebhookConfigurationList](
		c, v1beta1, "MutatingWebhookConfiguration", func(m *admissionv1beta1.MutatingWebhookConfiguration) {
			for i := range m.Webhooks {
				w := &m.Webhooks[i]
				defaultOldHook(&w.FailurePolicy, &w.MatchPolicy, &w.SideEffects, &w.TimeoutSeconds, &w.AdmissionReviewVersions)
			}
		})}
}

func oldValidatingWebhook() []kinds.Version {
	c := convert.New(convert.After(func(_ *admissionv1beta1.ValidatingWebhook, out *admissionv1.ValidatingWebhook) error {
		out.SideEffects = knownEffects(out.SideEffects)
		return nil
	}))
	return []kinds.Version{convert.Old[admissionv1.ValidatingWebhookConfiguration, admissionv1beta1.ValidatingWebhookConfiguration, admissionv1beta1.ValidatingWebhookConfigurationList](
		c, v1beta1, "ValidatingWebhookConfiguration", func(m *admissionv1beta1.ValidatingWebhookConfiguration) {
			for i := range m.Webhooks {
				w := &m.Webhooks[i]
				defaultOldHook(&w.FailurePolicy, &w.MatchPolicy, &w.SideEffects, &w.TimeoutSeconds, &w.AdmissionReviewVersions)
			}
		})}
}

func defaultOldHook(failure **admissionv1beta1.FailurePolicyType, match **admissionv1beta1.MatchPolicyType,
	effects **admissionv1beta1.SideEffectClass, timeout **int32, reviews *[]string) {
	if *failure == nil {
		*failure = ptr.To(admissionv1beta1.Ignore)
	}
	if *match == nil {
		*match = ptr.To(admissionv1beta1.Exact)
	}
	if *effects == nil {
		*effects = ptr.To(admissionv1beta1.SideEffectClassUnknown)
	}
	if *timeout == nil {
		*timeout = ptr.To[int32](30)
	}
	if len(*reviews) == 0 {
		*reviews = []string{"v1beta1"}
	}
}

func knownEffects(e *admissionv1.SideEffectClass) *admissionv1.SideEffectClass {
	if e != nil && (*e == admissionv1.SideEffectClassUnknown || *e == admissionv1.SideEffectClassSome) {
		return ptr.To(admissionv1.SideEffectClassNoneOnDryRun)
	}
	return e
}

func oldValidatingPolicy() []kinds.Version {
	return []kinds.Version{convert.Old[admissionv1.ValidatingAdmissionPolicy, admissionv1beta1.ValidatingAdmissionPolicy, admissionv1beta1.ValidatingAdmissionPolicyList](
		convert.New(), v1beta1, "ValidatingAdmissionPolicy", nil)}
}

func oldValidatingPolicyBinding() []kinds.Version {
	return []kinds.Version{convert.Old[admissionv1.ValidatingAdmissionPolicyBinding, admissionv1beta1.ValidatingAdmissionPolicyBinding, admissionv1beta1.ValidatingAdmissionPolicyBindingList](
		convert.New(), v1beta1, "ValidatingAdmissionPolicyBinding", nil)}
}

func servedMutatingPolicy() []kinds.Version {
	return []kinds.Version{convert.Old[admissionv1.MutatingAdmissionPolicy, admissionv1beta1.MutatingAdmissionPolicy, admissionv1beta1.MutatingAdmissionPolicyList](
		convert.New(), v1beta1, "MutatingAdmissionPolicy", nil)}
}

func servedMutatingPolicyBinding() []kinds.Version {
	return []kinds.Version{convert.Old[admissionv1.MutatingAdmissionPolicyBinding, admissionv1beta1.MutatingAdmissionPolicyBinding, admissionv1beta1.MutatingAdmissionPolicyBindingList](
		convert.New(), v1beta1, "MutatingAdmissionPolicyBinding", nil)}
}
