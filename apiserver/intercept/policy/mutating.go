package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/admissionregistration/expression"
)

// mutatingPolicy is a policy that is compiled when a request first meets it.
type mutatingPolicy struct {
	definition
	reinvoke bool
	compiled func() *mutations
}

// mutations are a policy's compiled expressions.
type mutations struct {
	conditions *match.Conditions // nil: there are none
	list       []patcher
}

func (p *Plugins) newMutating(o *admissionv1.MutatingAdmissionPolicy) *mutatingPolicy {
	s := &o.Spec
	return &mutatingPolicy{
		definition: newDefinition(o.Name, s.MatchConstraints, s.ParamKind, s.FailurePolicy),
		reinvoke:   s.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy,
		compiled: sync.OnceValue(func() *mutations {
			scope := expression.Scope{HasParams: s.ParamKind != nil, HasAuthorizer: true}
			c := compiler(s.Variables, scope)
			out := &mutations{conditions: match.NewConditions(s.MatchConditions, s.FailurePolicy, "policy", "validate", o.Name,
				func() *expression.Compiler { return c }, scope, p.o.Metrics)}
			scope.HasPatchTypes = true
			for i := range s.Mutations {
				switch m := &s.Mutations[i]; {
				case m.PatchType == admissionv1.PatchTypeJSONPatch && m.JSONPatch != nil:
					out.list = append(out.list, &jsonPatcher{c.Mutation(&expression.JSONPatch{Expression: m.JSONPatch.Expression}, scope)})
				case m.PatchType == admissionv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
					out.list = append(out.list, &applyPatcher{c.Mutation(&expression.ApplyConfiguration{Expression: m.ApplyConfiguration.Expression}, scope)})
				}
			}
			return out
		}),
	}
}

// mutating changes requests by MutatingAdmissionPolicies.
type mutating struct{ *Plugins }

func (m *mutating) Name() string { return "MutatingAdmissionPolicy" }

// SetReader implements admission.NeedsReader.
func (m *mutating) SetReader(r admission.Reader) { m.reader = r }

// SetKinds implements admission.NeedsKinds.
func (m *mutating) SetKinds(find func(schema.GroupVersionKind) (*kinds.Kind, bool)) { m.kind = find }

// SetTypes implements admission.NeedsTypes.
func (m *mutating) SetTypes(t admission.Types) { m.types = t }

// invocation is a policy with a binding and a parameter that a request has to pass.
type invocation struct {
	policy  *mutatingPolicy
	binding string
	found   match.Found
	param   runtime.Object
}

// key tells invocations apart between the rounds.
type key struct{ policy, binding, namespace, param string }

func (x *invocation) key() key {
	k := key{policy: x.policy.name, binding: x.binding}
	if u, ok := x.param.(*unstructured.Unstructured); ok {
		k.namespace, k.param = u.GetNamespace(), u.GetName()
	}
	return k
}

// rounds is what the second round has to know of the first.
type rounds struct {
	invoked, again map[key]bool
	last           runtime.Object
}

func (r *rounds) changed() {
	for k := range r.invoked {
		if r.again == nil {
			r.again = map[key]bool{}
		}
		r.again[k] = true
	}
	r.invoked = nil
}

// fault is a policy that could not be evaluated and is not to be ignored.
type fault struct {
	policy, binding string
	err             error
	reason          metav1.StatusReason
}

func (f *fault) text() string {
	if f.binding == "" {
		return fmt.Sprintf("policy %q denied request: %v", f.policy, f.err)
	}
	return fmt.Sprintf("policy '%s' with binding '%s' denied request: %v", f.policy, f.binding, f.err)
}

// passage is one request on its way through all policies.
type passage struct {
	*mutating
	r      *admission.Request
	a      *match.Attributes
	authz  *match.Authorizer
	faults []fault
}

// fail notes a fault unless the policy ignores it.
func (x *passage) fail(d *definition, binding string, err error, reason metav1.StatusReason) {
	if !d.ignore {
		x.faults = append(x.faults, fault{d.name, binding, err, reason})
	}
}

// Admit implements admission.Mutator (policy/generic, policyDispatcher.Dispatch). A
// deletion has nothing that could be changed.
func (m *mutating) Admit(ctx context.Context, r *admission.Request) error {
	policies := m.mutating.all()
	if len(policies) == 0 || r.Operation == admission.Delete || match.IsConfiguration(r) || excluded[r.Kind.GroupResource()] {
		return nil
	}
	x := &passage{mutating: m, r: r, a: match.Of(r, m.o.OldVersions), authz: match.NewAuthorizer(m.o.Authorizer)}
	var list []invocation
	for i := range policies {
		list = x.collect(&policies[i], list)
	}
	if len(list) > 0 {
		if err := x.invoke(ctx, list); err != nil {
			return err
		}
	}
	if len(x.faults) == 0 {
		return nil
	}
	err := forbidden(x.a, errors.New("admission request denied by policy"))
	err.ErrStatus.Message = x.faults[0].text()
	if x.faults[0].reason != "" {
		err.ErrStatus.Reason = x.faults[0].reason
	}
	for i := range x.faults {
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: x.faults[i].text()})
	}
	return err
}

