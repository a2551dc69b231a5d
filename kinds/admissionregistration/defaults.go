package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// hook is what both sorts of webhooks share.
type hook struct {
	failure   **admissionv1.FailurePolicyType
	match     **admissionv1.MatchPolicyType
	namespace **metav1.LabelSelector
	object    **metav1.LabelSelector
	timeout   **int32
	rules     []admissionv1.RuleWithOperations
	service   *admissionv1.ServiceReference
}

func defaultHook(h hook) {
	if *h.failure == nil {
		*h.failure = ptr.To(admissionv1.Fail)
	}
	if *h.match == nil {
		*h.match = ptr.To(admissionv1.Equivalent)
	}
	if *h.namespace == nil {
		*h.namespace = &metav1.LabelSelector{}
	}
	if *h.object == nil {
		*h.object = &metav1.LabelSelector{}
	}
	if *h.timeout == nil {
		*h.timeout = ptr.To[int32](10)
	}
	if h.service != nil && h.service.Port == nil {
		h.service.Port = ptr.To[int32](443)
	}
	for i := range h.rules {
		defaultRule(&h.rules[i].Rule)
	}
}

func defaultRule(r *admissionv1.Rule) {
	if r.Scope == nil {
		r.Scope = ptr.To(admissionv1.AllScopes)
	}
}

func defaultMutatingWebhook(c *admissionv1.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		defaultHook(hook{&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, &w.TimeoutSeconds, w.Rules, w.ClientConfig.Service})
		if w.ReinvocationPolicy == nil {
			w.ReinvocationPolicy = ptr.To(admissionv1.NeverReinvocationPolicy)
		}
	}
}

func defaultValidatingWebhook(c *admissionv1.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		defaultHook(hook{&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, &w.TimeoutSeconds, w.Rules, w.ClientConfig.Service})
	}
}

func defaultValidatingPolicy(p *admissionv1.ValidatingAdmissionPolicy) {
	if p.Spec.FailurePolicy == nil {
		p.Spec.FailurePolicy = ptr.To(admissionv1.Fail)
	}
	defaultMatch(p.Spec.MatchConstraints)
}

func defaultMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy) {
	if p.Spec.FailurePolicy == nil {
		p.Spec.FailurePolicy = ptr.To(admissionv1.Fail)
	}
	defaultMatch(p.Spec.MatchConstraints)
}

func defaultMatch(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		m.MatchPolicy = ptr.To(admissionv1.Equivalent)
	}
	if m.NamespaceSelector == nil {
		m.NamespaceSelector = &metav1.LabelSelector{}
	}
	if m.ObjectSelector == nil {
		m.ObjectSelector = &metav1.LabelSelector{}
	}
	for i := range m.ResourceRules {
		defaultRule(&m.ResourceRules[i].Rule)
	}
	for i := range m.ExcludeResourceRules {
		defaultRule(&m.ExcludeResourceRules[i].Rule)
	}
}
