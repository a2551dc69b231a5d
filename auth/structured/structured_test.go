package structured

import (
	"strings"
	"testing"
)

const (
	authn = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	authz = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n"
	hook  = "{type: Webhook, name: h, webhook: {timeout: 3s, subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, failurePolicy: NoOpinion, authorizedTTL: 5m, unauthorizedTTL: 30s, connectionInfo: {type: InClusterConfig}"
)

func TestAuthentication(t *testing.T) {
	jwt := func(issuer, more string) string {
		return authn + "jwt: [{issuer: {" + issuer + "}, claimMappings: {username: {claim: sub, prefix: \"\"}" + more + "}}]"
	}
	for _, c := range []struct{ text, want string }{
		{authn, ""},
		{strings.Replace(authn, "/v1\n", "/v1beta1\n", 1), ""},
		{authn + "anonymous: {enabled: true, conditions: [{path: /healthz}]}", ""},
		{authn + "anonymous: {enabled: false, conditions: [{path: /healthz}]}", "anonymous.conditions: Invalid value"},
		{jwt("url: \"https://i\", audiences: [a]", ""), ""},
		{jwt("url: \"https://own\", audiences: [a]", ""), "jwt[0].issuer.url: Invalid value"},
		{jwt("url: \"http://i\", audiences: [a]", ""), "jwt[0].issuer.url: Invalid value"},
		{jwt("url: \"https://i\", audiences: [a, b]", ""), "jwt[0].issuer.audienceMatchPolicy"},
		{jwt("url: \"https://i\", audiences: [a], egressSelectorType: cluster", ""), "jwt[0].issuer.egressSelectorType: Invalid value: \"cluster\": there are no egress selectors here"},
		{jwt("url: \"https://i\", audiences: [a]", ", uid: {expression: \"claims.\"}"), "jwt[0].claimMappings.uid.expression"},
		{jwt("url: \"https://i\", audiences: [a]", ", uids: {}"), `unknown field "jwt[0].claimMappings.uids"`},
		{authz, "expected kind AuthenticationConfiguration, got apiserver.config.k8s.io/v1, Kind=AuthorizationConfiguration"},
		{"kind: X", "Object 'apiVersion' is missing"},
		{strings.Repeat(" ", maxFile+1), "more than 1048576 bytes"},
	} {
		_, err := Authentication([]byte(c.text), "https://own")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.300s\ngot %v\nwant %q", c.text, err, c.want)
		}
	}
}

func TestAuthorization(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{authz + "authorizers: [{type: Node, name: node}, {type: RBAC, name: r}]", ""},
		{authz, "authorizers: Required value: at least one authorization mode must be defined"},
		{authz + "authorizers: [{type: ABAC, name: node}]", `authorizers[0].type: Unsupported value: "ABAC"`},
		{authz + "authorizers: [{type: RBAC, name: r}, {type: RBAC, name: s}]", "authorizers[1].type: Duplicate value"},
		{authz + "authorizers: [" + hook + "}}]", ""},
		{authz + "authorizers: [" + hook + ", matchConditions: [{expression: \"request.user == 'x'\"}]}}]", ""},
		{authz + "authorizers: [" + hook + ", matchConditions: [{expression: \"request.\"}]}}]", "authorizers[0].matchConditions[0].expression"},
		{authz + "authorizers: [" + strings.Replace(hook, "timeout: 3s", "timeout: 3h", 1) + "}}]", "authorizers[0].timeout"},
	} {
		_, err := Authorization([]byte(c.text))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.300s\ngot %v\nwant %q", c.text, err, c.want)
		}
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte(authn + "jwt: [{issuer: {url: \"https://i\", audiences: [a]}, claimMappings: {username: {expression: claims.sub}}}]"))
	f.Add([]byte(authz + "authorizers: [" + hook + ", matchConditions: [{expression: \"request.user == 'x'\"}]}}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := Authorization(b); err == nil && len(c.Authorizers) == 0 {
			t.Error("nobody decides")
		}
		if c, err := Authentication(b); err == nil && c == nil {
			t.Error("neither a configuration nor an error")
		}
	})
}
