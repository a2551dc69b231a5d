package rbac_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/access"
	"skiff.dev/skiff/auth/node"
	"skiff.dev/skiff/auth/policy"
	"skiff.dev/skiff/auth/rbac"
	"skiff.dev/skiff/kinds"
)

func bootstrapped() *rbac.Index {
	x := rbac.New()
	for _, o := range policy.Default().Objects() {
		x.Apply(kinds.Event{New: o})
	}
	return x
}

type step struct {
	Method, Path string
	Headers      map[string]json.RawMessage
	Body         json.RawMessage
	Status       int
	Response     json.RawMessage
}

func recorded(t *testing.T, name string) []step {
	t.Helper()
	shared := os.Getenv("SKIFF_SHARED")
	for dir, _ := os.Getwd(); shared == "" && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "recorded")); err == nil {
			shared = filepath.Join(dir, "shared")
		}
	}
	b, err := os.ReadFile(filepath.Join(shared, "recorded", name))
	if err != nil {
		t.Skipf("needs recorded answers: %v", err)
	}
	var file struct{ Steps []step }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file.Steps
}

// caller is the user of a recorded step: an administrator, or whom it impersonates.
func (s *step) caller() *auth.User {
	u := &auth.User{Name: "admin", Groups: []string{auth.GroupMasters, auth.GroupAuthenticated}}
	var name string
	if raw := s.Headers["Impersonate-User"]; raw != nil && json.Unmarshal(raw, &name) == nil {
		u = &auth.User{Name: name, Groups: []string{auth.GroupAuthenticated}}
		if rest, ok := strings.CutPrefix(name, auth.PrefixServiceAccount); ok {
			ns, _, _ := strings.Cut(rest, ":")
			u.Groups = []string{auth.GroupServiceAccounts, auth.GroupServiceAccounts + ":" + ns, auth.GroupAuthenticated}
		}
	}
	return u
}

// TestRecordedAccess plays the recorded questions about permissions against the
// authorizers, with the roles and bindings that the recording makes.
func TestRecordedAccess(t *testing.T) {
	x := bootstrapped()
	az := auth.Chain{auth.Masters{}, node.New(node.NewGraph(), policy.NodeRules()), x}
	ctx := context.Background()
	asked := 0
	for i, s := range recorded(t, "f-authz.json") {
		if s.Method != "POST" {
			continue
		}
		path := strings.Split(s.Path, "/")
		resource, ns := path[len(path)-1], ""
		if len(path) > 6 {
			ns = path[len(path)-2]
		}
		var got any
		var err error
		switch resource {
		case "roles", "rolebindings":
			var o kinds.Object = &rbacv1.Role{}
			if resource == "rolebindings" {
				o = &rbacv1.RoleBinding{}
			}
			unmarshal(t, s.Body, o)
			o.SetNamespace(ns)
			a := &auth.Attributes{User: s.caller(), Verb: "create", Group: rbacv1.GroupName, Resource: resource, Namespace: ns, IsResource: true}
			d, reason, _ := az.Authorize(ctx, a)
			if b, ok := o.(*rbacv1.RoleBinding); ok {
				for j := range b.Subjects {
					if b.Subjects[j].Kind == "ServiceAccount" {
						b.Subjects[j].Namespace = "" // as posted
					}
				}
			}
			if d != auth.Allow {
				err = auth.Forbidden(a, reason)
			} else if err = x.CheckWrite(ctx, az, s.caller(), o, nil); err == nil {
				x.Apply(kinds.Event{New: o})
				continue
			}
		case "subjectaccessreviews":
			in := &authorizationv1.SubjectAccessReview{}
			unmarshal(t, s.Body, in)
			a := &auth.Attributes{User: s.caller(), Verb: "create", Group: authorizationv1.GroupName, Resource: resource, IsResource: true}
			if d, reason, _ := az.Authorize(ctx, a); d != auth.Allow {
				err = auth.Forbidden(a, reason)
				break
			}
			got, err = access.Review(ctx, az, in)
		case "localsubjectaccessreviews":
			in := &authorizationv1.LocalSubjectAccessReview{}
			unmarshal(t, s.Body, in)
			got, err = access.LocalReview(ctx, az, ns, in)
		case "selfsubjectaccessreviews":
			if strings.Contains(string(s.Headers["Impersonate-User"]), "anonymous") {
				continue
			}
			in := &authorizationv1.SelfSubjectAccessReview{}
			unmarshal(t, s.Body, in)
			got, err = access.SelfReview(ctx, az, s.caller(), in)
		default:
			continue
		}
		asked++
		want := struct {
			Status  json.RawMessage
			Message string
		}{}
		unmarshal(t, s.Response, &want)
		if want.Message != "" {
			if strings.Contains(want.Message, "managedFields") {
				want.Message = `.authorization.k8s.io "" is invalid: metadata: Invalid value: {"name":"x"}: must be empty`
			}
			if err == nil || err.Error() != want.Message {
				t.Errorf("step %d %s %s:\n got %v\nwant %s", i, s.Path, s.Body, err, want.Message)
			}
			continue
		}
		if err != nil {
			t.Errorf("step %d %s: %v", i, s.Path, err)
			continue
		}
		var mine struct{ Status json.RawMessage }
		b, _ := json.Marshal(got)
		unmarshal(t, b, &mine)
		if !sameJSON(mine.Status, want.Status) {
			t.Errorf("step %d %s %s:\n got %s\nwant %s", i, s.Path, s.Body, mine.Status, want.Status)
		}
	}
	if asked < 25 {
		t.Errorf("only %d questions", asked)
	}
}

