package admissionregistration

import (
	"fmt"
	"reflect"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"skiff.dev/skiff/kinds/admissionregistration/expression"
	"skiff.dev/skiff/kinds/rules"
)

// stored are the expressions of the object that an update replaces: they may use
// what new expressions may not use yet.
type stored map[string]bool

func (s stored) add(text string) {
	if text != "" {
		s[text] = true
	}
}

func (s stored) mode(text string) environment.Type {
	if s[text] {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// old are an object's expressions by their use.
type old struct {
	conditions, validations, messages, annotations stored
	// sameConditions says that the match conditions, and what they may use, are those
	// of the old object: they are not judged again.
	sameConditions bool
}

func oldConditions(list ...[]admissionv1.MatchCondition) stored {
	s := stored{}
	for _, conditions := range list {
		for _, c := range conditions {
			s.add(c.Expression)
		}
	}
	return s
}

func oldPolicy(p, was *admissionv1.ValidatingAdmissionPolicy) old {
	o := old{conditions: oldConditions(was.Spec.MatchConditions), validations: stored{}, messages: stored{}, annotations: stored{}}
	for _, v := range was.Spec.Validations {
		o.validations.add(v.Expression)
		o.messages.add(v.MessageExpression)
	}
	for _, a := range was.Spec.AuditAnnotations {
		o.annotations.add(a.ValueExpression)
	}
	o.sameConditions = reflect.DeepEqual(p.Spec.ParamKind, was.Spec.ParamKind) && reflect.DeepEqual(p.Spec.MatchConditions, was.Spec.MatchConditions)
	return o
}

func oldMutatingPolicy(p, was *admissionv1.MutatingAdmissionPolicy) old {
	o := old{conditions: oldConditions(was.Spec.MatchConditions), validations: stored{}}
	for _, m := range was.Spec.Mutations {
		if m.ApplyConfiguration != nil {
			o.validations.add(m.ApplyConfiguration.Expression)
		}
		if m.JSONPatch != nil {
			o.validations.add(m.JSONPatch.Expression)
		}
	}
	o.sameConditions = reflect.DeepEqual(p.Spec.ParamKind, was.Spec.ParamKind) && reflect.DeepEqual(p.Spec.MatchConditions, was.Spec.MatchConditions)
	return o
}

// mistake tells what is wrong with a compiled expression; shown is what the user
// wrote.
func mistake(l *rules.List, path *field.Path, shown string, r expression.Result) {
	switch err := r.Error; {
	case err == nil:
	case err.Type == apiservercel.ErrorTypeRequired:
		l.Required(path, err.Detail)
	case err.Type == apiservercel.ErrorTypeInvalid:
		l.Invalid(path, shown, err.Detail)
	default:
		l.Add(field.InternalError(path, err))
	}
}

// compile judges one expression.
func compile(l *rules.List, c *expression.Compiler, e plugincel.ExpressionAccessor, s expression.Scope, mode environment.Type, path *field.Path) {
	mistake(l, path, e.GetExpression(), c.Compile(e, s, mode))
}

func judgeConditions(l *rules.List, conditions []admissionv1.MatchCondition, params bool, was old, path *field.Path) {
	if was.sameConditions {
		return
	}
	if len(conditions) > 64 {
		l.Add(field.TooMany(path, len(conditions), 64))
	}
	seen := map[string]bool{}
	c, scope := expression.Plain(), expression.Scope{HasParams: params, HasAuthorizer: true}
	for i, m := range conditions {
		at := path.Index(i)
		if text := strings.TrimSpace(m.Expression); text == "" {
			l.Required(at.Child("expression"), "")
		} else {
			compile(l, c, &expression.Match{Expression: text}, scope, was.conditions.mode(text), at.Child("expression"))
		}
		if m.Name == "" {
			l.Required(at.Child("name"), "")
			continue
		}
		l.Add(rules.QualifiedName(m.Name, at.Child("name"))...)
		if seen[m.Name] {
			l.Duplicate(at.Child("name"), m.Name)
		}
		seen[m.Name] = true
	}
}

// policyCompiler compiles a policy's expressions; without variables none may be
// used.
func policyCompiler(variables []admissionv1.Variable) *expression.Compiler {
	if len(variables) == 0 {
		return expression.Plain()
	}
	return expression.Composing()
}

func judgeVariables(l *rules.List, c *expression.Compiler, variables []admissionv1.Variable, params bool, was old, path *field.Path) {
	for i, v := range variables {
		at := path.Child("variables").Index(i)
		if strings.TrimSpace(v.Name) == "" {
			l.Required(at.Child("name"), "name is not specified")
		} else if !isIdentifier(v.Name) {
			l.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier")
		}
		if strings.TrimSpace(v.Expression) == "" {
			l.Required(at.Child("expression"), "expression is not specified")
			continue
		}
		r := c.Variable(&expression.Variable{Name: v.Name, Expression: v.Expression},
			expression.Scope{HasParams: params, HasAuthorizer: true}, was.validations.mode(v.Expression))
		mistake(l, at.Child("expression"), v.Expression, r)
	}
}

func judgeAnnotation(l *rules.List, c *expression.Compiler, a *admissionv1.AuditAnnotation, params bool, was old, path *field.Path) {
	at := path.Child("valueExpression")
	switch text := strings.TrimSpace(a.ValueExpression); {
	case text == "":
		l.Required(at, "valueExpression is not specified")
	case len(text) > maxAuditExpression:
		l.Required(at, fmt.Sprintf("must not exceed %d bytes in length", maxAuditExpression))
	default:
		r := c.Compile(&expression.Annotation{Expression: text}, expression.Scope{HasParams: params, HasAuthorizer: true},
			was.annotations.mode(a.ValueExpression))
		mistake(l, at, a.ValueExpression, r)
	}
}

// judgePatch compiles an expression that makes a patch.
func judgePatch(l *rules.List, c *expression.Compiler, e plugincel.ExpressionAccessor, params bool, was old, path *field.Path) {
	compile(l, c, e, expression.Scope{HasParams: params, HasAuthorizer: true, HasPatchTypes: true}, was.validations.mode(e.GetExpression()), path)
}
