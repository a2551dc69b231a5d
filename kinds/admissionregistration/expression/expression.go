// Package expression compiles the CEL expressions of the group
// admissionregistration.k8s.io in the environment that they run in: validation of
// the kinds uses it to find mistakes, the API server to evaluate.
//
// Environments are made when the first expression needs them, and shared: a cluster
// without policies pays nothing for CEL.
package expression

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	k8s "k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/mutation"
)

// Scope says which variables an expression has besides object, oldObject, request
// and namespaceObject.
type Scope = plugincel.OptionalVariableDeclarations

// Result is a compiled expression, or why it cannot be compiled.
type Result = plugincel.CompilationResult

// Compatibility is the oldest version of Kubernetes that new expressions must be
// understood by: one before ours, so that a cluster may go back.
var Compatibility = version.MajorMinor(1, 35)

// Compiler compiles the expressions of one object. Variables that it has stored can
// be used by what it compiles later. It is not safe for concurrent use; what it has
// compiled is.
type Compiler struct {
	composes bool
	stored   []storedVariable
	in       map[Scope]*plugincel.CompositedCompiler
}

type storedVariable struct {
	*Variable
	result Result
}

// Plain compiles expressions that cannot have variables of their own.
func Plain() *Compiler { return &Compiler{} }

// Composing compiles the expressions of a policy, which may have variables.
func Composing() *Compiler {
	return &Compiler{composes: true, in: map[Scope]*plugincel.CompositedCompiler{}}
}

// fixed is a compiler that has compiled already.
type fixed struct{ Result }

func (f fixed) CompileCELExpression(plugincel.ExpressionAccessor, Scope, environment.Type) Result {
	return f.Result
}

// scoped knows the variables in one scope.
func (c *Compiler) scoped(s Scope) (*plugincel.CompositedCompiler, error) {
	if cc := c.in[s]; cc != nil {
		return cc, nil
	}
	set, err := envSet(s)
	if err != nil {
		return nil, err
	}
	cc, err := plugincel.NewCompositedCompilerForTypeChecking(set)
	if err != nil {
		return nil, err
	}
	for _, v := range c.stored {
		v.tell(cc, s)
	}
	c.in[s] = cc
	return cc, nil
}

func (v storedVariable) tell(cc *plugincel.CompositedCompiler, s Scope) {
	cc.Compiler = fixed{v.result}
	cc.CompileAndStoreVariable(v.Variable, s, environment.StoredExpressions)
}

// Variable compiles a named expression and makes it known to what is compiled next.
// Its type is known even to expressions in a narrower scope, though they may fail
// when they use it.
func (c *Compiler) Variable(v *Variable, s Scope, t environment.Type) Result {
	r := c.Compile(v, s, t)
	stored := storedVariable{v, r}
	c.stored = append(c.stored, stored)
	for scope, cc := range c.in {
		stored.tell(cc, scope)
	}
	return r
}

// Compile compiles one expression.
func (c *Compiler) Compile(e plugincel.ExpressionAccessor, s Scope, t environment.Type) Result {
	env, err := c.env(s, t)
	if err != nil {
		return failed(e, apiservercel.ErrorTypeInternal, fmt.Sprintf("unexpected error loading CEL environment: %v", err), nil)
	}
	return compile(env, e)
}

func (c *Compiler) env(s Scope, t environment.Type) (*cel.Env, error) {
	if c.composes {
		cc, err := c.scoped(s)
		if err != nil {
			return nil, err
		}
		return cc.Env(t)
	}
	set, err := envSet(s)
	if err != nil {
		return nil, err
	}
	return set.Env(t)
}

// evaluation gives each evaluation a context of its own: the values of variables
// and what they cost.
type evaluation struct{ cc *plugincel.CompositedCompiler }

func (e evaluation) begin(ctx context.Context) context.Context {
	if e.cc == nil {
		return ctx
	}
	return e.cc.CreateContext(ctx)
}

