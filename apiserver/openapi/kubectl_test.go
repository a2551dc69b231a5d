package openapi_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/apiserver/admit"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/authn"
	"skiff.dev/skiff/auth/node"
	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/auth/policy"
	"skiff.dev/skiff/auth/rbac"
	"skiff.dev/skiff/kinds"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
)

// cluster is an API server with everything that kubectl asks for, and kubectl.
type cluster struct {
	t          *testing.T
	kubeconfig string
	home       string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if _, err := exec.LookPath("kubectl"); err != nil {
		t.Skip("needs kubectl in the path: make bin/kubectl")
	}
	dir := t.TempDir()
	server := httptest.NewUnstartedServer(nil)
	m, err := pki.Ensure(filepath.Join(dir, "pki"), pki.Options{NodeName: "n", Server: "https://" + server.Listener.Addr().String(),
		AdminKubeconfig: filepath.Join(dir, "admin.kubeconfig")})
	if err != nil {
		t.Fatal(err)
	}
	rules := rbac.New()
	for _, o := range policy.Default().Objects() {
		rules.Apply(kinds.Event{New: o})
	}
	may := auth.Chain{auth.Masters{}, node.New(node.NewGraph(), policy.NodeRules()), rules}
	table := all.Table()
	groups := discovery.New(discovery.Options{Table: table, ServerAddress: server.Listener.Addr().String()})
	store := mem.New()
	t.Cleanup(func() { store.Close() })
	api, err := apiserver.New(context.Background(), apiserver.Options{
		Store: store, Table: table, Scheme: scheme.New(), OldVersions: true,
		Authenticator: authn.WithAnonymous{Authenticator: authn.NewCertificates(func() *x509.CertPool { return m.CA.Pool() }, nil)},
		Authorizer:    may, Rules: rules,
		Admission: chain(may, rules),
		Paths: []apiserver.PathHandler{{Path: "/api", Handler: groups}, {Path: "/apis", Handler: groups}, {Path: "/api/", Handler: groups}, {Path: "/apis/", Handler: groups},
			{Path: "/openapi/", Handler: openapi.New(openapi.Options{Table: table, Version: "v1.36.3"})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	server.Config.Handler = api.Handler()
	server.TLS = &tls.Config{Certificates: []tls.Certificate{m.Serving.TLS()}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"h2", "http/1.1"}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return &cluster{t, filepath.Join(dir, "admin.kubeconfig"), dir}
}

// chain leaves out what needs a service account, which a controller makes.
func chain(may auth.Authorizer, rules *rbac.Index) admission.Chain {
	var out admission.Chain
	for _, p := range admit.Default(admit.Options{Rules: rules, Authorizer: may}) {
		if p.Name() != "ServiceAccount" {
			out = append(out, p)
		}
	}
	return out
}

// kubectl runs one command; failing is an answer too.
func (c *cluster) kubectl(stdin string, args ...string) (out string, ok bool) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "kubectl", append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+c.home)
	cmd.Stdin = strings.NewReader(stdin)
	b, err := cmd.CombinedOutput()
	return string(b), err == nil
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: a, image: i, ports: [{containerPort: 80}]}
`

// TestKubectl has the real client use the documents.
func TestKubectl(t *testing.T) {
	c := newCluster(t)
	for _, x := range []struct {
		stdin string
		args  string
		fails bool
		want  []string
	}{
		{args: "explain pod.spec.containers", want: []string{"KIND:       Pod", "VERSION:    v1", "FIELD: containers <[]Container>", "imagePullPolicy\t<string>", "enum: Always, IfNotPresent, Never", "-required-"}},
		{args: "explain deployments --recursive", want: []string{"GROUP:      apps", "VERSION:    v1", "progressDeadlineSeconds"}},
		{args: "explain ingress.spec.rules", want: []string{"GROUP:      networking.k8s.io"}},
		{args: "explain cronjob.spec.schedule", want: []string{"FIELD: schedule <string>"}},
		{args: "explain pod.spec.bananas", fails: true, want: []string{`field "bananas" does not exist`}},
		{args: "api-resources --no-headers", want: []string{"deployments", "deploy", "apps/v1", "poddisruptionbudgets"}},
		{stdin: strings.Replace(deployment, "replicas: 2", "replicaz: 2", 1), args: "create --validate=strict -f -", fails: true, want: []string{`unknown field "spec.replicaz"`}},
		{stdin: strings.Replace(deployment, "replicas: 2", "replicas: two", 1), args: "create -f -", fails: true},
		{stdin: deployment, args: "apply -f -", want: []string{"deployment.apps/web created"}},
		{stdin: deployment, args: "apply -f -", want: []string{"deployment.apps/web unchanged"}},
		{stdin: strings.Replace(deployment, "replicas: 2", "replicas: 3", 1), args: "diff -f -", fails: true, want: []string{"-  replicas: 2", "+  replicas: 3"}},
		{stdin: strings.Replace(deployment, "containerPort: 80", "containerPort: 81", 1), args: "apply -f -", want: []string{"deployment.apps/web configured"}},
		{args: "get deploy web -o jsonpath={.spec.template.spec.containers[*].ports[*].containerPort}", want: []string{"81"}},
		{stdin: deployment, args: "apply --server-side --force-conflicts -f -", want: []string{"serverside-applied"}},
		{stdin: deployment, args: "create --dry-run=server -f -", fails: true, want: []string{"already exists"}},
		{args: "auth whoami", want: []string{"kubernetes-admin", "system:masters"}},
		{args: "auth can-i delete nodes", want: []string{"yes"}},
		{args: "auth can-i get pods --as jane", fails: true, want: []string{"no"}},
		{args: "auth can-i --list --as jane", want: []string{"selfsubjectaccessreviews.authorization.k8s.io", "/healthz"}},
		{args: "get pods --as jane", fails: true, want: []string{`Error from server (Forbidden): pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default"`}},
	} {
		t.Run(x.args, func(t *testing.T) {
			out, ok := c.kubectl(x.stdin, strings.Fields(x.args)...)
			if ok == x.fails {
				t.Errorf("succeeded: %v", ok)
			}
			for _, w := range x.want {
				if !strings.Contains(out, w) {
					t.Errorf("%q is not in\n%s", w, out)
				}
			}
		})
	}
}
