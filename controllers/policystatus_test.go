package controllers_test

import (
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crclient "sigs.k8s.io/controller-runtime/pkg/client"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/controllers/loop"
	"skiff.dev/skiff/kinds/all"
)

// TestPolicyTypes: wordings are those of Kubernetes (TestTypeCheck in
// apiserver/pkg/admission/plugin/policy/validating).
func TestPolicyTypes(t *testing.T) {
	documents := openapi.New(openapi.Options{Table: all.Table(), HideOld: true, Version: "v1.36.3"})
	c := startWith(t, apiserver.Options{}, loop.Config{Schemas: documents.Document})
	rule := func(group, version string, resources ...string) admissionregistrationv1.NamedRuleWithOperations {
		return admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{"*"},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{version}, Resources: resources}}}
	}
	deployments := rule("apps", "v1", "deployments")
	for _, one := range []struct {
		name      string
		rules     []admissionregistrationv1.NamedRuleWithOperations
		variables []admissionregistrationv1.Variable
		text      string
		message   string
		want      []admissionregistrationv1.ExpressionWarning
	}{
		{"right", []admissionregistrationv1.NamedRuleWithOperations{deployments}, nil, "object.spec.replicas > 1 && has(oldObject.metadata.labels)", "", nil},
		{"misspelt", []admissionregistrationv1.NamedRuleWithOperations{deployments}, nil, "object.foo == 'bar'", "",
			[]admissionregistrationv1.ExpressionWarning{{FieldRef: "spec.validations[0].expression",
				Warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'foo'\n | object.foo == 'bar'\n | ......^\n"}}},
		{"another type", []admissionregistrationv1.NamedRuleWithOperations{deployments}, nil, "object.spec.replicas > '1'", "",
			[]admissionregistrationv1.ExpressionWarning{{FieldRef: "spec.validations[0].expression",
				Warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n"}}},
		{"in the message", []admissionregistrationv1.NamedRuleWithOperations{deployments}, nil, "true", "string(object.bar)",
			[]admissionregistrationv1.ExpressionWarning{{FieldRef: "spec.validations[0].messageExpression",
				Warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:14: undefined field 'bar'\n | string(object.bar)\n | .............^\n"}}},
		{"a variable", []admissionregistrationv1.NamedRuleWithOperations{deployments},
			[]admissionregistrationv1.Variable{{Name: "n", Expression: "object.spec.replicas"}}, "variables.n == 'x'", "",
			[]admissionregistrationv1.ExpressionWarning{{FieldRef: "spec.validations[0].expression",
				Warning: "apps/v1, Kind=Deployment: ERROR: <input>:1:13: found no matching overload for '_==_' applied to '(int, string)'\n | variables.n == 'x'\n | ............^\n"}}},
		{"one kind of two", []admissionregistrationv1.NamedRuleWithOperations{deployments, rule("", "v1", "configmaps")}, nil, "object.spec.replicas > 1", "",
			[]admissionregistrationv1.ExpressionWarning{{FieldRef: "spec.validations[0].expression",
				Warning: "/v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'spec'\n | object.spec.replicas > 1\n | ......^\n"}}},
		{"any kind", []admissionregistrationv1.NamedRuleWithOperations{rule("*", "*", "*")}, nil, "object.foo == 'bar'", "", nil},
		{"unknown kind", []admissionregistrationv1.NamedRuleWithOperations{rule("example.com", "v1", "things")}, nil, "object.foo == 'bar'", "", nil},
	} {
		p := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		p.GenerateName = "p-"
		p.Spec = admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: one.rules}, Variables: one.variables,
			Validations: []admissionregistrationv1.Validation{{Expression: one.text, MessageExpression: one.message}},
		}
		if err := c.Create(t.Context(), p); err != nil {
			t.Fatalf("%s: %v", one.name, err)
		}
		for end := time.Now().Add(20 * time.Second); p.Status.ObservedGeneration != p.Generation; time.Sleep(10 * time.Millisecond) {
			if err := c.Get(t.Context(), crclient.ObjectKeyFromObject(p), p); err != nil || time.Now().After(end) {
				t.Fatalf("%s: not looked at: %v", one.name, err)
			}
		}
		if p.Status.TypeChecking == nil {
			t.Errorf("%s: no typeChecking", one.name)
			continue
		}
		got := p.Status.TypeChecking.ExpressionWarnings
		if len(got) != len(one.want) || len(got) > 0 && got[0] != one.want[0] {
			t.Errorf("%s:\ngot  %q\nwant %q", one.name, got, one.want)
		}
		if f := p.ManagedFields; len(f) == 0 || f[0].Manager != "validatingadmissionpolicy-status" || f[0].Operation != metav1.ManagedFieldsOperationApply {
			t.Errorf("%s: %+v", one.name, f)
		}
	}
}
