// Package admissionregistration holds the kinds of the group
// admissionregistration.k8s.io: webhooks and policies that requests pass on their
// way in. See package kinds for the table that this is a part of.
package admissionregistration

import (
	"reflect"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

var categories = []string{"api-extensions"}

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		withMeta(mutatingPolicy()), withMeta(mutatingPolicyBinding()), withMeta(mutatingWebhook()),
		withMeta(validatingPolicy()), withMeta(validatingPolicyBinding()), withMeta(validatingWebhook()),
	}
}

func withMeta(k *kinds.Kind) *kinds.Kind { return rules.WithMeta(k, rules.MetaFull|rules.MetaGeneral) }

func mutatingWebhook() *kinds.Kind {
	type T = *admissionv1.MutatingWebhookConfiguration
	return row.Fill[admissionv1.MutatingWebhookConfiguration, admissionv1.MutatingWebhookConfigurationList](admissionv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "mutatingwebhookconfigurations", Categories: categories,
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(defaultMutatingWebhook),
		Generation:      rules.Differ(func(c, old T) bool { return !reflect.DeepEqual(c.Webhooks, old.Webhooks) }),
		Validate:        rules.Check(validateMutatingWebhook),
		ValidateUpdate:  rules.Check2(validateMutatingWebhookUpdate),
		Warnings:        rules.Warn(func(c, _ T) []string { return warnName(c.Name) }),
		Columns:         webhookColumns(),
		Cells: rules.Cells(func(c T, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), rules.Age(c.CreationTimestamp, now)}
		}),
	}, oldMutatingWebhook()...)
}

func validatingWebhook() *kinds.Kind {
	type T = *admissionv1.ValidatingWebhookConfiguration
	return row.Fill[admissionv1.ValidatingWebhookConfiguration, admissionv1.ValidatingWebhookConfigurationList](admissionv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "validatingwebhookconfigurations", Categories: categories,
		RequireRevision: true,
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(defaultValidatingWebhook),
		Generation:      rules.Differ(func(c, old T) bool { return !reflect.DeepEqual(c.Webhooks, old.Webhooks) }),
		Validate:        rules.Check(validateValidatingWebhook),
		ValidateUpdate:  rules.Check2(validateValidatingWebhookUpdate),
		Warnings:        rules.Warn(func(c, _ T) []string { return warnName(c.Name) }),
		Columns:         webhookColumns(),
		Cells: rules.Cells(func(c T, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), rules.Age(c.CreationTimestamp, now)}
		}),
	}, oldValidatingWebhook()...)
}

func webhookColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.IntColumn("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
		rules.AgeColumn(),
	}
}
