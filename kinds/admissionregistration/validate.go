package admissionregistration

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/kinds/rules"
)

// The rules of these files are those of pkg/apis/admissionregistration/validation in
// Kubernetes.

// leniency is what an update may keep of old webhooks.
type leniency struct {
	sideEffects, reviewVersions, sameNames bool

	selectors metavalidation.LabelSelectorValidationOptions
	old       old
}

// webhook is what both sorts of webhooks are judged by.
type webhook struct {
	name       string
	config     admissionv1.WebhookClientConfig
	rules      []admissionv1.RuleWithOperations
	failure    *admissionv1.FailurePolicyType
	match      *admissionv1.MatchPolicyType
	namespace  *metav1.LabelSelector
	object     *metav1.LabelSelector
	effects    *admissionv1.SideEffectClass
	timeout    *int32
	reviews    []string
	reinvoke   *admissionv1.ReinvocationPolicyType
	conditions []admissionv1.MatchCondition
}

func ofMutating(c *admissionv1.MutatingWebhookConfiguration) []webhook {
	out := make([]webhook, len(c.Webhooks))
	for i, w := range c.Webhooks {
		out[i] = webhook{w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.ReinvocationPolicy, w.MatchConditions}
	}
	return out
}

func ofValidating(c *admissionv1.ValidatingWebhookConfiguration) []webhook {
	out := make([]webhook, len(c.Webhooks))
	for i, w := range c.Webhooks {
		out[i] = webhook{w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, nil, w.MatchConditions}
	}
	return out
}

func validateMutatingWebhook(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	return validateWebhooks(ofMutating(c), leniency{})
}

func validateMutatingWebhookUpdate(c, old *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	return validateWebhooks(ofMutating(c), lenientTo(ofMutating(c), ofMutating(old)))
}

func validateValidatingWebhook(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return validateWebhooks(ofValidating(c), leniency{})
}

func validateValidatingWebhookUpdate(c, old *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return validateWebhooks(ofValidating(c), lenientTo(ofValidating(c), ofValidating(old)))
}

func knownReview(v string) bool { return v == "v1" || v == "v1beta1" }

func harmless(e *admissionv1.SideEffectClass) bool {
	return e != nil && (*e == admissionv1.SideEffectClassNone || *e == admissionv1.SideEffectClassNoneOnDryRun)
}

