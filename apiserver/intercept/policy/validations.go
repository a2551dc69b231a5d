package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	celtypes "github.com/google/cel-go/common/types"
	admissionreview "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	k8s "k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/kinds/admissionregistration/expression"
)

// validatingPolicy is a policy that is compiled when a request first meets it.
type validatingPolicy struct {
	definition
	compiled func() *validations
}

// validations are a policy's compiled expressions.
type validations struct {
	conditions      *match.Conditions // nil: there are none
	rules           *expression.Conditions
	messages, notes *expression.Conditions // nil: there are none
}

func (p *Plugins) newValidating(o *admissionv1.ValidatingAdmissionPolicy) *validatingPolicy {
	s := &o.Spec
	return &validatingPolicy{
		definition: newDefinition(o.Name, s.MatchConstraints, s.ParamKind, s.FailurePolicy),
		compiled:   sync.OnceValue(func() *validations { return p.compile(o) }),
	}
}

func compiler(variables []admissionv1.Variable, scope expression.Scope) *expression.Compiler {
	c := expression.Composing()
	for _, v := range variables {
		c.Variable(&expression.Variable{Name: v.Name, Expression: v.Expression}, scope, environment.StoredExpressions)
	}
	return c
}

func (p *Plugins) compile(o *admissionv1.ValidatingAdmissionPolicy) *validations {
	s := &o.Spec
	scope := expression.Scope{HasParams: s.ParamKind != nil, HasAuthorizer: true}
	c := compiler(s.Variables, scope)
	var rules, messages, notes []plugincel.ExpressionAccessor
	worded := false
	for _, v := range s.Validations {
		rules = append(rules, &expression.Validation{Expression: v.Expression, Message: v.Message, Reason: v.Reason})
		var m plugincel.ExpressionAccessor
		if v.MessageExpression != "" {
			m = &expression.Message{Expression: v.MessageExpression}
			worded = true
		}
		messages = append(messages, m)
	}
	for _, a := range s.AuditAnnotations {
		notes = append(notes, &expression.Annotation{Key: a.Key, Expression: a.ValueExpression})
	}
	out := &validations{
		conditions: match.NewConditions(s.MatchConditions, s.FailurePolicy, "policy", "validate", o.Name,
			func() *expression.Compiler { return c }, scope, p.o.Metrics),
		rules: c.Conditions(rules, scope),
	}
	if worded {
		out.messages = c.Conditions(messages, expression.Scope{HasParams: scope.HasParams})
	}
	if len(notes) > 0 {
		out.notes = c.Conditions(notes, scope)
	}
	return out
}

// decisions are what a policy says of one request with one parameter.
type decisions struct {
	decisions []decision
	notes     []note
}

// decision is the outcome of one validation.
type decision struct {
	deny, failed bool // failed: it could not be evaluated
	message      string
	reason       metav1.StatusReason
	took         time.Duration
}

// note is an audit annotation, or why there is none.
type note struct {
	key, value, err string
	took            time.Duration
}

func (d *decision) errorType() string { return errorType(d.failed || d.deny, d.message) }

// errorType sorts a decision for metrics by its message (policy/validating,
// ErrorType).
func errorType(bad bool, message string) string {
	switch {
	case !bad:
		return "no_error"
	case strings.HasPrefix(message, "compilation"):
		return "compile_error"
	case strings.HasPrefix(message, "validation failed due to running out of cost budget"):
		return "out_of_budget"
	}
	return "invalid_error"
}

// fault is the only decision of a policy that could not be evaluated.
func (p *validatingPolicy) fault(err error) decisions {
	return decisions{decisions: []decision{{deny: !p.ignore, failed: true, message: err.Error()}}}
}

