// Package policy judges and changes requests by expressions in CEL: the policies and
// bindings ValidatingAdmissionPolicy and MutatingAdmissionPolicy. The rules and texts
// are those of k8s.io/apiserver's admission/plugin/policy.
package policy

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/kinds"
)

// Options are what policies need.
type Options struct {
	Authorizer auth.Authorizer // asked by expressions; nil allows everything
	// OldVersions says that rules may name versions that Kubernetes has dropped.
	OldVersions bool
	Metrics     *match.Metrics
	Log         *slog.Logger
}

// Plugins hold all policies. Without any that is bound, a request costs one atomic
// load.
type Plugins struct {
	o          Options
	reader     admission.Reader
	types      admission.Types
	kind       func(schema.GroupVersionKind) (*kinds.Kind, bool)
	validating index[*validatingPolicy, *admissionv1.ValidatingAdmissionPolicyBinding]
	mutating   index[*mutatingPolicy, *admissionv1.MutatingAdmissionPolicyBinding]
}

// New makes them, without policies: Apply brings those.
func New(o Options) *Plugins { return &Plugins{o: o} }

// Mutating is the plugin that applies mutating policies.
func (p *Plugins) Mutating() admission.Mutator { return &mutating{p} }

// Validating is the plugin that applies validating policies.
func (p *Plugins) Validating() admission.Validator { return &validating{p} }

// definition is what both sorts of policies share.
type definition struct {
	name     string
	criteria *match.Criteria
	param    *admissionv1.ParamKind // nil: none
	ignore   bool                   // what cannot be evaluated counts as good
}

// binding says where a policy applies, and with what parameters.
type binding[B any] struct {
	name     string
	obj      B
	criteria *match.Criteria // nil: wherever the policy does
	params   *admissionv1.ParamRef
	selector labels.Selector // of params
	err      error           // of selector
}

// bound is a policy with its bindings.
type bound[P, B any] struct {
	policy   P
	bindings []*binding[B]
}

// index holds the policies of one sort by name. A policy is compiled once, however
// often its bindings change.
type index[P, B any] struct {
	mu       sync.Mutex
	policies map[string]P
	bindings map[string]map[string]*binding[B] // by policy and name
	policyOf map[string]string                 // by binding
	list     atomic.Pointer[[]bound[P, B]]
}

// all are the policies that are bound, in order of their names; nil where there are
// none.
func (x *index[P, B]) all() []bound[P, B] {
	if l := x.list.Load(); l != nil {
		return *l
	}
	return nil
}

func (x *index[P, B]) putPolicy(name string, p P) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.policies == nil {
		x.policies = map[string]P{}
	}
	x.policies[name] = p
	x.renew()
}

func (x *index[P, B]) dropPolicy(name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.policies, name)
	x.renew()
}

// putBinding notes b for policy; nil takes the binding away.
func (x *index[P, B]) putBinding(name, policy string, b *binding[B]) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.bindings == nil {
		x.bindings, x.policyOf = map[string]map[string]*binding[B]{}, map[string]string{}
	}
	if was, ok := x.policyOf[name]; ok {
		delete(x.bindings[was], name)
		delete(x.policyOf, name)
		if len(x.bindings[was]) == 0 {
			delete(x.bindings, was)
		}
	}
	if b != nil {
		if x.bindings[policy] == nil {
			x.bindings[policy] = map[string]*binding[B]{}
		}
		x.bindings[policy][name] = b
		x.policyOf[name] = policy
	}
	x.renew()
}

// renew makes the list that requests read.
func (x *index[P, B]) renew() {
	var names []string
	for name := range x.policies {
		if len(x.bindings[name]) > 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		x.list.Store(nil)
		return
	}
	slices.Sort(names)
	out := make([]bound[P, B], 0, len(names))
	for _, name := range names {
		bs := make([]*binding[B], 0, len(x.bindings[name]))
		for _, b := range x.bindings[name] {
			bs = append(bs, b)
		}
		slices.SortFunc(bs, func(a, b *binding[B]) int { return cmp.Compare(a.name, b.name) })
		out = append(out, bound[P, B]{x.policies[name], bs})
	}
	x.list.Store(&out)
}

// Apply follows policies and bindings; see apiserver.Feed.
func (p *Plugins) Apply(ev kinds.Event) {
	if ev.New == nil {
		switch old := ev.Old.(type) {
		case *admissionv1.ValidatingAdmissionPolicy:
			p.validating.dropPolicy(old.Name)
		case *admissionv1.MutatingAdmissionPolicy:
			p.mutating.dropPolicy(old.Name)
		case *admissionv1.ValidatingAdmissionPolicyBinding:
			p.validating.putBinding(old.Name, "", nil)
		case *admissionv1.MutatingAdmissionPolicyBinding:
			p.mutating.putBinding(old.Name, "", nil)
		}
		return
	}
	switch o := ev.New.(type) {
	case *admissionv1.ValidatingAdmissionPolicy:
		if old, ok := ev.Old.(*admissionv1.ValidatingAdmissionPolicy); ok && old.Generation == o.Generation && old.UID == o.UID {
			return // its status: what was compiled is still right
		}
		p.validating.putPolicy(o.Name, p.newValidating(o))
	case *admissionv1.MutatingAdmissionPolicy:
		p.mutating.putPolicy(o.Name, p.newMutating(o))
	case *admissionv1.ValidatingAdmissionPolicyBinding:
		p.validating.putBinding(o.Name, o.Spec.PolicyName, newBinding(o.Name, o, o.Spec.MatchResources, o.Spec.ParamRef))
	case *admissionv1.MutatingAdmissionPolicyBinding:
		p.mutating.putBinding(o.Name, o.Spec.PolicyName, newBinding(o.Name, o, o.Spec.MatchResources, o.Spec.ParamRef))
	}
}

func newBinding[B any](name string, obj B, m *admissionv1.MatchResources, params *admissionv1.ParamRef) *binding[B] {
	b := &binding[B]{name: name, obj: obj, params: params}
	if m != nil {
		b.criteria = match.Resources(m)
	}
	if params != nil && params.Selector != nil {
		b.selector, b.err = metav1.LabelSelectorAsSelector(params.Selector)
	}
	return b
}

func newDefinition(name string, m *admissionv1.MatchResources, param *admissionv1.ParamKind, failure *admissionv1.FailurePolicyType) definition {
	if m == nil {
		m = &admissionv1.MatchResources{} // its missing selectors are the error that requests get
	}
	return definition{name: name, criteria: match.Resources(m), param: param, ignore: ptr.Deref(failure, "") == admissionv1.Ignore}
}
