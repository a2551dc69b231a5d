package match

import (
	"errors"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"skiff.dev/skiff/apiserver/admission"
)

var namespaces = schema.GroupResource{Resource: "namespaces"}

// Criteria say to which requests a webhook, a policy or a binding applies. They are
// read once, when the object changes.
type Criteria struct {
	rules, exclude []admissionv1.NamedRuleWithOperations
	// everything says that no rules mean all requests, not none.
	everything bool
	equivalent bool

	namespace, object labels.Selector
	err               error // of the selectors
}

// Found is how a request is shown to what it matches.
type Found struct {
	Resource schema.GroupVersionResource
	Kind     schema.GroupVersionKind
}

// Hook reads the criteria of a webhook.
func Hook(rules []admissionv1.RuleWithOperations, policy *admissionv1.MatchPolicyType, namespace, object *metav1.LabelSelector) *Criteria {
	c := &Criteria{equivalent: policy != nil && *policy == admissionv1.Equivalent}
	for _, r := range rules {
		c.rules = append(c.rules, admissionv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	c.selectors(namespace, object)
	return c
}

// Resources reads the criteria of a policy or a binding.
func Resources(m *admissionv1.MatchResources) *Criteria {
	c := &Criteria{rules: m.ResourceRules, exclude: m.ExcludeResourceRules, everything: len(m.ResourceRules) == 0,
		equivalent: m.MatchPolicy != nil && *m.MatchPolicy == admissionv1.Equivalent}
	switch {
	case m.NamespaceSelector == nil:
		c.err = errors.New("a nil namespace selector was passed, please ensure selectors are initialized properly")
	case m.ObjectSelector == nil:
		c.err = errors.New("a nil object selector was passed, please ensure selectors are initialized properly")
	default:
		c.selectors(m.NamespaceSelector, m.ObjectSelector)
	}
	return c
}

func (c *Criteria) selectors(namespace, object *metav1.LabelSelector) {
	var err error
	if c.namespace, err = metav1.LabelSelectorAsSelector(namespace); err != nil {
		c.err = apierrors.NewInternalError(err)
	}
	if c.object, err = metav1.LabelSelectorAsSelector(object); err != nil {
		c.err = apierrors.NewInternalError(err)
	}
}

// Matches decides. An error counts only where everything else matches. The rules are
// asked first, they cost least (admission/plugin/policy/matching, Matches;
// admission/plugin/webhook/generic, ShouldCallHook).
func (c *Criteria) Matches(a *Attributes, r admission.Reader) (Found, bool, error) {
	if len(c.exclude) > 0 {
		if _, excluded := c.find(c.exclude, a); excluded {
			return Found{}, false, nil
		}
	}
	f := Found{a.resource, a.kind}
	if !c.everything {
		var ok bool
		if f, ok = c.find(c.rules, a); !ok {
			return Found{}, false, nil
		}
	}
	if c.err != nil {
		return Found{}, false, c.err
	}
	inNamespace, err := c.inNamespace(a, r)
	if err == nil && !inNamespace || !c.selects(a) {
		return Found{}, false, nil
	}
	return f, err == nil, err
}

// inNamespace asks the namespace selector (webhook/predicates/namespace).
func (c *Criteria) inNamespace(a *Attributes, r admission.Reader) (bool, error) {
	name := a.GetNamespace()
	if c.namespace.Empty() || name == "" && a.resource.Resource != "namespaces" {
		return true, nil
	}
	if a.resource.Resource == "namespaces" && a.R.Subresource == "" && (a.R.Operation == admission.Create || a.R.Operation == admission.Update) {
		m, err := meta.Accessor(a.GetObject())
		if err != nil {
			return false, apierrors.NewInternalError(err)
		}
		return c.namespace.Matches(labels.Set(m.GetLabels())), nil
	}
	ns, ok := r.Object(namespaces, "", name)
	if !ok {
		return false, apierrors.NewNotFound(namespaces, name)
	}
	return c.namespace.Matches(labels.Set(ns.GetLabels())), nil
}

// selects asks the object selector: either state of the object will do
// (webhook/predicates/object).
func (c *Criteria) selects(a *Attributes) bool {
	if c.object.Empty() {
		return true
	}
	has := func(o runtime.Object) bool {
		if o == nil {
			return false
		}
		m, err := meta.Accessor(o)
		return err == nil && c.object.Matches(labels.Set(m.GetLabels()))
	}
	return has(a.GetObject()) || has(a.GetOldObject())
}

// find looks for a rule for the resource as it was asked for, then for one for any
// other version of it.
func (c *Criteria) find(rules []admissionv1.NamedRuleWithOperations, a *Attributes) (Found, bool) {
	for i := range rules {
		if matches(&rules[i], a, a.resource) {
			return Found{a.resource, a.kind}, true
		}
	}
	if !c.equivalent {
		return Found{}, false
	}
	for i := range rules {
		var f Found
		a.equivalents(func(x Found) bool {
			if x.Resource != a.resource && matches(&rules[i], a, x.Resource) {
				f = x
			}
			return f.Kind.Empty()
		})
		if !f.Kind.Empty() {
			return f, true
		}
	}
	return Found{}, false
}

// matches asks one rule (webhook/predicates/rules).
func matches(r *admissionv1.NamedRuleWithOperations, a *Attributes, gvr schema.GroupVersionResource) bool {
	return hasOperation(r.Operations, admissionv1.OperationType(a.R.Operation)) &&
		has(r.APIGroups, gvr.Group) && has(r.APIVersions, gvr.Version) &&
		hasResource(r.Resources, gvr.Resource, a.R.Subresource) &&
		inScope(r.Scope, a, gvr) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.GetName()))
}

func has(list []string, want string) bool {
	for _, x := range list {
		if x == "*" || x == want {
			return true
		}
	}
	return false
}

func hasOperation(list []admissionv1.OperationType, want admissionv1.OperationType) bool {
	for _, o := range list {
		if o == admissionv1.OperationAll || o == want {
			return true
		}
	}
	return false
}

func hasResource(list []string, resource, sub string) bool {
	for _, x := range list {
		r, s, _ := strings.Cut(x, "/")
		if (r == "*" || r == resource) && (s == "*" || s == sub) {
			return true
		}
	}
	return false
}

func inScope(s *admissionv1.ScopeType, a *Attributes, gvr schema.GroupVersionResource) bool {
	if s == nil || *s == admissionv1.AllScopes {
		return true
	}
	cluster := a.GetNamespace() == "" || gvr == schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	return (*s == admissionv1.ClusterScope) == cluster && (*s == admissionv1.ClusterScope || *s == admissionv1.NamespacedScope)
}
