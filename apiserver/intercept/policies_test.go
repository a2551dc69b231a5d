package intercept_test

import (
	"context"
	"fmt"
	"reflect"
	"sort"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver/admission"
)

func named(rules []admissionv1.RuleWithOperations) *admissionv1.MatchResources {
	out := &admissionv1.MatchResources{}
	for _, r := range rules {
		out.ResourceRules = append(out.ResourceRules, admissionv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	return out
}

// forConfigMaps is a policy for the creation and update of config maps.
func forConfigMaps(name string, s admissionv1.ValidatingAdmissionPolicySpec) *admissionv1.ValidatingAdmissionPolicy {
	if s.MatchConstraints == nil {
		s.MatchConstraints = named(rule("", "v1", "configmaps", admissionv1.Create, admissionv1.Update))
	}
	return &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: s}
}

func (c *cluster) bind(policy string, s admissionv1.ValidatingAdmissionPolicyBindingSpec) {
	c.Helper()
	s.PolicyName = policy
	if s.ValidationActions == nil {
		s.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny}
	}
	c.make(&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: policy + "-b"}, Spec: s})
}

// TestValidatingPolicies has one policy at a time, and what it says of one config map
// with a=1 and a label.
func TestValidatingPolicies(t *testing.T) {
	const denied = `configmaps "m" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p-b' denied request: `
	validations := func(v ...admissionv1.Validation) admissionv1.ValidatingAdmissionPolicySpec {
		return admissionv1.ValidatingAdmissionPolicySpec{Validations: v}
	}
	params := &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
	ref := func(name string, action admissionv1.ParameterNotFoundActionType) admissionv1.ValidatingAdmissionPolicyBindingSpec {
		return admissionv1.ValidatingAdmissionPolicyBindingSpec{ParamRef: &admissionv1.ParamRef{Name: name, ParameterNotFoundAction: &action}}
	}
	for _, c := range []struct {
		name   string
		policy admissionv1.ValidatingAdmissionPolicySpec
		bind   admissionv1.ValidatingAdmissionPolicyBindingSpec
		want   string
		code   int32
	}{
		{name: "good", policy: validations(admissionv1.Validation{Expression: "object.data.a == '1' && object.kind == 'ConfigMap' && object.apiVersion == 'v1'"})},
		{name: "message", policy: validations(admissionv1.Validation{Expression: "false", Message: " no \n"[:4]}), want: denied + "no", code: 422},
		{name: "message expression", policy: validations(admissionv1.Validation{Expression: "false", Message: "no", MessageExpression: "'a is ' + object.data.a"}), want: denied + "a is 1", code: 422},
		{name: "message expression that fails", policy: validations(admissionv1.Validation{Expression: "false", Message: "no", MessageExpression: "string(object.data.b)"}), want: denied + "no", code: 422},
		{name: "reason", policy: validations(admissionv1.Validation{Expression: "false", Reason: ptr.To(metav1.StatusReasonForbidden)}), want: denied + "failed expression: false", code: 403},
		{name: "error", policy: validations(admissionv1.Validation{Expression: "object.data.b == ''"}),
			want: denied + "expression 'object.data.b == ''' resulted in error: no such key: b", code: 422},
		{name: "error that is ignored", policy: admissionv1.ValidatingAdmissionPolicySpec{FailurePolicy: ptr.To(admissionv1.Ignore),
			Validations: []admissionv1.Validation{{Expression: "object.data.b == ''"}}}},
		{name: "variables", policy: admissionv1.ValidatingAdmissionPolicySpec{
			Variables:   []admissionv1.Variable{{Name: "a", Expression: "int(object.data.a)"}, {Name: "b", Expression: "variables.a + 1"}},
			Validations: []admissionv1.Validation{{Expression: "variables.b == 3", MessageExpression: "'b is ' + string(variables.b)"}}}, want: denied + "b is 2", code: 422},
		{name: "condition that keeps away", policy: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConditions: []admissionv1.MatchCondition{{Name: "c", Expression: "request.operation == 'UPDATE'"}}, Validations: []admissionv1.Validation{{Expression: "false"}}}},
		{name: "request, namespace and user", policy: validations(admissionv1.Validation{Expression: "request.namespace == 'default' && request.name == 'm' && request.resource.resource == 'configmaps' && " +
			"request.userInfo.username == 'root' && namespaceObject.metadata.name == 'default' && oldObject == null && request.options.kind == 'CreateOptions'"})},
		{name: "authorizer", policy: validations(admissionv1.Validation{
			Expression: "authorizer.requestResource.check('create').allowed() && !authorizer.serviceAccount('default', 'x').group('').resource('pods').check('get').allowed()"})},
		{name: "too dear", policy: validations(admissionv1.Validation{
			Expression: "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, object.data.a != 'b'))))))"}),
			want: denied + "expression '[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, object.data.a != 'b'))))))' resulted in error: operation cancelled: actual cost limit exceeded", code: 422},
		{name: "parameter", policy: admissionv1.ValidatingAdmissionPolicySpec{ParamKind: params, Validations: []admissionv1.Validation{{Expression: "object.data.a == params.data.a && params.kind == 'ConfigMap'", MessageExpression: "'want ' + params.data.a"}}},
			bind: ref("param", admissionv1.DenyAction), want: denied + "want 2", code: 422},
		{name: "no parameter", policy: admissionv1.ValidatingAdmissionPolicySpec{ParamKind: params, Validations: []admissionv1.Validation{{Expression: "false"}}},
			bind: ref("none", admissionv1.DenyAction), want: denied + "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction", code: 422},
		{name: "no parameter, which is allowed", policy: admissionv1.ValidatingAdmissionPolicySpec{ParamKind: params, Validations: []admissionv1.Validation{{Expression: "false"}}},
			bind: ref("none", admissionv1.AllowAction)},
		{name: "parameters by label", policy: admissionv1.ValidatingAdmissionPolicySpec{ParamKind: params, Validations: []admissionv1.Validation{{Expression: "false", MessageExpression: "string(params.metadata.name)"}}},
			bind: admissionv1.ValidatingAdmissionPolicyBindingSpec{ParamRef: &admissionv1.ParamRef{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"p": "y"}}, ParameterNotFoundAction: ptr.To(admissionv1.DenyAction)}},
			want: denied + "param", code: 422},
		{name: "no such kind of parameter", policy: admissionv1.ValidatingAdmissionPolicySpec{ParamKind: &admissionv1.ParamKind{APIVersion: "x.example.com/v1", Kind: "None"}, Validations: []admissionv1.Validation{{Expression: "true"}}},
			want: `configmaps "m" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by paramKind: 'x.example.com/v1, Kind=None'`, code: 422},
		{name: "binding elsewhere", policy: validations(admissionv1.Validation{Expression: "false"}), bind: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			MatchResources: &admissionv1.MatchResources{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"l": "other"}}}}},
		{name: "excluded", policy: admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: "false"}}, MatchConstraints: &admissionv1.MatchResources{
			ResourceRules:        named(rule("*", "*", "*")).ResourceRules,
			ExcludeResourceRules: []admissionv1.NamedRuleWithOperations{{ResourceNames: []string{"m"}, RuleWithOperations: rule("", "v1", "configmaps")[0]}}}}},
		{name: "annotation of another type", policy: admissionv1.ValidatingAdmissionPolicySpec{AuditAnnotations: []admissionv1.AuditAnnotation{{Key: "k", ValueExpression: "object.data.b"}}, Validations: []admissionv1.Validation{{Expression: "true"}}},
			want: `ValidatingAdmissionPolicy.admissionregistration.k8s.io "p" is invalid: spec.auditAnnotations[0].valueExpression: Invalid value: "object.data.b": must evaluate to one of [string null_type] but got dyn`},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newCluster(t)
			param := configMap("param", "a", "2")
			param.Labels = map[string]string{"p": "y"}
			k.make(param)
			if _, err := k.create(forConfigMaps("p", c.policy)); err != nil {
				if err.Error() != c.want {
					t.Error(err)
				}
				return
			}
			k.bind("p", c.bind)
			m := configMap("m", "a", "1")
			m.Labels = map[string]string{"l": "x"}
			_, err := k.create(m)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != c.want || code(err) != c.code {
				t.Errorf("got  %d %s\nwant %d %s", code(err), got, c.code, c.want)
			}
		})
	}
}

