package intercept_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	admissionreview "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds"
)

func allow(*admissionreview.AdmissionRequest, *admissionreview.AdmissionResponse) {}

// summary says which request a webhook saw.
func summary(r *admissionreview.AdmissionRequest) string {
	kind := func(k metav1.GroupVersionKind) string {
		return strings.TrimPrefix(k.Group+"/"+k.Version+" "+k.Kind, "/")
	}
	out := fmt.Sprintf("%s %s", r.Operation, kind(r.Kind))
	if r.RequestKind != nil && *r.RequestKind != r.Kind {
		out += " for " + kind(*r.RequestKind)
	}
	out += fmt.Sprintf(" %s/%s %s/%s", r.Resource.Resource, r.SubResource, r.Namespace, r.Name)
	typ := func(raw []byte) string {
		var t metav1.TypeMeta
		if raw == nil || json.Unmarshal(raw, &t) != nil || t.Kind == "" {
			return "-"
		}
		return t.APIVersion + "." + t.Kind
	}
	out += " new " + typ(r.Object.Raw) + " old " + typ(r.OldObject.Raw) + " " + typ(r.Options.Raw)
	if r.DryRun != nil && *r.DryRun {
		out += " dry"
	}
	return out
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
	}}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "a"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

// TestWhatWebhooksSee sends one request of each sort, and compares what a webhook for
// everything was told.
func TestWhatWebhooksSee(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	s.handle("/x", s.review(allow))
	k.make(deployment("d"))
	for _, name := range []string{"p", "q"} {
		k.make(pod(name))
	}
	k.make(configMap("gone1"))
	k.make(configMap("gone2"))
	k.make(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	everything := rule("*", "*", "*/*")
	k.validate("c", s.validating("a.example.com", "/x", everything))
	for _, c := range []struct{ name, method, path, contentType, body, want string }{
		{"create", "POST", "/api/v1/namespaces/default/configmaps", "application/json", `{"metadata":{"name":"m"}}`,
			"CREATE v1 ConfigMap configmaps/ default/m new v1.ConfigMap old - meta.k8s.io/v1.CreateOptions"},
		{"dry run", "POST", "/api/v1/namespaces/default/configmaps?dryRun=All", "application/json", `{"metadata":{"name":"n"}}`,
			"CREATE v1 ConfigMap configmaps/ default/n new v1.ConfigMap old - meta.k8s.io/v1.CreateOptions dry"},
		{"update", "PUT", "/api/v1/namespaces/default/configmaps/m", "application/json", `{"metadata":{"name":"m"},"data":{"a":"b"}}`,
			"UPDATE v1 ConfigMap configmaps/ default/m new v1.ConfigMap old v1.ConfigMap meta.k8s.io/v1.UpdateOptions"},
		{"patch", "PATCH", "/api/v1/namespaces/default/configmaps/m", "application/merge-patch+json", `{"data":{"a":"c"}}`,
			"UPDATE v1 ConfigMap configmaps/ default/m new v1.ConfigMap old v1.ConfigMap meta.k8s.io/v1.UpdateOptions"},
		{"apply", "PATCH", "/api/v1/namespaces/default/configmaps/z?fieldManager=f", "application/apply-patch+yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z}",
			"CREATE v1 ConfigMap configmaps/ default/z new v1.ConfigMap old - meta.k8s.io/v1.CreateOptions"},
		{"delete", "DELETE", "/api/v1/namespaces/default/configmaps/m", "", "",
			"DELETE v1 ConfigMap configmaps/ default/m new - old v1.ConfigMap meta.k8s.io/v1.DeleteOptions"},
		{"delete a collection", "DELETE", "/api/v1/namespaces/default/configmaps?fieldSelector=metadata.name%3Dgone1", "", "",
			"DELETE v1 ConfigMap configmaps/ default/ new - old v1.ConfigMap meta.k8s.io/v1.DeleteOptions"},
		{"namespace", "POST", "/api/v1/namespaces", "application/json", `{"metadata":{"name":"ns"}}`,
			"CREATE v1 Namespace namespaces/ ns/ns new v1.Namespace old - meta.k8s.io/v1.CreateOptions"},
		{"status", "PATCH", "/apis/apps/v1/namespaces/default/deployments/d/status", "application/merge-patch+json", `{"status":{"replicas":1}}`,
			"UPDATE apps/v1 Deployment deployments/status default/d new apps/v1.Deployment old apps/v1.Deployment meta.k8s.io/v1.UpdateOptions"},
		{"scale", "PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale", "application/merge-patch+json", `{"spec":{"replicas":3}}`,
			"UPDATE autoscaling/v1 Scale deployments/scale default/d new autoscaling/v1.Scale old autoscaling/v1.Scale meta.k8s.io/v1.UpdateOptions"},
		{"binding", "POST", "/api/v1/namespaces/default/pods/p/binding", "application/json", `{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}`,
			"CREATE v1 Binding pods/binding default/p new v1.Binding old - meta.k8s.io/v1.CreateOptions"},
		{"eviction", "POST", "/api/v1/namespaces/default/pods/q/eviction", "application/json", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"q"}}`,
			"CREATE policy/v1 Eviction pods/eviction default/q new policy/v1.Eviction old - meta.k8s.io/v1.CreateOptions"},
		{"review", "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/json", `{"spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}`,
			"CREATE authorization.k8s.io/v1 SelfSubjectAccessReview selfsubjectaccessreviews/ / new authorization.k8s.io/v1.SelfSubjectAccessReview old - meta.k8s.io/v1.CreateOptions"},
		{"its own configuration", "PATCH", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/c", "application/merge-patch+json", `{"metadata":{"labels":{"a":"b"}}}`, ""},
	} {
		s.take()
		status, _, body := k.ask(c.method, c.path, c.contentType, c.body)
		if status >= 300 {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
		got := ""
		if seen := s.take(); len(seen) == 1 {
			got = summary(seen[0])
		} else if len(seen) > 1 {
			got = fmt.Sprintf("%d requests, the last %s", len(seen), summary(seen[len(seen)-1]))
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestUserAndBetaReview checks what a review says of the user, and that v1beta1 is
// spoken where it comes first.
func TestUserAndBetaReview(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	version := ""
	s.handle("/x", func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("timeout"); got != "7s" {
			t.Errorf("timeout %q", got)
		}
		s.review(func(*admissionreview.AdmissionRequest, *admissionreview.AdmissionResponse) {
			version = r.Header.Get("Content-Type")
		})(w, r)
	})
	w := s.validating("a.example.com", "/x", rule("", "v1", "configmaps"))
	w.AdmissionReviewVersions, w.TimeoutSeconds = []string{"v9", "v1beta1", "v1"}, ptr.To[int32](7)
	k.validate("c", w)
	k.make(configMap("m"))
	seen := s.take()
	if len(seen) != 1 || version != "application/json" {
		t.Fatalf("%d reviews of %s", len(seen), version)
	}
	u := seen[0].UserInfo
	if u.Username != "root" || !reflect.DeepEqual(u.Groups, []string{"g"}) || !reflect.DeepEqual(map[string][]string{"k": u.Extra["k"]}, map[string][]string{"k": {"v"}}) {
		t.Errorf("user %+v", u)
	}
	var obj corev1.ConfigMap
	if err := json.Unmarshal(seen[0].Object.Raw, &obj); err != nil || obj.UID == "" || obj.Name != "m" {
		t.Errorf("object %s, %v", seen[0].Object.Raw, err)
	}
}

// TestEquivalentVersions: a rule for an old version sees requests for the current one
// in the old form, unless it wants exact matches.
func TestEquivalentVersions(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	s.handle("/x", s.review(allow))
	s.handle("/m", s.review(patch(`[{"op":"add","path":"/spec/replicas","value":7}]`)))
	hook := s.validating("a.example.com", "/x", rule("extensions", "v1beta1", "deployments"))
	exact := s.validating("b.example.com", "/x", rule("extensions", "v1beta1", "deployments"))
	exact.MatchPolicy = ptr.To(admissionv1.Exact)
	k.validate("c", hook, exact)
	k.mutate("c", s.mutating("m.example.com", "/m", rule("apps", "v1beta2", "deployments")))
	made := k.make(deployment("d")).(*appsv1.Deployment)
	if *made.Spec.Replicas != 7 {
		t.Errorf("%d replicas", *made.Spec.Replicas)
	}
	var got []string
	for _, r := range s.take() {
		got = append(got, summary(r))
	}
	want := []string{
		"CREATE apps/v1beta2 Deployment for apps/v1 Deployment deployments/ default/d new apps/v1beta2.Deployment old - meta.k8s.io/v1.CreateOptions",
		"CREATE extensions/v1beta1 Deployment for apps/v1 Deployment deployments/ default/d new extensions/v1beta1.Deployment old - meta.k8s.io/v1.CreateOptions",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// TestSelection has one webhook for each way to choose requests.
func TestSelection(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	asked := map[string]bool{}
	s.handle("/x", s.review(allow))
	add := func(name string, change func(*admissionv1.ValidatingWebhook)) admissionv1.ValidatingWebhook {
		s.handle("/"+name, s.review(func(*admissionreview.AdmissionRequest, *admissionreview.AdmissionResponse) {
			s.mu.Lock()
			defer s.mu.Unlock()
			asked[name] = true
		}))
		w := s.validating(name+".example.com", "/"+name, rule("*", "*", "*"))
		change(&w)
		return w
	}
	scope := func(x admissionv1.ScopeType) func(*admissionv1.ValidatingWebhook) {
		return func(w *admissionv1.ValidatingWebhook) { w.Rules[0].Scope = &x }
	}
	labels := func(l string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{l: "yes"}}
	}
	k.validate("c",
		add("all", func(*admissionv1.ValidatingWebhook) {}),
		add("cluster", scope(admissionv1.ClusterScope)),
		add("namespaced", scope(admissionv1.NamespacedScope)),
		add("ns", func(w *admissionv1.ValidatingWebhook) { w.NamespaceSelector = labels("n") }),
		add("obj", func(w *admissionv1.ValidatingWebhook) { w.ObjectSelector = labels("o") }),
		add("creations", func(w *admissionv1.ValidatingWebhook) {
			w.Rules[0].Operations = []admissionv1.OperationType{admissionv1.Create}
		}),
		add("cel", func(w *admissionv1.ValidatingWebhook) {
			w.MatchConditions = []admissionv1.MatchCondition{
				{Name: "name", Expression: "request.name.startsWith('cel')"},
				{Name: "may", Expression: "authorizer.group('').resource('configmaps').check('get').allowed()"}}
		}),
	)
	check := func(what string, obj kinds.Object, want ...string) {
		t.Helper()
		clear(asked)
		k.make(obj)
		var got []string
		for _, n := range []string{"all", "cluster", "namespaced", "ns", "obj", "creations", "cel"} {
			if asked[n] {
				got = append(got, n)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: asked %v, want %v", what, got, want)
		}
	}
	check("a namespace", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"n": "yes"}}}, "all", "cluster", "ns", "creations")
	check("a node", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, "all", "cluster", "ns", "creations")
	inside := configMap("m")
	inside.Namespace = "n"
	check("in a chosen namespace", inside, "all", "namespaced", "ns", "creations")
	labelled := configMap("l")
	labelled.Labels = map[string]string{"o": "yes"}
	check("a chosen object", labelled, "all", "namespaced", "obj", "creations")
	check("by condition", configMap("cel1"), "all", "namespaced", "creations", "cel")
}

// TestConditionThatFails: one that cannot be evaluated refuses, or means no match.
func TestConditionThatFails(t *testing.T) {
	for policy, want := range map[admissionv1.FailurePolicyType]string{
		admissionv1.Fail:   `configmaps "m" is forbidden: expression 'object.spec.none == 1' resulted in error: no such key: spec`,
		admissionv1.Ignore: "",
	} {
		k, s := newCluster(t), newServer(t)
		s.handle("/x", s.review(func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) { out.Allowed = false }))
		w := s.validating("a.example.com", "/x", rule("", "v1", "configmaps"))
		w.FailurePolicy, w.MatchConditions = &policy, []admissionv1.MatchCondition{{Name: "c", Expression: "object.spec.none == 1"}}
		k.validate("c", w)
		if _, err := k.create(configMap("m")); message(err, s) != want {
			t.Errorf("%s: %v", policy, err)
		}
	}
}

// TestRefusals: what a webhook says is what the client gets, and the first refusal in
// order of names.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		result *metav1.Status
		want   string
		code   int32
	}{
		{nil, `admission webhook "a.example.com" denied the request without explanation`, 400},
		{&metav1.Status{Message: "no room", Code: 409}, `admission webhook "a.example.com" denied the request: no room`, 409},
		{&metav1.Status{Reason: "Teapot", Code: 200}, `admission webhook "a.example.com" denied the request: Teapot`, 400},
	} {
		k, s := newCluster(t), newServer(t)
		no := func(result *metav1.Status) http.HandlerFunc {
			return s.review(func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) {
				out.Allowed, out.Result = false, result
			})
		}
		s.handle("/a", no(c.result))
		s.handle("/b", no(&metav1.Status{Message: "second"}))
		k.validate("z", s.validating("b.example.com", "/b", rule("", "v1", "configmaps")))
		k.validate("c", s.validating("a.example.com", "/a", rule("", "v1", "configmaps")))
		_, err := k.create(configMap("m"))
		if message(err, s) != c.want || code(err) != c.code {
			t.Errorf("got %d %v, want %d %s", code(err), err, c.code, c.want)
		}
	}
}

