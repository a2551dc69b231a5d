package batch

import (
	"fmt"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds/rules"
)

const (
	maxRules      = 20
	maxExitCodes  = 255
	maxConditions = 20
	maxIndexText  = 64 * 1024
)

func validateFailurePolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var l rules.List
	path = path.Child("rules")
	list := s.PodFailurePolicy.Rules
	if len(list) > maxRules {
		l.Add(field.TooMany(path, len(list), maxRules))
	}
	names := map[string]bool{}
	for _, c := range s.Template.Spec.Containers {
		names[c.Name] = true
	}
	for _, c := range s.Template.Spec.InitContainers {
		names[c.Name] = true
	}
	for i := range list {
		l.Add(validateFailureRule(s, &list[i], names, path.Index(i))...)
	}
	return l.Errors()
}

var failureActions = []batchv1.PodFailurePolicyAction{
	batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
	batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore,
}

func validateFailureRule(s *batchv1.JobSpec, r *batchv1.PodFailurePolicyRule, names map[string]bool, path *field.Path) field.ErrorList {
	var l rules.List
	switch r.Action {
	case "":
		l.Required(path.Child("action"), fmt.Sprintf("valid values: %q", failureActions))
	case batchv1.PodFailurePolicyActionFailIndex:
		if s.BackoffLimitPerIndex == nil {
			l.Invalid(path.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set")
		}
	default:
		rules.Supported(&l, path.Child("action"), r.Action, failureActions...)
	}
	if r.OnExitCodes != nil {
		l.Add(validateExitCodes(r.OnExitCodes, names, path.Child("onExitCodes"))...)
	}
	conditions := path.Child("onPodConditions")
	if n := len(r.OnPodConditions); n > maxConditions {
		l.Add(field.TooMany(conditions, n, maxConditions))
	}
	statuses := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
	for i, c := range r.OnPodConditions {
		at := conditions.Index(i)
		l.Add(rules.QualifiedName(string(c.Type), at.Child("type"))...)
		if c.Status == "" {
			l.Required(at.Child("status"), fmt.Sprintf("valid values: %q", statuses))
		} else {
			rules.Supported(&l, at.Child("status"), c.Status, statuses...)
		}
	}
	if r.OnExitCodes != nil && len(r.OnPodConditions) > 0 {
		l.Invalid(path, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported")
	}
	if r.OnExitCodes == nil && len(r.OnPodConditions) == 0 {
		l.Invalid(path, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required")
	}
	return l.Errors()
}

func validateExitCodes(r *batchv1.PodFailurePolicyOnExitCodesRequirement, names map[string]bool, path *field.Path) field.ErrorList {
	var l rules.List
	operators := []batchv1.PodFailurePolicyOnExitCodesOperator{batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn}
	if r.Operator == "" {
		l.Required(path.Child("operator"), fmt.Sprintf("valid values: %q", operators))
	} else {
		rules.Supported(&l, path.Child("operator"), r.Operator, operators...)
	}
	if r.ContainerName != nil && !names[*r.ContainerName] {
		l.Invalid(path.Child("containerName"), *r.ContainerName, "must be one of the container or initContainer names in the pod template")
	}
	values := path.Child("values")
	if n := len(r.Values); n == 0 {
		l.Invalid(values, r.Values, "at least one value is required")
	} else if n > maxExitCodes {
		l.Add(field.TooMany(values, n, maxExitCodes))
	}
	ordered, seen := true, map[int32]bool{}
	for i, v := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && v == 0 {
			l.Invalid(values.Index(i), v, "must not be 0 for the In operator")
		}
		if seen[v] {
			l.Duplicate(values.Index(i), v)
		}
		seen[v] = true
		ordered = ordered && (i == 0 || r.Values[i-1] <= v)
	}
	if !ordered {
		l.Invalid(values, r.Values, "must be ordered")
	}
	return l.Errors()
}

func validateSuccessPolicy(s *batchv1.JobSpec, path *field.Path) field.ErrorList {
	var l rules.List
	path = path.Child("rules")
	list := s.SuccessPolicy.Rules
	if len(list) == 0 {
		l.Required(path, "at least one rules must be specified when the successPolicy is specified")
	}
	if len(list) > maxRules {
		l.Add(field.TooMany(path, len(list), maxRules))
	}
	var completions int32
	if s.Completions != nil {
		completions = *s.Completions
	}
	for i := range list {
		l.Add(validateSuccessRule(&list[i], completions, path.Index(i))...)
	}
	return l.Errors()
}

func validateSuccessRule(r *batchv1.SuccessPolicyRule, completions int32, path *field.Path) field.ErrorList {
	var l rules.List
	if r.SucceededCount == nil && r.SucceededIndexes == nil {
		l.Required(path, "at least one of succeededCount or succeededIndexes must be specified")
	}
	var total int32
	if text := r.SucceededIndexes; text != nil {
		at := path.Child("succeededIndexes")
		if len(*text) > maxIndexText {
			l.TooLong(at, maxIndexText)
		}
		n, err := countIndexes(*text, completions)
		if total = n; err != nil {
			l.Invalid(at, *text, fmt.Sprintf("error parsing succeededIndexes: %s", err))
		}
	}
	if n := r.SucceededCount; n != nil {
		at := path.Child("succeededCount")
		l.Add(rules.NonNegative(int64(*n), at)...)
		if *n > completions {
			l.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions))
		}
		if r.SucceededIndexes != nil && *n > total {
			l.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total))
		}
	}
	return l.Errors()
}

// countIndexes counts the indexes of a text like 1,3-5,7.
func countIndexes(text string, completions int32) (int32, error) {
	if text == "" {
		return 0, nil
	}
	var total int32
	last := int32(-1)
	for i, part := range strings.Split(text, ",") {
		from, to, err := interval(part, completions)
		if err != nil {
			return 0, err
		}
		if i > 0 && last >= from {
			return 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", last, from)
		}
		total += to - from + 1
		last = to
	}
	return total, nil
}

func interval(text string, completions int32) (from, to int32, err error) {
	parts := strings.Split(text, "-")
	if len(parts) > 2 {
		return 0, 0, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	var ends [2]int32
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil {
			return 0, 0, fmt.Errorf("cannot convert string to integer for index: %q", part)
		}
		if n >= int(completions) {
			return 0, 0, fmt.Errorf("too large index: %q", part)
		}
		ends[i] = int32(n)
	}
	if len(parts) == 1 {
		return ends[0], ends[0], nil
	}
	if ends[0] >= ends[1] {
		return 0, 0, fmt.Errorf("non-increasing order, previous: %d, current: %d", ends[0], ends[1])
	}
	return ends[0], ends[1], nil
}

// overlap finds the first index that is in both texts; parts that cannot be read are
// passed over.
func overlap(a, b string, completions int32) (int32, bool) {
	type span struct{ from, to int32 }
	read := func(text string) []span {
		var out []span
		for _, part := range strings.Split(text, ",") {
			if from, to, err := interval(part, completions); err == nil {
				out = append(out, span{from, to})
			}
		}
		return out
	}
	if a == "" || b == "" {
		return 0, false
	}
	x, y := read(a), read(b)
	for i, k := 0, 0; i < len(x) && k < len(y); {
		if x[i].from <= y[k].to && y[k].from <= x[i].to {
			return max(x[i].from, y[k].from), true
		}
		if x[i].from <= y[k].from {
			i++
		} else {
			k++
		}
	}
	return 0, false
}