// TestWarnAndAudit: a broken rule is told, not enforced.
func TestWarnAndAudit(t *testing.T) {
	var notes []admission.AuditAnnotation
	k := newCluster(t, recorder{&notes})
	k.make(forConfigMaps("p", admissionv1.ValidatingAdmissionPolicySpec{
		Validations:      []admissionv1.Validation{{Expression: "object.metadata.name != 'm'", Message: "not m"}},
		AuditAnnotations: []admissionv1.AuditAnnotation{{Key: "name", ValueExpression: "string(object.metadata.name)"}, {Key: "none", ValueExpression: "null"}},
	}))
	k.bind("p", admissionv1.ValidatingAdmissionPolicyBindingSpec{ValidationActions: []admissionv1.ValidationAction{admissionv1.Warn, admissionv1.Audit}})
	status, warnings, body := k.ask("POST", "/api/v1/namespaces/default/configmaps", "application/json", `{"metadata":{"name":"m"}}`)
	if status != 201 || !reflect.DeepEqual(warnings, []string{`299 - "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-b': not m"`}) {
		t.Errorf("%d %q %s", status, warnings, body)
	}
	var got []string
	for _, n := range notes {
		got = append(got, n.Key+"="+n.Value)
	}
	sort.Strings(got)
	want := []string{"p/name=m", `validation.policy.admission.k8s.io/validation_failure=[{"message":"not m","policy":"p","binding":"p-b","expressionIndex":0,"validationActions":["Warn","Audit"]}]`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("audit got %s", strings.Join(got, "\n"))
	}
}

