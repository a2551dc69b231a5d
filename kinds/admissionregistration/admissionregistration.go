// Package admissionregistration holds the kinds of the group
// admissionregistration.k8s.io: webhooks and policies that requests pass on their
// way in. See package kinds for the table that this is a part of.
package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

const group = admissionv1.GroupName

var categories = []string{"api-extensions"}

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		mutatingPolicy(), mutatingPolicyBinding(), mutatingWebhook(),
		validatingPolicy(), validatingPolicyBinding(), validatingWebhook(),
	}
}

func mutatingWebhook() *kinds.Kind {
	type T = *admissionv1.MutatingWebhookConfiguration
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "MutatingWebhookConfiguration", List: "MutatingWebhookConfigurationList",
		Resource: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration", Categories: categories,
		RequireRevision: true,
		Served:          append(row.Hub(group, "v1"), oldMutatingWebhook()...),
		New:             row.Make[admissionv1.MutatingWebhookConfiguration](),
		NewList:         row.MakeAny[admissionv1.MutatingWebhookConfigurationList](),
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(defaultMutatingWebhook),
		Generation:      rules.Differ(func(c, old T) bool { return !row.Same(c.Webhooks, old.Webhooks) }),
		Validate:        rules.Check(validateMutatingWebhook),
		ValidateUpdate:  rules.Check2(validateMutatingWebhookUpdate),
		Warnings:        rules.Warn(func(c, _ T) []string { return warnName(c.Name) }),
		Columns:         webhookColumns(),
		Cells: rules.Cells(func(c T, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), rules.Age(c.CreationTimestamp, now)}
		}),
	}
}

func validatingWebhook() *kinds.Kind {
	type T = *admissionv1.ValidatingWebhookConfiguration
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "ValidatingWebhookConfiguration", List: "ValidatingWebhookConfigurationList",
		Resource: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration", Categories: categories,
		RequireRevision: true,
		Served:          append(row.Hub(group, "v1"), oldValidatingWebhook()...),
		New:             row.Make[admissionv1.ValidatingWebhookConfiguration](),
		NewList:         row.MakeAny[admissionv1.ValidatingWebhookConfigurationList](),
		Name:            rules.DNSSubdomain,
		Default:         rules.Do(defaultValidatingWebhook),
		Generation:      rules.Differ(func(c, old T) bool { return !row.Same(c.Webhooks, old.Webhooks) }),
		Validate:        rules.Check(validateValidatingWebhook),
		ValidateUpdate:  rules.Check2(validateValidatingWebhookUpdate),
		Warnings:        rules.Warn(func(c, _ T) []string { return warnName(c.Name) }),
		Columns:         webhookColumns(),
		Cells: rules.Cells(func(c T, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), rules.Age(c.CreationTimestamp, now)}
		}),
	}
}

func webhookColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		rules.NameColumn(),
		rules.IntColumn("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
		rules.AgeColumn(),
	}
}