// TestDryRun: a webhook with side effects cannot take part, whatever its policy.
func TestDryRun(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	s.handle("/x", s.review(allow))
	w := s.mutating("a.example.com", "/x", rule("", "v1", "configmaps"))
	k.mutate("c", w)
	if _, err := k.create(configMap("m"), metav1.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if seen := s.take(); len(seen) != 1 || !*seen[0].DryRun {
		t.Errorf("the webhook saw %d requests", len(seen))
	}
	// v1 knows no such side effects; v1beta1's become NoneOnDryRun. What is stored
	// from elsewhere may have them.
	code, _, body := k.ask("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", "application/json",
		`{"metadata":{"name":"bad"},"webhooks":[{"name":"a.example.com","sideEffects":"Some","admissionReviewVersions":["v1"],"clientConfig":{"url":"https://x/"}}]}`)
	if code != 422 || !strings.Contains(body, `Unsupported value: \"Some\"`) {
		t.Errorf("%d %s", code, body)
	}
}

// recorder keeps what audit would.
type recorder struct{ notes *[]admission.AuditAnnotation }

func (recorder) Name() string { return "Recorder" }
func (r recorder) Admit(_ context.Context, a *admission.Request) error {
	a.OnAnnotate = func(n admission.AuditAnnotation) { *r.notes = append(*r.notes, n) }
	return nil
}

// counter is a plugin of the server that changes objects whenever it runs.
type counter struct{ runs int }

func (*counter) Name() string { return "Counter" }
func (c *counter) Admit(_ context.Context, r *admission.Request) error {
	if m, ok := r.Object.(*corev1.ConfigMap); ok {
		c.runs++
		if m.Data["first"] != "" && m.Data["second"] == "" {
			m.Data["second"] = "plugin"
		}
	}
	return nil
}

// TestMutation: webhooks run in the order of their configurations' names, each on what
// the ones before it made; plugins run again after a change, and of the webhooks those
// that want to.
func TestMutation(t *testing.T) {
	var notes []admission.AuditAnnotation
	plugin := &counter{}
	k, s := newCluster(t, recorder{&notes}, plugin), newServer(t)
	var order []string
	step := func(name string, f func(data map[string]string, out *admissionreview.AdmissionResponse)) string {
		s.handle("/"+name, s.review(func(in *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) {
			var m corev1.ConfigMap
			if err := json.Unmarshal(in.Object.Raw, &m); err != nil {
				t.Error(err)
			}
			order = append(order, name)
			f(m.Data, out)
		}))
		return "/" + name
	}
	set := func(key, value string) func(map[string]string, *admissionreview.AdmissionResponse) {
		return func(data map[string]string, out *admissionreview.AdmissionResponse) {
			if data[key] == "" {
				patch(fmt.Sprintf(`[{"op":"add","path":"/data/%s","value":%q}]`, key, value))(nil, out)
			}
		}
	}
	maps := rule("", "v1", "configmaps", admissionv1.Create)
	eager := s.mutating("eager.example.com", step("eager", func(data map[string]string, out *admissionreview.AdmissionResponse) {
		if data["third"] != "" {
			set("saw", data["first"]+data["second"]+data["third"])(data, out)
		}
	}), maps)
	eager.ReinvocationPolicy = ptr.To(admissionv1.IfNeededReinvocationPolicy)
	k.mutate("a", eager, s.mutating("first.example.com", step("first", set("first", "hook")), maps))
	k.mutate("b", s.mutating("third.example.com", step("third", func(data map[string]string, out *admissionreview.AdmissionResponse) {
		out.Warnings = []string{"third was here"}
		out.AuditAnnotations = map[string]string{"key": "value"}
		set("third", "hook")(data, out)
	}), maps))
	made := k.make(configMap("m", "x", "y")).(*corev1.ConfigMap)
	want := map[string]string{"x": "y", "first": "hook", "second": "plugin", "third": "hook", "saw": "hookpluginhook"}
	if !reflect.DeepEqual(made.Data, want) {
		t.Errorf("made %v, want %v", made.Data, want)
	}
	if got := strings.Join(order, " "); got != "eager first third eager" {
		t.Errorf("asked %s", got)
	}
	if plugin.runs != 2 {
		t.Errorf("the plugin ran %d times", plugin.runs)
	}
	var got []string
	for _, n := range notes {
		got = append(got, fmt.Sprintf("%s %s=%s", n.Level, n.Key, n.Value))
	}
	wantNotes := []string{
		`Metadata mutation.webhook.admission.k8s.io/round_0_index_0={"configuration":"a","webhook":"eager.example.com","mutated":false}`,
		`Request patch.webhook.admission.k8s.io/round_0_index_1={"configuration":"a","webhook":"first.example.com","patch":[{"op":"add","path":"/data/first","value":"hook"}],"patchType":"JSONPatch"}`,
		`Metadata mutation.webhook.admission.k8s.io/round_0_index_1={"configuration":"a","webhook":"first.example.com","mutated":true}`,
		`Metadata third.example.com/key=value`,
		`Request patch.webhook.admission.k8s.io/round_0_index_2={"configuration":"b","webhook":"third.example.com","patch":[{"op":"add","path":"/data/third","value":"hook"}],"patchType":"JSONPatch"}`,
		`Metadata mutation.webhook.admission.k8s.io/round_0_index_2={"configuration":"b","webhook":"third.example.com","mutated":true}`,
		`Request patch.webhook.admission.k8s.io/round_1_index_0={"configuration":"a","webhook":"eager.example.com","patch":[{"op":"add","path":"/data/saw","value":"hookpluginhook"}],"patchType":"JSONPatch"}`,
		`Metadata mutation.webhook.admission.k8s.io/round_1_index_0={"configuration":"a","webhook":"eager.example.com","mutated":true}`,
	}
	if !reflect.DeepEqual(got, wantNotes) {
		t.Errorf("audit got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(wantNotes, "\n"))
	}
	// The same over HTTP has the warning, even where a later webhook refuses.
	s.handle("/no", s.review(func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) {
		out.Allowed, out.Warnings = false, []string{"and so was I"}
	}))
	k.validate("v", s.validating("no.example.com", "/no", maps))
	status, warnings, _ := k.ask("POST", "/api/v1/namespaces/default/configmaps", "application/json", `{"metadata":{"name":"n"},"data":{"x":"y"}}`)
	if status != 400 || !reflect.DeepEqual(warnings, []string{`299 - "third was here"`, `299 - "and so was I"`}) {
		t.Errorf("%d with warnings %q", status, warnings)
	}
}

// TestViewsAreMutated: webhooks change what was written to a subresource.
func TestViewsAreMutated(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	k.make(deployment("d"))
	k.make(pod("p"))
	s.handle("/scale", s.review(patch(`[{"op":"replace","path":"/spec/replicas","value":9}]`)))
	s.handle("/bind", s.review(patch(`[{"op":"add","path":"/metadata/annotations","value":{"by":"hook"}}]`)))
	k.mutate("c", s.mutating("a.example.com", "/scale", rule("apps", "v1", "deployments/scale")), s.mutating("b.example.com", "/bind", rule("", "v1", "pods/binding")))
	status, _, body := k.ask("PATCH", "/apis/apps/v1/namespaces/default/deployments/d/scale", "application/merge-patch+json", `{"spec":{"replicas":3}}`)
	if status != 200 || !strings.Contains(body, `"replicas":9`) {
		t.Errorf("scale: %d %s", status, body)
	}
	if status, _, body = k.ask("POST", "/api/v1/namespaces/default/pods/p/binding", "application/json", `{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}`); status != 201 {
		t.Errorf("binding: %d %s", status, body)
	}
	bound, err := k.Get(context.Background(), k.kind(pod("p")), "default", "p")
	if err != nil || bound.GetAnnotations()["by"] != "hook" {
		t.Errorf("bound %v, %v", bound.GetAnnotations(), err)
	}
}

// TestStreams: webhooks see what a stream was asked for, and may change it; a log is
// read, not connected to.
func TestStreams(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	k.make(pod("p"))
	s.handle("/x", s.review(patch(`[{"op":"add","path":"/command/-","value":"--safe"}]`)))
	k.mutate("c", s.mutating("a.example.com", "/x", rule("", "v1", "pods/*", admissionv1.Connect)))
	status, _, body := k.ask("POST", "/api/v1/namespaces/default/pods/p/exec?command=ls&command=-l&container=c&stdout=true", "", "")
	if status != 200 || body != "command=ls&command=-l&command=--safe&container=c&stdout=true" {
		t.Errorf("%d %s", status, body)
	}
	seen := s.take()
	if len(seen) != 1 || summary(seen[0]) != "CONNECT v1 PodExecOptions pods/exec default/p new v1.PodExecOptions old - -" {
		t.Errorf("webhooks saw %d requests, %s", len(seen), summary(seen[0]))
	}
	if status, _, body = k.ask("GET", "/api/v1/namespaces/default/pods/p/log?follow=true", "", ""); status != 200 || body != "follow=true" || len(s.take()) > 0 {
		t.Errorf("log: %d %s", status, body)
	}
}

// TestEvictionIsNoDeletion: a webhook for deletions is not asked about an eviction,
// one for evictions is.
func TestEvictionIsNoDeletion(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	s.handle("/no", s.review(func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) { out.Allowed = false }))
	s.handle("/yes", s.review(allow))
	k.make(pod("p"))
	k.validate("c", s.validating("a.example.com", "/no", rule("", "v1", "pods", admissionv1.Delete)), s.validating("b.example.com", "/yes", rule("", "v1", "pods/eviction", admissionv1.Create)))
	p := k.kind(pod("p"))
	if _, err := k.PostSub(context.Background(), p, "default", "p", "eviction", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p"}}); err != nil {
		t.Error(err)
	}
	if n := len(s.take()); n != 1 {
		t.Errorf("%d webhooks were asked", n)
	}
}