// evaluate judges a request (policy/validating, validator.Validate).
func (p *validatingPolicy) evaluate(ctx context.Context, found match.Found, attr *k8s.VersionedAttributes, param runtime.Object, ns *corev1.Namespace, authz *match.Authorizer) decisions {
	c := p.compiled()
	if c.conditions != nil {
		switch ok, err := c.conditions.Match(ctx, attr, param, authz); {
		case err != nil:
			return p.fault(err)
		case !ok:
			return decisions{}
		}
	}
	r := plugincel.CreateAdmissionRequest(attr.Attributes, metav1.GroupVersionResource(found.Resource), metav1.GroupVersionKind(attr.VersionedKind))
	ns = plugincel.CreateNamespaceObject(ns)
	vars := plugincel.OptionalVariableBindings{VersionedParams: param, Authorizer: authz}
	results, budget, err := c.rules.ForInput(ctx, attr, r, vars, ns, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return p.fault(err)
	}
	var words []plugincel.EvaluationResult
	var wordsErr error
	if c.messages != nil {
		words, _, wordsErr = c.messages.ForInput(ctx, attr, r, plugincel.OptionalVariableBindings{VersionedParams: param}, ns, budget)
	}
	out := decisions{decisions: make([]decision, len(results))}
	for i := range results {
		var said *plugincel.EvaluationResult
		if i < len(words) {
			said = &words[i]
		}
		out.decisions[i] = p.decide(&results[i], said, wordsErr)
	}
	if out.notes, err = p.annotate(ctx, c, attr, r, param, ns); err != nil {
		return p.fault(err)
	}
	return out
}

func (p *validatingPolicy) decide(result, said *plugincel.EvaluationResult, saidErr error) decision {
	d := decision{took: result.Elapsed}
	v, _ := result.ExpressionAccessor.(*expression.Validation)
	switch {
	case result.Error != nil:
		d.deny, d.failed, d.message = !p.ignore, true, result.Error.Error()
	case errors.Is(saidErr, apiservercel.ErrInternal) || errors.Is(saidErr, apiservercel.ErrOutOfBudget):
		d.deny, d.failed, d.message = !p.ignore, true, fmt.Sprintf("failed messageExpression: %s", saidErr)
	case result.EvalResult != celtypes.True:
		d.deny, d.reason = true, metav1.StatusReasonInvalid
		if v.Reason != nil {
			d.reason = *v.Reason
		}
		d.message = wording(v, said)
	}
	return d
}

// wording is what a refusal says: what the message expression makes, if it is one
// line that is not too long, else the message, else the expression.
func wording(v *expression.Validation, said *plugincel.EvaluationResult) string {
	if said != nil && said.Error == nil && said.EvalResult != nil {
		if text, ok := said.EvalResult.Value().(string); ok {
			text = strings.TrimSpace(text)
			if text != "" && len(text) <= celconfig.MaxEvaluatedMessageExpressionSizeBytes && !strings.Contains(text, "\n") {
				return text
			}
		}
	}
	if v.Message != "" {
		if text := strings.TrimSpace(v.Message); text != "" {
			return text
		}
	}
	return "failed expression: " + strings.TrimSpace(v.Expression)
}

// maxNote is how long the value of an audit annotation may be.
const maxNote = 10 * 1024

func (p *validatingPolicy) annotate(ctx context.Context, c *validations, attr *k8s.VersionedAttributes, r *admissionreview.AdmissionRequest, param runtime.Object, ns *corev1.Namespace) ([]note, error) {
	if c.notes == nil {
		return nil, nil
	}
	results, _, err := c.notes.ForInput(ctx, attr, r, plugincel.OptionalVariableBindings{VersionedParams: param}, ns, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return nil, err
	}
	notes := make([]note, len(results))
	for i := range results {
		a, _ := results[i].ExpressionAccessor.(*expression.Annotation)
		n := note{key: a.Key, took: results[i].Elapsed}
		switch {
		case results[i].Error != nil:
			if !p.ignore {
				n.err = results[i].Error.Error()
			}
		case results[i].EvalResult.Type() == celtypes.StringType:
			n.value = strings.TrimSpace(results[i].EvalResult.Value().(string))
			if len(n.value) > maxNote {
				n.value = n.value[:maxNote]
			}
		case results[i].EvalResult.Type() != celtypes.NullType:
			n.err = fmt.Sprintf("valueExpression '%v' resulted in unsupported return type: %v. Return type must be either string or null.", a.Expression, results[i].EvalResult.Type())
		}
		notes[i] = n
	}
	return notes, nil
}
