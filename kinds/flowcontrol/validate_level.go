package flowcontrol

import (
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/row"
	"skiff.dev/skiff/kinds/rules"
)

// preserveZero was an annotation of v1beta3's storage.
const preserveZero = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"

func validatePriorityLevel(p *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var l rules.List
	if _, ok := p.Annotations[preserveZero]; ok {
		l.Forbidden(field.NewPath("metadata", "annotations"), fmt.Sprintf("annotation '%s' is forbidden", preserveZero))
	}
	path, s := field.NewPath("spec"), &p.Spec
	if (p.Name == exempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		l.Invalid(path.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'")
	}
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if s.Limited != nil {
			l.Forbidden(path.Child("limited"), "must be nil if the type is not Limited")
		}
		if e := s.Exempt; e != nil {
			judgeShares(&l, e.NominalConcurrencyShares, e.LendablePercent, path.Child("exempt"))
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if s.Exempt != nil {
			l.Forbidden(path.Child("exempt"), "must be nil if the type is Limited")
		}
		if s.Limited == nil {
			l.Required(path.Child("limited"), "must not be empty when type is Limited")
		} else {
			judgeLimited(&l, s.Limited, path.Child("limited"))
		}
	default:
		rules.SupportedOrRequired(&l, path.Child("type"), s.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)
	}
	judgeMandatoryLevel(&l, p, path)
	judgeConditions(&l, p.Status.Conditions, func(c flowcontrolv1.PriorityLevelConfigurationCondition) string { return string(c.Type) })
	return l.Errors()
}

func validatePriorityLevelUpdate(p, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return validatePriorityLevel(p)
}

func validatePriorityLevelStatus(p, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	var l rules.List
	judgeConditions(&l, p.Status.Conditions, func(c flowcontrolv1.PriorityLevelConfigurationCondition) string { return string(c.Type) })
	return l.Errors()
}

func judgeShares(l *rules.List, shares, lendable *int32, path *field.Path) {
	if shares != nil && *shares < 0 {
		l.Invalid(path.Child("nominalConcurrencyShares"), *shares, "must be a non-negative integer")
	}
	if lendable != nil {
		rules.Range(l, path.Child("lendablePercent"), *lendable, 0, 100, "must be between 0 and 100, inclusive")
	}
}

func judgeLimited(l *rules.List, s *flowcontrolv1.LimitedPriorityLevelConfiguration, path *field.Path) {
	judgeShares(l, s.NominalConcurrencyShares, s.LendablePercent, path)
	if n := s.BorrowingLimitPercent; n != nil && *n < 0 {
		l.Invalid(path.Child("borrowingLimitPercent"), *n, "if specified, must be a non-negative integer")
	}
	path = path.Child("limitResponse")
	queuing := path.Child("queuing")
	switch r := s.LimitResponse; r.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if r.Queuing != nil {
			l.Forbidden(queuing, "must be nil if limited.limitResponse.type is not Limited")
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if r.Queuing == nil {
			l.Required(queuing, "must not be empty if limited.limitResponse.type is Limited")
		} else {
			judgeQueuing(l, r.Queuing, queuing)
		}
	default:
		rules.SupportedOrRequired(l, path.Child("type"), r.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)
	}
}

func judgeQueuing(l *rules.List, q *flowcontrolv1.QueuingConfiguration, path *field.Path) {
	if q.QueueLengthLimit <= 0 {
		l.Invalid(path.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive")
	}
	if q.Queues <= 0 {
		l.Invalid(path.Child("queues"), q.Queues, "must be positive")
	} else if q.Queues > maxQueues {
		l.Invalid(path.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues))
	}
	at := path.Child("handSize")
	switch {
	case q.HandSize <= 0:
		l.Invalid(at, q.HandSize, "must be positive")
	case q.HandSize > q.Queues:
		l.Invalid(at, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues))
	case entropy(int(q.Queues), int(q.HandSize)) > maxHashBits:
		l.Invalid(at, q.HandSize, fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, maxHashBits))
	}
}

// Two schemas and two levels are in every cluster and stay as they are
// (k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap).

func mandatorySchema(name string) (flowcontrolv1.FlowSchemaSpec, bool) {
	everyone := func(groups ...string) []flowcontrolv1.PolicyRulesWithSubjects {
		var subjects []flowcontrolv1.Subject
		for _, g := range groups {
			subjects = append(subjects, flowcontrolv1.Subject{Kind: flowcontrolv1.SubjectKindGroup, Group: &flowcontrolv1.GroupSubject{Name: g}})
		}
		all := []string{"*"}
		return []flowcontrolv1.PolicyRulesWithSubjects{{
			Subjects:         subjects,
			ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: all, APIGroups: all, Resources: all, ClusterScope: true, Namespaces: all}},
			NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: all, NonResourceURLs: all}},
		}}
	}
	switch name {
	case exempt:
		return flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: exempt},
			MatchingPrecedence:         1,
			Rules:                      everyone("system:masters"),
		}, true
	case "catch-all":
		return flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "catch-all"},
			MatchingPrecedence:         maxPrecedence,
			DistinguisherMethod:        &flowcontrolv1.FlowDistinguisherMethod{Type: flowcontrolv1.FlowDistinguisherMethodByUserType},
			Rules:                      everyone("system:unauthenticated", "system:authenticated"),
		}, true
	}
	return flowcontrolv1.FlowSchemaSpec{}, false
}

func judgeMandatoryLevel(l *rules.List, p *flowcontrolv1.PriorityLevelConfiguration, path *field.Path) {
	switch p.Name {
	case exempt:
		if p.Spec.Type != flowcontrolv1.PriorityLevelEnablementExempt || p.Spec.Limited != nil {
			l.Invalid(path, rules.Internal(p.Spec), fmt.Sprintf("spec of '%s' except the 'spec.exempt' field must equal the fixed value", p.Name))
		}
	case "catch-all":
		want := flowcontrolv1.PriorityLevelConfigurationSpec{
			Type: flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{
				NominalConcurrencyShares: ptr.To[int32](5), LendablePercent: ptr.To[int32](0),
				LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject},
			},
		}
		if !row.Same(p.Spec, want) {
			l.Invalid(path, rules.Internal(p.Spec), fmt.Sprintf("spec of '%s' must equal the fixed value", p.Name))
		}
	}
}
