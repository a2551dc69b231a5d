package policystatus

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/openapi"

	"skiff.dev/skiff/client"
)

// mostTypes bounds how many kinds a rule is checked against.
const mostTypes = 10

// checker checks one policy. Its words are those of Kubernetes' TypeChecker
// (apiserver/pkg/admission/plugin/policy/validating).
type checker struct {
	served    []client.Served
	documents func(schema.GroupVersion) ([]byte, error) // nil: there are none
	log       *slog.Logger

	schemas map[schema.GroupVersion]schemas
	named   int
}

// subject is one kind that expressions are checked against.
type subject struct {
	gvk     schema.GroupVersionKind
	objects *apiservercel.DeclType
	params  *apiservercel.DeclType // nil: of any type
}

func (c *checker) check(p *admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning {
	subjects, hasParams := c.subjects(p)
	var out []admissionregistrationv1.ExpressionWarning
	judge := func(path *field.Path, text string) {
		var all []string
		for _, s := range subjects {
			if w := c.expression(s, hasParams, p.Spec.Variables, text); w != "" {
				all = append(all, fmt.Sprintf("%v: %s\n", s.gvk, w))
			}
		}
		if len(all) > 0 {
			out = append(out, admissionregistrationv1.ExpressionWarning{FieldRef: path.String(), Warning: strings.Join(all, "\n")})
		}
	}
	for i := range p.Spec.Validations {
		v, path := &p.Spec.Validations[i], field.NewPath("spec", "validations").Index(i)
		judge(path.Child("expression"), v.Expression)
		if v.MessageExpression != "" {
			judge(path.Child("messageExpression"), v.MessageExpression)
		}
	}
	return out
}

// subjects are the kinds of the policy of which the schema is known.
func (c *checker) subjects(p *admissionregistrationv1.ValidatingAdmissionPolicy) (out []subject, hasParams bool) {
	var params *apiservercel.DeclType
	if k := p.Spec.ParamKind; k != nil {
		if gv, err := schema.ParseGroupVersion(k.APIVersion); err == nil {
			hasParams = true
			params = c.declared(gv.WithKind(k.Kind))
		}
	}
	for _, gvk := range c.kinds(p.Spec.MatchConstraints) {
		if t := c.declared(gvk); t != nil {
			out = append(out, subject{gvk, t, params})
		}
	}
	return out, hasParams
}

// kinds are those that a policy names without a wildcard, sorted.
func (c *checker) kinds(m *admissionregistrationv1.MatchResources) []schema.GroupVersionKind {
	if m == nil {
		return nil
	}
	found := map[schema.GroupVersionKind]bool{}
	for i := range m.ResourceRules {
		for n, gvk := range c.matched(&m.ResourceRules[i].Rule) {
			if n < mostTypes {
				found[gvk] = true
			}
		}
	}
	var out []schema.GroupVersionKind
	for gvk := range found {
		out = append(out, gvk)
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func (c *checker) matched(r *admissionregistrationv1.Rule) (out []schema.GroupVersionKind) {
	wild := func(list []string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, "*") })
	}
	if wild(r.APIGroups) || wild(r.APIVersions) {
		return nil
	}
	for _, group := range slices.Sorted(slices.Values(r.APIGroups)) {
		for _, v := range slices.Sorted(slices.Values(r.APIVersions)) {
			for _, resource := range slices.Sorted(slices.Values(r.Resources)) {
				for i := range c.served {
					if k := &c.served[i]; k.Group == group && k.Resource == resource {
						out = append(out, schema.GroupVersionKind{Group: group, Version: v, Kind: k.Kind})
						break
					}
				}
			}
		}
	}
	return out
}

// declared is the CEL type of a kind's objects; nil if its schema is not to be had.
func (c *checker) declared(gvk schema.GroupVersionKind) *apiservercel.DeclType {
	gv := gvk.GroupVersion()
	all, ok := c.schemas[gv]
	if !ok && c.documents != nil {
		doc, err := c.documents(gv)
		if err == nil {
			all, err = readSchemas(doc)
		}
		if err != nil {
			c.log.Warn("no schemas to check policies by", "version", gv, "err", err)
		}
		if c.schemas == nil {
			c.schemas = map[schema.GroupVersion]schemas{}
		}
		c.schemas[gv] = all
	}
	s := all.of(gvk)
	if s == nil {
		return nil
	}
	t := common.SchemaDeclType(&openapi.Schema{Schema: s}, true)
	if t == nil {
		return nil
	}
	c.named++
	return t.MaybeAssignTypeName(fmt.Sprintf("%s%d", gvk.Kind, c.named))
}