// Conditions are compiled expressions that are evaluated one after the other.
type Conditions struct {
	evaluation
	plugincel.ConditionEvaluator
}

// Conditions compiles a list; nil members are left out of the evaluation.
func (c *Compiler) Conditions(list []plugincel.ExpressionAccessor, s Scope) *Conditions {
	results := make([]Result, len(list))
	for i, e := range list {
		if e != nil {
			results[i] = c.Compile(e, s, environment.StoredExpressions)
		}
	}
	return &Conditions{evaluation{c.in[s]}, plugincel.NewCondition(results)}
}

// ForInput evaluates all within a budget of cost, and returns what is left of it.
func (e *Conditions) ForInput(ctx context.Context, attr *k8s.VersionedAttributes, r *admissionv1.AdmissionRequest,
	vars plugincel.OptionalVariableBindings, ns *corev1.Namespace, budget int64) ([]plugincel.EvaluationResult, int64, error) {
	return e.ConditionEvaluator.ForInput(e.begin(ctx), attr, r, vars, ns, budget)
}

// Mutation is a compiled expression that makes a patch.
type Mutation struct {
	evaluation
	plugincel.MutatingEvaluator
}

// Mutation compiles one.
func (c *Compiler) Mutation(e plugincel.ExpressionAccessor, s Scope) *Mutation {
	r := c.Compile(e, s, environment.StoredExpressions)
	return &Mutation{evaluation{c.in[s]}, plugincel.NewMutatingEvaluator(r)}
}

// ForInput evaluates it within a budget of cost.
func (m *Mutation) ForInput(ctx context.Context, attr *k8s.VersionedAttributes, r *admissionv1.AdmissionRequest,
	vars plugincel.OptionalVariableBindings, ns *corev1.Namespace, budget int64) (plugincel.EvaluationResult, int64, error) {
	return m.MutatingEvaluator.ForInput(m.begin(ctx), attr, r, vars, ns, budget)
}

func failed(e plugincel.ExpressionAccessor, t apiservercel.ErrorType, text string, cause error) Result {
	return Result{Error: &apiservercel.Error{Type: t, Detail: text, Cause: cause}, ExpressionAccessor: e}
}

// compile words mistakes as Kubernetes does (admission/plugin/cel,
// CompileCELExpression).
func compile(env *cel.Env, e plugincel.ExpressionAccessor) Result {
	ast, issues := env.Compile(e.GetExpression())
	if issues != nil {
		return failed(e, apiservercel.ErrorTypeInvalid, "compilation failed: "+issues.String(), apiservercel.NewCompilationError(issues))
	}
	if text := wrongType(ast.OutputType(), e.ReturnTypes()); text != "" {
		return failed(e, apiservercel.ErrorTypeInvalid, text, nil)
	}
	program, err := env.Program(ast, cel.InterruptCheckFrequency(celconfig.CheckFrequency))
	if err != nil {
		return failed(e, apiservercel.ErrorTypeInternal, "program instantiation failed: "+err.Error(), nil)
	}
	return Result{Program: program, ExpressionAccessor: e, OutputType: ast.OutputType()}
}

func wrongType(have *cel.Type, want []*cel.Type) string {
	for _, t := range want {
		if have.IsExactType(t) || cel.AnyType.IsExactType(t) {
			return ""
		}
	}
	if len(want) == 1 {
		return fmt.Sprintf("must evaluate to %v but got %v", want[0].String(), have.String())
	}
	return fmt.Sprintf("must evaluate to one of %v but got %v", want, have.String())
}

// sets are the environments that were needed so far, by scope.
var sets sync.Map // Scope to func() (*environment.EnvSet, error)

func envSet(s Scope) (*environment.EnvSet, error) {
	made, ok := sets.Load(s)
	if !ok {
		made, _ = sets.LoadOrStore(s, sync.OnceValues(func() (*environment.EnvSet, error) { return newEnvSet(s) }))
	}
	return made.(func() (*environment.EnvSet, error))()
}