func lenientTo(now, before []webhook) leniency {
	may := leniency{old: old{conditions: stored{}, sameConditions: len(now) == len(before)}}
	seen := map[string]bool{}
	for i, w := range before {
		may.old.sameConditions = may.old.sameConditions && reflect.DeepEqual(now[i].conditions, w.conditions)
		for _, c := range w.conditions {
			may.old.conditions.add(c.Expression)
		}
		may.sideEffects = may.sideEffects || !harmless(w.effects)
		may.sameNames = may.sameNames || seen[w.name]
		seen[w.name] = true
		may.reviewVersions = may.reviewVersions || len(w.reviews) > 0 && !slices.ContainsFunc(w.reviews, knownReview)
		for _, s := range []*metav1.LabelSelector{w.namespace, w.object} {
			if s != nil && len(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0 {
				may.selectors.AllowInvalidLabelValueInSelector = true
			}
		}
	}
	return may
}

func validateWebhooks(hooks []webhook, may leniency) field.ErrorList {
	var l rules.List
	seen := map[string]bool{}
	for i := range hooks {
		w, path := &hooks[i], field.NewPath("webhooks").Index(i)
		judgeWebhook(&l, w, may, path)
		judgeReviews(&l, w.reviews, may, path.Child("admissionReviewVersions"))
		if !may.sameNames && w.name != "" {
			if seen[w.name] {
				l.Duplicate(path.Child("name"), w.name)
			}
			seen[w.name] = true
		}
	}
	return l.Errors()
}

func judgeWebhook(l *rules.List, w *webhook, may leniency, path *field.Path) {
	l.Add(utilvalidation.IsFullyQualifiedName(path.Child("name"), w.name)...)
	for i := range w.rules {
		judgeOperations(l, &w.rules[i], path.Child("rules").Index(i))
	}
	if w.failure != nil {
		rules.Supported(l, path.Child("failurePolicy"), *w.failure, admissionv1.Fail, admissionv1.Ignore)
	}
	if w.match != nil {
		rules.Supported(l, path.Child("matchPolicy"), *w.match, admissionv1.Equivalent, admissionv1.Exact)
	}
	effects := []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}
	if may.sideEffects {
		effects = append(effects, admissionv1.SideEffectClassSome, admissionv1.SideEffectClassUnknown)
	}
	if w.effects == nil {
		var names []string
		for _, e := range effects {
			names = append(names, string(e))
		}
		l.Required(path.Child("sideEffects"), "must specify one of "+strings.Join(names, ", "))
	} else {
		rules.Supported(l, path.Child("sideEffects"), *w.effects, effects...)
	}
	if w.timeout != nil {
		rules.Range(l, path.Child("timeoutSeconds"), *w.timeout, 1, 30, "the timeout value must be between 1 and 30 seconds")
	}
	if w.namespace != nil {
		l.Add(metavalidation.ValidateLabelSelector(w.namespace, may.selectors, path.Child("namespaceSelector"))...)
	}
	if w.object != nil {
		l.Add(metavalidation.ValidateLabelSelector(w.object, may.selectors, path.Child("objectSelector"))...)
	}
	if w.reinvoke != nil {
		rules.Supported(l, path.Child("reinvocationPolicy"), *w.reinvoke, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	}
	switch at := path.Child("clientConfig"); {
	case (w.config.URL == nil) == (w.config.Service == nil):
		l.Required(at, "exactly one of url or service is required")
	case w.config.URL != nil:
		judgeURL(l, *w.config.URL, at.Child("url"))
	default:
		judgeService(l, w.config.Service, at.Child("service"))
	}
	judgeConditions(l, w.conditions, false, may.old, path.Child("matchConditions"))
}

func judgeReviews(l *rules.List, versions []string, may leniency, path *field.Path) {
	if len(versions) == 0 {
		l.Required(path, "must specify one of v1, v1beta1")
		return
	}
	seen := map[string]bool{}
	for i, v := range versions {
		if seen[v] {
			l.Invalid(path.Index(i), v, "duplicate version")
			continue
		}
		seen[v] = true
		l.Messages(path.Index(i), v, utilvalidation.IsDNS1035Label(v))
	}
	if !may.reviewVersions && !slices.ContainsFunc(versions, knownReview) {
		l.Invalid(path, versions, "must include at least one of v1, v1beta1")
	}
}

func judgeURL(l *rules.List, text string, path *field.Path) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		l.Required(path, "url must be a valid URL: "+err.Error()+form)
		return
	}
	if u.Scheme != "https" {
		l.Invalid(path, u.Scheme, "'https' is the only allowed URL scheme"+form)
	}
	if u.Host == "" {
		l.Invalid(path, u.Host, "host must be specified"+form)
	}
	if u.User != nil {
		l.Invalid(path, u.User.String(), "user information is not permitted in the URL")
	}
	if u.Fragment != "" {
		l.Invalid(path, u.Fragment, "fragments are not permitted in the URL")
	}
	if u.RawQuery != "" {
		l.Invalid(path, u.RawQuery, "query parameters are not permitted in the URL")
	}
}

// judgeService names the other field when name or namespace is missing: Kubernetes
// hands them over in the wrong order, and its clients know the answer by now.
func judgeService(l *rules.List, s *admissionv1.ServiceReference, path *field.Path) {
	l.Need(path, "name", s.Namespace)
	l.Need(path, "namespace", s.Name)
	port := ptr.Deref(s.Port, 0)
	if msgs := utilvalidation.IsValidPortNum(int(port)); msgs != nil {
		l.Invalid(path.Child("port"), port, "port is not valid: "+strings.Join(msgs, ", "))
	}
	if s.Path == nil || *s.Path == "" || *s.Path == "/" {
		return
	}
	at, text := path.Child("path"), *s.Path
	if text == "//" {
		l.Invalid(at, text, "segment[0] may not be empty")
		return
	}
	if !strings.HasPrefix(text, "/") {
		l.Invalid(at, text, "must start with a '/'")
	}
	for i, segment := range strings.Split(strings.TrimSuffix(text[1:], "/"), "/") {
		if segment == "" {
			l.Invalid(at, text, fmt.Sprintf("segment[%d] may not be empty", i))
			continue
		}
		for _, msg := range utilvalidation.IsDNS1123Subdomain(segment) {
			l.Invalid(at, text, fmt.Sprintf("segment[%d]: %v", i, msg))
		}
	}
}

// warnName warns of the suffix that policies on a server's disk will have.
func warnName(name string) []string {
	if strings.HasSuffix(name, ".static.k8s.io") {
		return []string{`metadata.name: names ending with ".static.k8s.io" are reserved for static manifest-based configurations and cannot be managed via the API`}
	}
	return nil
}