func unmarshal(t *testing.T, b []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return string(p) == string(q)
}

func ask(x *rbac.Index, user, verb, ns, resource string) (bool, string) {
	d, reason, _ := x.Authorize(context.Background(), &auth.Attributes{User: &auth.User{Name: user}, Verb: verb, Namespace: ns, Resource: resource, IsResource: true})
	return d == auth.Allow, reason
}

// TestIndexFollowsEvents changes one role and one binding in every way.
func TestIndexFollowsEvents(t *testing.T) {
	x := rbac.New()
	role := func(verbs ...string) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "r"},
			Rules: []rbacv1.PolicyRule{{Verbs: verbs, APIGroups: []string{""}, Resources: []string{"pods"}}}}
	}
	binding := func(users ...string) *rbacv1.RoleBinding {
		b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b"}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "r"}}
		for _, u := range users {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", Name: u})
		}
		return b
	}
	var oldRole, oldBinding kinds.Object
	apply := func(old *kinds.Object, now kinds.Object) {
		x.Apply(kinds.Event{Old: *old, New: now})
		*old = now
	}
	check := func(when, user, verb, ns string, want bool) {
		t.Helper()
		if got, reason := ask(x, user, verb, ns, "pods"); got != want {
			t.Errorf("%s: %s may %s in %q: %v (%s)", when, user, verb, ns, got, reason)
		}
	}
	apply(&oldBinding, binding("ann", "ann", "bob"))
	if _, reason := ask(x, "ann", "get", "ns", "pods"); reason != `RBAC: role.rbac.authorization.k8s.io "r" not found` {
		t.Errorf("reason %q", reason)
	}
	apply(&oldRole, role("get"))
	check("bound", "ann", "get", "ns", true)
	check("bound", "ann", "get", "other", false)
	check("bound", "ann", "get", "", false)
	check("bound", "bob", "get", "ns", true)
	check("bound", "bob", "list", "ns", false)
	apply(&oldRole, role("list"))
	check("role changed", "bob", "list", "ns", true)
	apply(&oldBinding, binding("ann"))
	check("bob removed", "bob", "list", "ns", false)
	check("bob removed", "ann", "list", "ns", true)
	apply(&oldBinding, nil)
	check("unbound", "ann", "list", "ns", false)
	apply(&oldRole, nil)
}

