package access

import (
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// evaluationError is what a review's answer says went wrong: what the authorizer told,
// and the selectors that could not be read, which ask for more without them.
func evaluationError(err error, r *authorizationv1.ResourceAttributes) string {
	var all []string
	if err != nil {
		all = append(all, err.Error())
	}
	if r == nil {
		return strings.Join(all, "; ")
	}
	tell := func(name string, good, bad int) {
		switch {
		case bad == 0:
		case good > 0:
			all = append(all, "spec.resourceAttributes."+name+" partially ignored due to parse error")
		default:
			all = append(all, "spec.resourceAttributes."+name+" ignored due to parse error")
		}
	}
	if f := r.FieldSelector; f != nil {
		good, bad := readFields(f)
		tell("fieldSelector", good, bad)
	}
	if l := r.LabelSelector; l != nil {
		good, bad := readLabels(l)
		tell("labelSelector", good, bad)
	}
	return strings.Join(all, "; ")
}

// readFields counts the requirements that can be read and those that cannot.
func readFields(f *authorizationv1.FieldSelectorAttributes) (good, bad int) {
	if f.RawSelector != "" {
		s, err := fields.ParseSelector(f.RawSelector)
		if err != nil {
			return 0, 1
		}
		return len(s.Requirements()), 0
	}
	for _, q := range f.Requirements {
		if len(q.Values) == 1 && (q.Operator == metav1.FieldSelectorOpIn || q.Operator == metav1.FieldSelectorOpNotIn) {
			good++
		} else {
			bad++
		}
	}
	return good, bad
}

var labelOperators = map[metav1.LabelSelectorOperator]selection.Operator{
	metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
	metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
}

func readLabels(l *authorizationv1.LabelSelectorAttributes) (good, bad int) {
	if l.RawSelector != "" {
		s, err := labels.ParseToRequirements(l.RawSelector)
		if err != nil {
			return 0, 1
		}
		return len(s), 0
	}
	for _, q := range l.Requirements {
		op, known := labelOperators[q.Operator]
		if known {
			if _, err := labels.NewRequirement(q.Key, op, q.Values); err == nil {
				good++
				continue
			}
		}
		bad++
	}
	return good, bad
}