// TestManagedFields: a webhook that makes them unreadable is undone, with a warning.
func TestManagedFields(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	s.handle("/x", s.review(patch(`[{"op":"add","path":"/metadata/managedFields/0/fieldsType","value":"none"}]`)))
	k.mutate("c", s.mutating("a.example.com", "/x", rule("", "v1", "configmaps")))
	status, warnings, body := k.ask("POST", "/api/v1/namespaces/default/configmaps", "application/json", `{"metadata":{"name":"n"},"data":{"x":"y"}}`)
	if status != 201 || len(warnings) != 1 || !strings.Contains(warnings[0], ".metadata.managedFields was in an invalid state after admission") || !strings.Contains(body, `"f:data"`) {
		t.Errorf("%d %q %s", status, warnings, body)
	}
}

// TestMetrics: a call, a refusal and a failure are counted under Kubernetes' names.
func TestMetrics(t *testing.T) {
	k, s := newCluster(t), newServer(t)
	s.handle("/no", s.review(func(_ *admissionreview.AdmissionRequest, out *admissionreview.AdmissionResponse) { out.Allowed = false }))
	s.handle("/yes", s.review(allow))
	broken := s.mutating("broken.example.com", "/none", rule("", "v1", "configmaps"))
	broken.FailurePolicy = ptr.To(admissionv1.Ignore)
	k.mutate("c", broken, s.mutating("yes.example.com", "/yes", rule("", "v1", "configmaps")))
	k.validate("c", s.validating("no.example.com", "/no", rule("", "v1", "configmaps")))
	if _, err := k.create(configMap("m")); err == nil {
		t.Fatal("not refused")
	}
	families, err := k.tel.Metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, f := range families {
		for _, m := range f.Metric {
			text := f.GetName()
			for _, l := range m.Label {
				text += " " + l.GetValue()
			}
			got[text] = true
		}
	}
	for _, want := range []string{
		"apiserver_admission_webhook_request_total 404 broken.example.com CREATE false admit",
		"apiserver_admission_webhook_fail_open_count broken.example.com admit",
		"apiserver_admission_webhook_request_total 200 yes.example.com CREATE false admit",
		"apiserver_admission_webhook_request_total 400 no.example.com CREATE true validating",
		"apiserver_admission_webhook_rejection_count no_error no.example.com CREATE 400 validating",
		"apiserver_admission_webhook_admission_duration_seconds no.example.com CREATE true validating",
	} {
		if !got[want] {
			t.Errorf("no series %q", want)
		}
	}
}
