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
)

const group = flowcontrolv1.GroupName

// Kinds are the group's rows.
func Kinds() []*kinds.Kind { return []*kinds.Kind{flowSchema(), priorityLevel()} }

func flowSchema() *kinds.Kind {
	type T = *flowcontrolv1.FlowSchema
	spec := flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "FlowSchema", List: "FlowSchemaList",
		Resource: "flowschemas", Singular: "flowschema",
		Served:  append(row.Hub(group, "v1"), oldFlowSchema()...),
		New:     row.Make[flowcontrolv1.FlowSchema](),
		NewList: row.MakeAny[flowcontrolv1.FlowSchemaList](),
		Name:    row.DNSSubdomain,
		Default: row.Fill(func(f T) {
			if f.Spec.MatchingPrecedence == 0 {
				f.Spec.MatchingPrecedence = 1000
			}
		}),
		PrepareCreate:  row.Fill(func(f T) { f.Status = flowcontrolv1.FlowSchemaStatus{} }),
		PrepareUpdate:  row.Carry(func(f, old T) { f.Status = old.Status }),
		Generation:     row.Differ(func(f, old T) bool { return !row.Same(f.Spec, old.Spec) }),
		Validate:       row.Judge(validateFlowSchema),
		ValidateUpdate: row.JudgeUpdate(validateFlowSchemaUpdate),
		Subresources: row.WithStatus(func(f, old T) {
			// Managed fields are the request's; all other metadata stays.
			managed := f.ManagedFields
			f.ObjectMeta = old.ObjectMeta
			f.ManagedFields = managed
			f.Spec = old.Spec
		}, validateFlowSchemaStatus, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			row.NameColumn(),
			row.Column("PriorityLevel", flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"]),
			row.Column("MatchingPrecedence", spec["matchingPrecedence"]),
			row.Column("DistinguisherMethod", spec["distinguisherMethod"]),
			row.AgeColumn(),
			row.Column("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
		},
		Cells: row.Print(flowSchemaCells),
	}
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
	return []any{f.Name, f.Spec.PriorityLevelConfiguration.Name, int64(f.Spec.MatchingPrecedence), method, row.Age(f, now), missing}
}

func priorityLevel() *kinds.Kind {
	type T = *flowcontrolv1.PriorityLevelConfiguration
	queuing := flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()
	return &kinds.Kind{
		Group: group, Version: "v1", Kind: "PriorityLevelConfiguration", List: "PriorityLevelConfigurationList",
		Resource: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration",
		Served:         append(row.Hub(group, "v1"), oldPriorityLevel()...),
		New:            row.Make[flowcontrolv1.PriorityLevelConfiguration](),
		NewList:        row.MakeAny[flowcontrolv1.PriorityLevelConfigurationList](),
		Name:           row.DNSSubdomain,
		Default:        row.Fill(defaultPriorityLevel),
		PrepareCreate:  row.Fill(func(p T) { p.Status = flowcontrolv1.PriorityLevelConfigurationStatus{} }),
		PrepareUpdate:  row.Carry(func(p, old T) { p.Status = old.Status }),
		Generation:     row.Differ(func(p, old T) bool { return !row.Same(p.Spec, old.Spec) }),
		Validate:       row.Judge(validatePriorityLevel),
		ValidateUpdate: row.JudgeUpdate(validatePriorityLevelUpdate),
		Subresources: row.WithStatus(func(p, old T) {
			managed := p.ManagedFields
			p.ObjectMeta = old.ObjectMeta
			p.ManagedFields = managed
			p.Spec = old.Spec
		}, validatePriorityLevelStatus, "metadata", "spec"),
		Columns: []metav1.TableColumnDefinition{
			row.NameColumn(),
			row.Column("Type", flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"]),
			row.Column("NominalConcurrencyShares", flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"]),
			row.Column("Queues", queuing["queues"]),
			row.Column("HandSize", queuing["handSize"]),
			row.Column("QueueLengthLimit", queuing["queueLengthLimit"]),
			row.AgeColumn(),
		},
		Cells: row.Print(priorityLevelCells),
	}
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
	return []any{p.Name, string(p.Spec.Type), shares, queues, hand, length, row.Age(p, now)}
}