// collect adds the invocations of one policy.
func (x *passage) collect(b *bound[*mutatingPolicy, *admissionv1.MutatingAdmissionPolicyBinding], list []invocation) []invocation {
	d := &b.policy.definition
	policyFault := func(err error) { x.fail(d, "", fmt.Errorf("failed to configure policy: %w", err), "") }
	found, ok, err := d.criteria.Matches(x.a, x.reader)
	if err != nil {
		policyFault(err)
		return list
	}
	if !ok {
		return list
	}
	kind, gvk, err := x.paramKind(d)
	if err != nil {
		policyFault(err)
		return list
	}
	for _, bind := range b.bindings {
		bindingFault := func(err error) { x.fail(d, bind.name, fmt.Errorf("failed to configure binding: %w", err), "") }
		if bind.criteria != nil {
			_, ok, err := bind.criteria.Matches(x.a, x.reader)
			if err != nil {
				bindingFault(err)
				continue
			}
			if !ok {
				continue
			}
		}
		params, err := x.params(kind, gvk, bind.params, bind.selector, bind.err, x.a.GetNamespace())
		if err != nil {
			bindingFault(err)
			continue
		}
		for _, p := range params {
			list = append(list, invocation{b.policy, bind.name, found, p})
		}
	}
	return list
}

// invoke runs what was collected (policy/mutating, dispatchInvocations).
func (x *passage) invoke(ctx context.Context, list []invocation) error {
	state, _ := x.r.Kept(x.Name()).(*rounds)
	if state == nil {
		state = &rounds{}
		x.r.Keep(x.Name(), state)
	}
	if x.r.Round() > 0 && len(state.invoked) > 0 && !equality.Semantic.DeepEqual(state.last, x.a.GetObject()) {
		state.changed() // by a plugin that ran in between
	}
	ns, err := x.namespaceOf(x.a)
	if err != nil {
		return err
	}
	patched := false
	for i := range list {
		before := x.a.GetObject()
		ran, applied, err := x.invokeOne(ctx, &list[i], state, ns)
		if err != nil {
			return err
		}
		patched = patched || applied
		if applied && !equality.Semantic.DeepEqual(before, x.a.GetObject()) {
			state.changed()
			x.r.Again()
		}
		if ran && list[i].policy.reinvoke {
			if state.invoked == nil {
				state.invoked = map[key]bool{}
			}
			state.invoked[list[i].key()] = true
		}
	}
	if patched {
		state.changed()
		x.r.Again()
	}
	if x.r.Round() == 0 && len(state.invoked) > 0 {
		if o := x.a.GetObject(); o != nil {
			state.last = o.DeepCopyObject()
		}
	}
	return nil
}

// invokeOne applies one policy's mutations in order. ran says that its conditions
// hold, applied that a mutation succeeded. The error refuses the request whatever the
// policy says of failures.
func (x *passage) invokeOne(ctx context.Context, in *invocation, state *rounds, ns *corev1.Namespace) (ran, applied bool, err error) {
	c := in.policy.compiled()
	d := &in.policy.definition
	if c.conditions != nil {
		attr, err := x.a.Versioned(in.found.Kind)
		if err != nil {
			return false, false, apierrors.NewInternalError(err)
		}
		switch ok, err := c.conditions.Match(ctx, attr, in.param, x.authz); {
		case err != nil:
			x.fail(d, in.binding, err, metav1.StatusReasonInvalid)
			return false, false, nil
		case !ok:
			return false, false, nil
		}
	}
	if x.r.Round() > 0 && !state.again[in.key()] || x.a.GetObject() == nil {
		return false, false, nil
	}
	for _, p := range c.list {
		begun := time.Now()
		err := x.patch(ctx, p, in, ns)
		x.o.Metrics.Mutation(d.name, in.binding, mutationError(err), time.Since(begun))
		var status *apierrors.StatusError
		switch {
		case errors.As(err, &status):
			return true, applied, status
		case err != nil:
			x.fail(d, in.binding, err, metav1.StatusReasonInvalid)
		default:
			applied = true
		}
	}
	return true, applied, nil
}

// mutationError sorts an error for metrics (policy/mutating, ErrorType).
func mutationError(err error) string {
	switch {
	case err == nil:
		return "no_error"
	case strings.HasPrefix(err.Error(), "compilation"):
		return "compile_error"
	case strings.HasPrefix(err.Error(), "validation failed due to running out of cost budget"):
		return "out_of_budget"
	}
	return "invalid_error"
}

// patch evaluates one mutation and puts what it makes in the object's place.
func (x *passage) patch(ctx context.Context, p patcher, in *invocation, ns *corev1.Namespace) error {
	attr, err := x.a.Versioned(in.found.Kind)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	review := plugincel.CreateAdmissionRequest(attr.Attributes, metav1.GroupVersionResource(in.found.Resource), metav1.GroupVersionKind(attr.VersionedKind))
	vars := plugincel.OptionalVariableBindings{VersionedParams: in.param, Authorizer: x.authz}
	result, err := p.evaluate(ctx, attr, review, vars, ns)
	if err != nil {
		return err
	}
	return p.apply(x, in.found.Kind, attr, result)
}