func (c *cluster) mutating(name string, reinvoke admissionv1.ReinvocationPolicyType, mutations ...admissionv1.Mutation) {
	c.Helper()
	c.make(&admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.MutatingAdmissionPolicySpec{
		MatchConstraints: named(rule("", "v1", "*", admissionv1.Create)), Mutations: mutations, ReinvocationPolicy: reinvoke,
		MatchConditions: []admissionv1.MatchCondition{{Name: "kind", Expression: "request.kind.kind in ['ConfigMap', 'Pod']"}},
	}})
	c.make(&admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name + "-b"}, Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name}})
}

func apply(e string) admissionv1.Mutation {
	return admissionv1.Mutation{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: e}}
}

func operations(e string) admissionv1.Mutation {
	return admissionv1.Mutation{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: e}}
}

// TestMutatingPolicies: policies change objects in the order of their names; lists are
// merged by their keys.
func TestMutatingPolicies(t *testing.T) {
	k := newCluster(t)
	k.mutating("a", admissionv1.NeverReinvocationPolicy,
		apply(`Object{metadata: Object.metadata{labels: {"by": "a"}}}`),
		operations(`[JSONPatch{op: "test", path: "/kind", value: "Pod"}, JSONPatch{op: "add", path: "/spec/initContainers", value: [Object.spec.initContainers{name: "i", image: "x"}]}]`))
	k.mutating("b", admissionv1.NeverReinvocationPolicy,
		operations(`[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/seen"), value: object.metadata.labels.by}]`))
	made := k.make(configMap("m")).(*corev1.ConfigMap)
	if !reflect.DeepEqual(made.Labels, map[string]string{"by": "a", "example.com/seen": "a"}) {
		t.Errorf("labels %v", made.Labels)
	}
	p := k.make(pod("p")).(*corev1.Pod)
	if len(p.Spec.InitContainers) != 1 || p.Spec.InitContainers[0].Name != "i" || p.Spec.InitContainers[0].TerminationMessagePath == "" || p.Labels["app"] != "a" {
		t.Errorf("pod with %+v and labels %v", p.Spec.InitContainers, p.Labels)
	}
	k.mutating("c", admissionv1.NeverReinvocationPolicy, apply(`Object{spec: Object.spec{containers: [Object.spec.containers{name: "c", env: [Object.spec.containers.env{name: "E", value: "v"}]}, Object.spec.containers{name: "side", image: "s"}]}}`))
	q := k.make(pod("q")).(*corev1.Pod)
	if len(q.Spec.Containers) != 2 || q.Spec.Containers[0].Image != "i" || len(q.Spec.Containers[0].Env) != 1 || q.Spec.Containers[1].Name != "side" {
		t.Errorf("containers %+v", q.Spec.Containers)
	}
}

