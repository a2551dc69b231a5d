package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func warnName(name string) []string { return nil }

func validateMutatingWebhook(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList { return nil }
func validateMutatingWebhookUpdate(c, old *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	return nil
}
func validateValidatingWebhook(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return nil
}
func validateValidatingWebhookUpdate(c, old *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return nil
}
func validateValidatingPolicy(c *admissionv1.ValidatingAdmissionPolicy) field.ErrorList { return nil }
func validateValidatingPolicyUpdate(c, old *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	return nil
}
func validateMutatingPolicy(c *admissionv1.MutatingAdmissionPolicy) field.ErrorList { return nil }
func validateMutatingPolicyUpdate(c, old *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	return nil
}
func validateValidatingBinding(c *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	return nil
}
func validateValidatingBindingUpdate(c, old *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	return nil
}
func validateMutatingBinding(c *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	return nil
}
func validateMutatingBindingUpdate(c, old *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	return nil
}
