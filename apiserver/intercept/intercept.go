// Package intercept is admission by configuration: webhooks and policies, which
// users keep as objects of the group admissionregistration.k8s.io. It joins them to
// the server: the plugins, in their order, and the kinds that they follow.
package intercept

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/apiserver/intercept/policy"
	"skiff.dev/skiff/apiserver/intercept/webhook"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/telemetry"
)

// Options are what webhooks and policies need.
type Options struct {
	Clients     *callout.Clients
	Authorizer  auth.Authorizer
	OldVersions bool
	Telemetry   *telemetry.Telemetry
}

// Interceptors are all webhooks and policies.
type Interceptors struct {
	hooks    *webhook.Plugins
	policies *policy.Plugins
}

// New makes them without any configuration.
func New(o Options) (*Interceptors, error) {
	tel := o.Telemetry.For("admission")
	m, err := match.NewMetrics(tel)
	if err != nil {
		return nil, err
	}
	return &Interceptors{
		hooks:    webhook.New(webhook.Options{Clients: o.Clients, Authorizer: o.Authorizer, OldVersions: o.OldVersions, Metrics: m, Log: tel.Log}),
		policies: policy.New(policy.Options{Authorizer: o.Authorizer, OldVersions: o.OldVersions, Metrics: m, Log: tel.Log}),
	}, nil
}

// Chain is the order in which Kubernetes runs them: after its own plugins, before
// ResourceQuota.
func (i *Interceptors) Chain() admission.Chain {
	return admission.Chain{i.policies.Mutating(), i.hooks.Mutating(), i.policies.Validating(), i.hooks.Validating()}
}

// Resources are the kinds to follow.
func (i *Interceptors) Resources() []schema.GroupResource {
	var out []schema.GroupResource
	for _, r := range []string{"mutatingwebhookconfigurations", "validatingwebhookconfigurations", "validatingadmissionpolicies",
		"validatingadmissionpolicybindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"} {
		out = append(out, schema.GroupResource{Group: "admissionregistration.k8s.io", Resource: r})
	}
	return out
}

// Apply takes a change of one of them in; see apiserver.Feed.
func (i *Interceptors) Apply(ev kinds.Event) {
	i.hooks.Apply(ev)
	i.policies.Apply(ev)
}