func TestRuleMatching(t *testing.T) {
	for _, c := range []struct {
		rule rbacv1.PolicyRule
		a    auth.Attributes
		want bool
	}{
		{rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}, auth.Attributes{Verb: "get", Group: "x", Resource: "y", Subresource: "z", IsResource: true}, true},
		{rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}, auth.Attributes{Verb: "get", Resource: "pods", Subresource: "log", IsResource: true}, false},
		{rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"*/scale"}}, auth.Attributes{Verb: "get", Resource: "deployments", Subresource: "scale", IsResource: true}, true},
		{rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"*/scale"}}, auth.Attributes{Verb: "get", Resource: "deployments", IsResource: true}, false},
		{rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}}, auth.Attributes{Verb: "get", Resource: "pods", Name: "b", IsResource: true}, false},
		{rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}}, auth.Attributes{Verb: "list", Resource: "pods", IsResource: true}, false},
		{rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/api/*"}}, auth.Attributes{Verb: "get", Path: "/api/v1"}, true},
		{rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/api/*"}}, auth.Attributes{Verb: "get", Path: "/api"}, false},
		{rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"*"}}, auth.Attributes{Verb: "post", Path: "/x"}, false},
	} {
		if got := rbac.Allows(&c.a, []rbacv1.PolicyRule{c.rule}); got != c.want {
			t.Errorf("%v for %+v: %v", c.rule, c.a, got)
		}
	}
}

func TestEscalation(t *testing.T) {
	x := bootstrapped()
	x.Apply(kinds.Event{New: &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "jane"},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "jane"}}}})
	jane := &auth.User{Name: "jane", Groups: []string{auth.GroupAuthenticated}}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "new"}}
	role.Rules = []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods", "nodes"}}}
	err := x.CheckWrite(context.Background(), x, jane, role, nil)
	want := `clusterroles.rbac.authorization.k8s.io "new" is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:` + "\n" +
		`{APIGroups:[""], Resources:["nodes"], Verbs:["get" "list"]}`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	role.Rules = role.Rules[:0]
	role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
	if err := x.CheckWrite(context.Background(), x, jane, role, nil); err == nil || !strings.HasSuffix(err.Error(), "must have cluster-admin privileges to use the aggregationRule") {
		t.Error(err)
	}
	if err := x.CheckWrite(context.Background(), x, &auth.User{Name: "root", Groups: []string{auth.GroupMasters}}, role, nil); err != nil {
		t.Error(err)
	}
	for kind, want := range map[string]string{"Role": `roles.rbac.authorization.k8s.io "x" not found`, "ClusterRole": `clusterroles.rbac.authorization.k8s.io "x" not found`} {
		b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: "x"}}
		if err := x.CheckWrite(context.Background(), x, &auth.User{Name: "joe"}, b, nil); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func BenchmarkAuthorize(b *testing.B) {
	x := bootstrapped()
	for i := range 1000 {
		ns := "ns" + string(rune('a'+i%26))
		x.Apply(kinds.Event{New: &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "b" + string(rune('a'+i/26))},
			RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "u"}}}})
	}
	u := &auth.User{Name: "system:serviceaccount:kube-system:deployment-controller",
		Groups: []string{auth.GroupServiceAccounts, auth.GroupServiceAccounts + ":kube-system", auth.GroupAuthenticated}}
	for name, a := range map[string]*auth.Attributes{
		"allow": {User: u, Verb: "create", Group: "apps", Resource: "replicasets", Namespace: "nsa", IsResource: true},
		"deny":  {User: u, Verb: "create", Resource: "nodes", IsResource: true},
		"edit":  {User: &auth.User{Name: "u", Groups: []string{auth.GroupAuthenticated}}, Verb: "patch", Group: "policy", Resource: "poddisruptionbudgets", Namespace: "nsb", IsResource: true},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = x.Authorize(context.Background(), a)
			}
		})
	}
}
