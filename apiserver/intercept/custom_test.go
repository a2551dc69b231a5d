package intercept_test

import (
	"encoding/json"
	"strings"
	"testing"

	admissionreview "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// TestCustomKinds: webhooks and policies know kinds that are defined at run time, in
// all their versions, as objects and as parameters.
func TestCustomKinds(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	status, _, body := k.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "application/json", `{
		"metadata":{"name":"things.example.com"},
		"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"things","kind":"Thing"},"versions":[
		{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{
			"size":{"type":"integer","default":1},"tags":{"type":"array","items":{"type":"string"},"x-kubernetes-list-type":"set"},"by":{"type":"string"}}}}}}},
		{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{
			"size":{"type":"integer"},"tags":{"type":"array","items":{"type":"string"},"x-kubernetes-list-type":"set"},"by":{"type":"string"}}}}}}}]}}`)
	if status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	s.handle("/v2", s.review(patch(`[{"op":"add","path":"/spec/by","value":"hook"},{"op":"add","path":"/spec/unknown","value":1}]`)))
	s.handle("/x", s.review(func(*admissionreview.AdmissionRequest, *admissionreview.AdmissionResponse) {}))
	k.mutate("m", s.mutating("a.example.com", "/v2", rule("example.com", "v2", "things", admissionv1.Create)))
	k.validate("v", s.validating("b.example.com", "/x", rule("example.com", "*", "things")))
	k.make(&admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionv1.MutatingAdmissionPolicySpec{
		MatchConstraints: named(rule("example.com", "v1", "things", admissionv1.Create)), ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
		Mutations: []admissionv1.Mutation{apply(`Object{spec: Object.spec{tags: ["policy"]}}`)},
	}})
	k.make(&admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: "p"}})

	status, _, body = k.ask("POST", "/apis/example.com/v1/namespaces/default/things", "application/json", `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"t"},"spec":{"tags":["mine"]}}`)
	var made struct{ Spec map[string]any }
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	want := map[string]any{"size": 1.0, "tags": []any{"mine", "policy"}, "by": "hook"}
	if got, _ := json.Marshal(made.Spec); string(got) != `{"by":"hook","size":1,"tags":["mine","policy"]}` {
		t.Errorf("made %s, want %v", got, want)
	}
	var got []string
	for _, r := range s.take() {
		got = append(got, summary(r))
	}
	if strings.Join(got, "\n") != "CREATE example.com/v2 Thing for example.com/v1 Thing things/ default/t new example.com/v2.Thing old - meta.k8s.io/v1.CreateOptions\n"+
		"CREATE example.com/v1 Thing things/ default/t new example.com/v1.Thing old - meta.k8s.io/v1.CreateOptions" {
		t.Errorf("webhooks saw\n%s", strings.Join(got, "\n"))
	}

	// As a parameter, in a version that is not the stored one.
	k.make(forConfigMaps("q", admissionv1.ValidatingAdmissionPolicySpec{ParamKind: &admissionv1.ParamKind{APIVersion: "example.com/v2", Kind: "Thing"},
		Validations: []admissionv1.Validation{{Expression: "params.apiVersion != 'example.com/v2'", MessageExpression: "'by ' + string(params.spec.by)"}}}))
	k.bind("q", admissionv1.ValidatingAdmissionPolicyBindingSpec{ParamRef: &admissionv1.ParamRef{Name: "t", ParameterNotFoundAction: ptr.To(admissionv1.DenyAction)}})
	if _, err := k.create(configMap("m")); err == nil || !strings.HasSuffix(err.Error(), "denied request: by hook") {
		t.Errorf("a parameter of a custom kind gives %v", err)
	}
}