// TestMutatingPolicyThatFails has the words for each way to fail.
func TestMutatingPolicyThatFails(t *testing.T) {
	const denied = `policy 'p' with binding 'p-b' denied request: `
	for _, c := range []struct {
		name     string
		mutation admissionv1.Mutation
		want     string
		code     int32
	}{
		{"atomic", apply(`Object{spec: Object.spec{containers: [Object.spec.containers{name: "c", command: ["x"]}]}}`),
			denied + `error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.containers[0].command`, 403},
		{"unknown field", apply(`Object{spec: Object.spec{none: "x"}}`),
			denied + `error applying patch: failed to convert patch object to typed object: .spec.none: field not declared in schema`, 403},
		{"wrong name of a type", apply(`Object{spec: Object.other{}}`),
			denied + `type mismatch: unexpected type name "Object.other", expected "Object.spec", which matches field name path from root Object type`, 403},
		{"at run time", apply(`Object{metadata: Object.metadata{labels: {"a": object.metadata.labels.none}}}`),
			denied + `expression 'Object{metadata: Object.metadata{labels: {"a": object.metadata.labels.none}}}' resulted in error: no such key: none`, 403},
		{"path that is not there", operations(`[JSONPatch{op: "remove", path: "/spec/none"}]`),
			denied + `JSON Patch: error in remove for path: '/spec/none': Unable to remove nonexistent key: none: missing value`, 403},
		{"unknown field by operation", operations(`[JSONPatch{op: "add", path: "/spec/none", value: "x"}]`),
			`Internal error occurred: strict decoding error: unknown field "spec.none"`, 500},
		{"invalid object", apply(`Object{metadata: Object.metadata{labels: {"not a label": "x"}}}`),
			`Pod "p" is invalid: metadata.labels: Invalid value: "not a label"`, 422},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newCluster(t)
			k.mutating("p", admissionv1.NeverReinvocationPolicy, c.mutation)
			_, err := k.create(pod("p"))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || code(err) != c.code {
				t.Errorf("got  %d %v\nwant %d %s", code(err), err, c.code, c.want)
			}
		})
	}
}

// TestReinvokedPolicy: one that wants to is asked again after a later one changed the
// object.
func TestReinvokedPolicy(t *testing.T) {
	for policy, want := range map[admissionv1.ReinvocationPolicyType]string{admissionv1.NeverReinvocationPolicy: "", admissionv1.IfNeededReinvocationPolicy: "yes"} {
		k := newCluster(t)
		k.mutating("a", policy, apply(`has(object.data) && has(object.data.late) ? Object{data: Object.data{}, metadata: Object.metadata{labels: {"saw": "yes"}}} : Object{metadata: Object.metadata{labels: {"first": "a"}}}`))
		k.mutating("b", admissionv1.NeverReinvocationPolicy, operations(`[JSONPatch{op: "add", path: "/data", value: {"late": "b"}}]`))
		if got := k.make(configMap("m")).GetLabels()["saw"]; got != want {
			t.Errorf("%s: %q, want %q", policy, got, want)
		}
	}
}

// TestPolicyFollowsItsObjects: a policy applies from the answer to its creation until
// the answer to its deletion, and so do its bindings.
func TestPolicyFollowsItsObjects(t *testing.T) {
	ctx := context.Background()
	k := newCluster(t)
	n := 0
	refused := func() bool {
		n++
		_, err := k.create(configMap(fmt.Sprintf("m%d", n)))
		if err != nil && !apierrors.IsInvalid(err) {
			t.Fatal(err)
		}
		return err != nil
	}
	p := forConfigMaps("p", admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: "false"}}})
	kind := k.kind(p)
	k.make(p)
	if refused() {
		t.Error("a policy without a binding applies")
	}
	k.bind("p", admissionv1.ValidatingAdmissionPolicyBindingSpec{})
	if !refused() {
		t.Error("a policy with a binding does not apply")
	}
	if _, err := k.Patch(ctx, kind, "", "p", "", "application/merge-patch+json", []byte(`{"spec":{"validations":[{"expression":"true"}]}}`), nil); err != nil {
		t.Fatal(err)
	}
	if refused() {
		t.Error("the old expression applies")
	}
	if _, err := k.Patch(ctx, kind, "", "p", "", "application/merge-patch+json", []byte(`{"spec":{"validations":[{"expression":"false"}]}}`), nil); err != nil {
		t.Fatal(err)
	}
	if !refused() {
		t.Error("the new expression does not apply")
	}
	if err := k.Delete(ctx, k.kind(&admissionv1.ValidatingAdmissionPolicyBinding{}), "", "p-b", nil); err != nil {
		t.Fatal(err)
	}
	if refused() {
		t.Error("a deleted binding applies")
	}
}
