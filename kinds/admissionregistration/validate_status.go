package admissionregistration

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/jsonpath"

	"skiff.dev/skiff/kinds/rules"
)

// validatePolicyStatus judges what is written of a policy's expressions by whoever
// checked their types.
func validatePolicyStatus(p, _ *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	var l rules.List
	path := field.NewPath("status")
	if t := p.Status.TypeChecking; t != nil {
		for i, w := range t.ExpressionWarnings {
			at := path.Child("typeChecking", "expressionWarnings").Index(i)
			l.Need(at, "warning", w.Warning)
			ref := strings.TrimSpace(w.FieldRef)
			if ref == "" {
				l.Required(at.Child("fieldRef"), "")
			} else if err := jsonpath.New("spec").Parse(fmt.Sprintf("{%s}", ref)); err != nil {
				l.Invalid(at.Child("fieldRef"), ref, fmt.Sprintf("invalid JSONPath: %v", err))
			}
		}
	}
	l.Add(metavalidation.ValidateConditions(p.Status.Conditions, path.Child("conditions"))...)
	return l.Errors()
}