// always is a version that every Kubernetes is newer than.
var always = version.MajorMinor(1, 0)

func newEnvSet(s Scope) (*environment.EnvSet, error) {
	request, namespace := plugincel.BuildRequestType(), plugincel.BuildNamespaceType()
	vars := []cel.EnvOption{
		cel.Variable(plugincel.ObjectVarName, cel.DynType),
		cel.Variable(plugincel.OldObjectVarName, cel.DynType),
		cel.Variable(plugincel.NamespaceVarName, namespace.CelType()),
		cel.Variable(plugincel.RequestVarName, request.CelType()),
	}
	if s.HasParams {
		vars = append(vars, cel.Variable(plugincel.ParamsVarName, cel.DynType))
	}
	if s.HasAuthorizer {
		vars = append(vars,
			cel.Variable(plugincel.AuthorizerVarName, library.AuthorizerType),
			cel.Variable(plugincel.RequestResourceAuthorizerVarName, library.ResourceCheckType))
	}
	set, err := environment.MustBaseEnvSet(Compatibility).Extend(environment.VersionedOptions{
		IntroducedVersion: always, EnvOptions: vars, DeclTypes: []*apiservercel.DeclType{namespace, request},
	}, environment.StrictCostOpt)
	if err != nil || !s.HasPatchTypes {
		return set, err
	}
	return set.Extend(environment.VersionedOptions{IntroducedVersion: always, EnvOptions: []cel.EnvOption{
		common.ResolverEnvOption(&mutation.DynamicTypeResolver{}),
		environment.UnversionedLib(library.JSONPatch),
	}})
}

// The sorts of expressions and what they may evaluate to.
type (
	// Match decides whether a webhook or policy applies.
	Match struct{ Name, Expression string }
	// Variable can be used by other expressions.
	Variable struct{ Name, Expression string }
	// Validation decides whether a request is good.
	Validation struct {
		Expression, Message string
		Reason              *metav1.StatusReason
	}
	// Message words a refusal.
	Message struct{ Expression string }
	// Annotation makes the value of an audit annotation.
	Annotation struct{ Key, Expression string }
	// JSONPatch makes a list of operations.
	JSONPatch struct{ Expression string }
	// ApplyConfiguration makes an object to be merged.
	ApplyConfiguration struct{ Expression string }
)

// GetExpression implements plugincel.ExpressionAccessor, as ReturnTypes does.
func (m *Match) GetExpression() string              { return m.Expression }
func (v *Variable) GetExpression() string           { return v.Expression }
func (v *Validation) GetExpression() string         { return v.Expression }
func (m *Message) GetExpression() string            { return m.Expression }
func (a *Annotation) GetExpression() string         { return a.Expression }
func (p *JSONPatch) GetExpression() string          { return p.Expression }
func (a *ApplyConfiguration) GetExpression() string { return a.Expression }

// GetName implements plugincel.NamedExpressionAccessor.
func (v *Variable) GetName() string { return v.Name }

// ReturnTypes are what the expression may evaluate to.
func (m *Match) ReturnTypes() []*cel.Type      { return []*cel.Type{cel.BoolType} }
func (v *Variable) ReturnTypes() []*cel.Type   { return []*cel.Type{cel.AnyType, cel.DynType} }
func (v *Validation) ReturnTypes() []*cel.Type { return []*cel.Type{cel.BoolType} }
func (m *Message) ReturnTypes() []*cel.Type    { return []*cel.Type{cel.StringType} }
func (a *Annotation) ReturnTypes() []*cel.Type { return []*cel.Type{cel.StringType, cel.NullType} }
func (p *JSONPatch) ReturnTypes() []*cel.Type {
	return []*cel.Type{cel.ListType(celtypes.NewObjectType("JSONPatch"))}
}
func (a *ApplyConfiguration) ReturnTypes() []*cel.Type {
	return []*cel.Type{celtypes.NewObjectType("Object")}
}
