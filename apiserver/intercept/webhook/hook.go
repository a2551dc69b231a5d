// Package webhook asks servers outside whether a request may pass, and lets some of
// them change it: the admission webhooks of MutatingWebhookConfiguration and
// ValidatingWebhookConfiguration.
//
// Every server is outside. It may hang, lie, die or send too much: a call ends with
// its time, an answer is bounded and checked, and the webhook's failurePolicy says
// what a failed call means. The rules, texts and annotations are those of
// k8s.io/apiserver's admission/plugin/webhook.
package webhook

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver/callout"
	"skiff.dev/skiff/apiserver/intercept/match"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/admissionregistration/expression"
)

// hook is one webhook, ready to be asked.
type hook struct {
	configuration, name string
	id                  string // unique among all webhooks
	target              callout.Target
	criteria            *match.Criteria
	conditions          *match.Conditions // nil: there are none
	ignore              bool              // a failed call counts as an approval
	effects             *admissionv1.SideEffectClass
	timeout             time.Duration // 0: the request's
	reviews             []string
	reinvoke            bool
}

// set holds the webhooks of one sort.
type set struct {
	mu    sync.Mutex
	known map[string][]*hook // by configuration
	list  atomic.Pointer[[]*hook]
}

// hooks are all webhooks in the order of their configurations' names; nil when there
// are none.
func (s *set) hooks() []*hook {
	if l := s.list.Load(); l != nil {
		return *l
	}
	return nil
}

// put replaces the webhooks of a configuration.
func (s *set) put(configuration string, hooks []*hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string][]*hook{}
	}
	delete(s.known, configuration)
	if len(hooks) > 0 {
		s.known[configuration] = hooks
	}
	if len(s.known) == 0 {
		s.list.Store(nil)
		return
	}
	names := make([]string, 0, len(s.known))
	for n := range s.known {
		names = append(names, n)
	}
	slices.Sort(names)
	var all []*hook
	for _, n := range names {
		all = append(all, s.known[n]...)
	}
	s.list.Store(&all)
}

// Apply follows the configurations; see apiserver.Feed.
func (p *Plugins) Apply(ev kinds.Event) {
	if ev.New == nil {
		switch old := ev.Old.(type) {
		case *admissionv1.MutatingWebhookConfiguration:
			p.mutating.put(old.Name, nil)
		case *admissionv1.ValidatingWebhookConfiguration:
			p.validating.put(old.Name, nil)
		}
		return
	}
	ids := map[string]int{}
	var hooks []*hook
	switch c := ev.New.(type) {
	case *admissionv1.MutatingWebhookConfiguration:
		for i := range c.Webhooks {
			hooks = append(hooks, p.mutatingHook(c.Name, &c.Webhooks[i], ids))
		}
		p.mutating.put(c.Name, hooks)
	case *admissionv1.ValidatingWebhookConfiguration:
		for i := range c.Webhooks {
			hooks = append(hooks, p.validatingHook(c.Name, &c.Webhooks[i], ids))
		}
		p.validating.put(c.Name, hooks)
	}
}

// identify names a webhook apart from others of its name in the configuration.
func identify(configuration, name string, ids map[string]int) string {
	n := ids[name]
	ids[name]++
	return fmt.Sprintf("%s/%s/%d", configuration, name, n)
}

var scope = expression.Scope{HasAuthorizer: true}

func (p *Plugins) mutatingHook(configuration string, w *admissionv1.MutatingWebhook, ids map[string]int) *hook {
	h := p.hook(configuration, &admissionv1.ValidatingWebhook{
		Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
		NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
		TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
	}, "admit", ids)
	h.reinvoke = ptr.Deref(w.ReinvocationPolicy, "") == admissionv1.IfNeededReinvocationPolicy
	return h
}

func (p *Plugins) validatingHook(configuration string, w *admissionv1.ValidatingWebhook, ids map[string]int) *hook {
	return p.hook(configuration, w, "validating", ids)
}

// hook compiles what both sorts of webhooks say; sort is theirs in metrics.
func (p *Plugins) hook(configuration string, w *admissionv1.ValidatingWebhook, sort string, ids map[string]int) *hook {
	return &hook{
		configuration: configuration, name: w.Name, id: identify(configuration, w.Name, ids),
		target:     target(&w.ClientConfig),
		criteria:   match.Hook(w.Rules, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector),
		conditions: match.NewConditions(w.MatchConditions, w.FailurePolicy, "webhook", sort, w.Name, expression.Plain, scope, p.metrics),
		ignore:     ptr.Deref(w.FailurePolicy, "") == admissionv1.Ignore,
		effects:    w.SideEffects,
		timeout:    time.Duration(ptr.Deref(w.TimeoutSeconds, 0)) * time.Second,
		reviews:    w.AdmissionReviewVersions,
	}
}

func target(c *admissionv1.WebhookClientConfig) callout.Target {
	t := callout.Target{URL: ptr.Deref(c.URL, ""), CABundle: c.CABundle}
	if s := c.Service; s != nil {
		t.Service = &callout.Service{Namespace: s.Namespace, Name: s.Name, Port: ptr.Deref(s.Port, 443)}
		t.Path = ptr.Deref(s.Path, "")
	}
	return t
}
