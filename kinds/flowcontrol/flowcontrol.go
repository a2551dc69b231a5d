// Package flowcontrol holds the kinds of the group flowcontrol.apiserver.k8s.io:
// which requests wait for which. See package kinds for the table that this is a
// part of.
package flowcontrol

import (
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// Kinds are the group's rows.
func Kinds() []*kinds.Kind {
	return []*kinds.Kind{
		rules.WithMeta(flowSchema(), rules.MetaFull),
		rules.WithMeta(priorityLevel(), rules.MetaFull),
	}
}

func flowSchema() *kinds.Kind {
	type T = *flowcontrolv1.FlowSchema
	spec := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	return row.Fill[flowcontrolv1.FlowSchema, flowcontrolv1.FlowSchemaList](flowcontrolv1.SchemeGroupVersion, &kinds.Kind{
		Resource: "flowschemas",
		Name:     rules.DNSSubdomain,
		Default: rules.Do(func(f T) {
			if f.Spec.MatchingPrecedence == 0 {
				f.Spec.MatchingPrecedence = 1000
			}
		}),
		PrepareCreate:  rules.Do(func(f T) { f.Status = flowcontrolv1.FlowSchemaStatus{} }),
		PrepareUpdate:  rules.Do2(func(f, old T) { f.Status = old.Status }),
		Generation:     rules.Differ(func(f, old T) bool { return !row.Same(f.Spec, old.Spec) }),
		Validate:       rules.Check(validateFlowSchema),
		ValidateUpdate: rules.Check2(validateFlowSchemaUpdate),
		Subresources: row.WithStatus(func(f, old T) {
			// Managed fields are the request's; all other metadata stays.
			managed := f.ManagedFields
			f.ObjectMeta = old.ObjectMeta
			f.ManagedFields = managed
			f.Spec = old.Spec
		}, validateFlowSchemaStatus, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("PriorityLevel", flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"]),
			rules.Column("MatchingPrecedence", spec["matchingPrecedence"]),
			rules.Column("DistinguisherMethod", spec["distinguisherMethod"]),
			rules.AgeColumn(),
			rules.Column("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
		},
		Cells: rules.Cells(flowSchemaCells),
	}, oldFlowSchema()...)
}

func flowSchemaCells(f *flowcontrolv1.FlowSchema, now time.Time) []any {
	method, missing := "<none>", "?"
	if f.Spec.DistinguisherMethod != nil {
		method = string(f.Spec.DistinguisherMethod.Type)
	}
	for _, c := range f.Status.Conditions {
		if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
			missing = string(c.Status)
			break
		}
	}
	return []any{f.Name, f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), method, rules.Age(f.CreationTimestamp, now), missing}
}

func priorityLevel() *kinds.Kind {
	type T = *flowcontrolv1.PriorityLevelConfiguration
	queuing := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return row.Fill[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList](flowcontrolv1.SchemeGroupVersion, &kinds.Kind{
		Resource:       "prioritylevelconfigurations",
		Name:           rules.DNSSubdomain,
		Default:        rules.Do(defaultPriorityLevel),
		PrepareCreate:  rules.Do(func(p T) { p.Status = flowcontrolv1.PriorityLevelConfigurationStatus{} }),
		PrepareUpdate:  rules.Do2(func(p, old T) { p.Status = old.Status }),
		Generation:     rules.Differ(func(p, old T) bool { return !row.Same(p.Spec, old.Spec) }),
		Validate:       rules.Check(validatePriorityLevel),
		ValidateUpdate: rules.Check2(validatePriorityLevelUpdate),
		Subresources: row.WithStatus(func(p, old T) {
			managed := p.ManagedFields
			p.ObjectMeta = old.ObjectMeta
			p.ManagedFields = managed
			p.Spec = old.Spec
		}, validatePriorityLevelStatus, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			rules.NameColumn(),
			rules.Column("Type", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"]),
			rules.Column("NominalConcurrencyShares", flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"]),
			rules.Column("Queues", queuing["queues"]),
			rules.Column("HandSize", queuing["handSize"]),
			rules.Column("QueueLengthLimit", queuing["queueLengthLimit"]),
			rules.AgeColumn(),
		},
		Cells: rules.Cells(priorityLevelCells),
	}, oldPriorityLevel()...)
}

func defaultPriorityLevel(p *flowcontrolv1.PriorityLevelConfiguration) {
	if e := p.Spec.Exempt; e != nil {
		if e.NominalConcurrencyShares == nil {
			e.NominalConcurrencyShares = ptr.To[int32](0)
		}
		if e.LendablePercent == nil {
			e.LendablePercent = ptr.To[int32](0)
		}
	}
	l := p.Spec.Limited
	if l == nil {
		return
	}
	if l.NominalConcurrencyShares == nil {
		l.NominalConcurrencyShares = ptr.To[int32](30)
	}
	if l.LendablePercent == nil {
		l.LendablePercent = ptr.To[int32](0)
	}
	if q := l.LimitResponse.Queuing; q != nil {
		if q.HandSize == 0 {
			q.HandSize = 8
		}
		if q.Queues == 0 {
			q.Queues = 64
		}
		if q.QueueLengthLimit == 0 {
			q.QueueLengthLimit = 50
		}
	}
}

func priorityLevelCells(p *flowcontrolv1.PriorityLevelConfiguration, now time.Time) []any {
	var shares, queues, hand, length any = "<none>", "<none>", "<none>", "<none>"
	if l := p.Spec.Limited; l != nil {
		shares = int64(ptr.Deref(l.NominalConcurrencyShares, 0))
		if q := l.LimitResponse.Queuing; q != nil {
			queues, hand, length = int64(q.Queues), int64(q.HandSize), int64(q.QueueLengthLimit)
		}
	}
	return []any{p.Name, string(p.Spec.Type), shares, queues, hand, length, rules.Age(p.CreationTimestamp, now)}
}