// expression says what is wrong with an expression for one kind; "" if nothing is.
func (c *checker) expression(s subject, hasParams bool, variables []admissionregistrationv1.Variable, text string) string {
	env, err := environmentOf(s, hasParams)
	if err != nil {
		c.log.Error("environment of a policy's expressions", "kind", s.gvk, "err", err)
		return ""
	}
	composed, err := plugincel.NewCompositedCompilerForTypeChecking(env)
	if err != nil {
		c.log.Error("compiler of a policy's expressions", "kind", s.gvk, "err", err)
		return ""
	}
	composed.Compiler = &typing{composed}
	options := plugincel.OptionalVariableDeclarations{HasParams: hasParams, HasAuthorizer: true}
	named := make([]plugincel.NamedExpressionAccessor, len(variables))
	for i := range variables {
		named[i] = variable(variables[i])
	}
	composed.CompileAndStoreVariables(named, options, environment.StoredExpressions)
	res := composed.CompileCELExpression(anything(text), options, environment.StoredExpressions)
	switch {
	case res.Error == nil:
		return ""
	case res.Error.Type == apiservercel.ErrorTypeInvalid:
		return res.Error.Error()
	}
	return "type checking error: " + res.Error.Error()
}

type anything string

func (a anything) GetExpression() string    { return string(a) }
func (a anything) ReturnTypes() []*cel.Type { return []*cel.Type{cel.AnyType} }

type variable admissionregistrationv1.Variable

func (v variable) GetName() string          { return v.Name }
func (v variable) GetExpression() string    { return v.Expression }
func (v variable) ReturnTypes() []*cel.Type { return []*cel.Type{cel.AnyType, cel.DynType} }

// typing compiles as the policies' own compiler does, with types in the place of
// anything, whatever comes out, and makes no program.
type typing struct{ compiler *plugincel.CompositedCompiler }

// CompileCELExpression implements plugincel.Compiler.
func (t *typing) CompileCELExpression(e plugincel.ExpressionAccessor, _ plugincel.OptionalVariableDeclarations, mode environment.Type) plugincel.CompilationResult {
	fail := func(detail string, kind apiservercel.ErrorType) plugincel.CompilationResult {
		return plugincel.CompilationResult{Error: &apiservercel.Error{Type: kind, Detail: detail}, ExpressionAccessor: e}
	}
	env, err := t.compiler.Env(mode)
	if err != nil {
		return fail(fmt.Sprintf("fail to build env: %v", err), apiservercel.ErrorTypeInternal)
	}
	ast, issues := env.Compile(e.GetExpression())
	if issues != nil {
		return fail(issues.String(), apiservercel.ErrorTypeInvalid)
	}
	return plugincel.CompilationResult{OutputType: ast.OutputType()}
}

// environmentOf has all variables of a policy's expressions, those of objects and
// parameters with their types.
func environmentOf(s subject, hasParams bool) (*environment.EnvSet, error) {
	var options []cel.EnvOption
	var types []*apiservercel.DeclType
	declare := func(t *apiservercel.DeclType, names ...string) {
		as := cel.DynType
		if t != nil {
			types = append(types, t)
			as = t.CelType()
		}
		for _, n := range names {
			options = append(options, cel.Variable(n, as))
		}
	}
	declare(plugincel.BuildNamespaceType(), plugincel.NamespaceVarName)
	declare(plugincel.BuildRequestType(), plugincel.RequestVarName)
	declare(s.objects, plugincel.ObjectVarName, plugincel.OldObjectVarName)
	if hasParams {
		declare(s.params, plugincel.ParamsVarName)
	}
	options = append(options, cel.Variable(plugincel.AuthorizerVarName, library.AuthorizerType))
	base := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
	return base.Extend(environment.VersionedOptions{IntroducedVersion: version.MajorMinor(1, 0), EnvOptions: options, DeclTypes: types})
}
