package apiserver_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skiff.dev/skiff/apiserver"
	"skiff.dev/skiff/apiserver/discovery"
	"skiff.dev/skiff/apiserver/openapi"
	"skiff.dev/skiff/kinds/all"
	"skiff.dev/skiff/kinds/scheme"
	"skiff.dev/skiff/store/mem"
)

// TestKubectl walks through kubectl's everyday verbs over plain HTTP.
func TestKubectl(t *testing.T) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("needs kubectl in the path: make bin/kubectl")
	}
	table := all.Table()
	docs := discovery.New(discovery.Options{Table: table, ServerAddress: "127.0.0.1:80"})
	apis := openapi.New(openapi.Options{Table: table, Version: "v1.36.3"})
	s := mem.New()
	defer s.Close()
	srv, err := apiserver.New(context.Background(), apiserver.Options{
		Store: s, Table: table, Scheme: scheme.New(), OldVersions: true,
		Paths: []apiserver.PathHandler{
			{Path: "/api", Handler: docs}, {Path: "/api/", Handler: docs}, {Path: "/apis", Handler: docs}, {Path: "/apis/", Handler: docs},
			{Path: "/openapi/", Handler: apis},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	h := httptest.NewServer(srv.Handler())
	defer h.Close()
	dir := t.TempDir()
	run := func(stdin string, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, kubectl, append([]string{"--server", h.URL, "--cache-dir", dir}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(dir, "none"), "HOME="+dir)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: i}]}
`
	steps := []struct {
		args  string
		stdin string
		want  string
	}{
		{args: "version", want: "Server Version: v1.36.3+skiff"},
		{args: "get namespaces", want: "kube-system"},
		{args: "create configmap c --from-literal=a=b", want: "configmap/c created"},
		{args: "get configmap c -o yaml", want: "a: b"},
		{args: "get cm", want: "NAME"},
		{args: "apply -f -", stdin: deployment, want: "deployment.apps/web created"},
		{args: "apply -f -", stdin: deployment, want: "deployment.apps/web unchanged"},
		{args: "apply --dry-run=server -f -", stdin: deployment, want: "unchanged (server dry run)"},
		{args: "apply --server-side --force-conflicts -f -", stdin: deployment, want: "serverside-applied"},
		{args: "get deploy,cm -o wide", want: "deployment.apps/web"},
		{args: "scale deploy web --replicas=5", want: "scaled"},
		{args: "get deploy web -o jsonpath={.spec.replicas}", want: "5"},
		{args: "patch deploy web -p {\"spec\":{\"paused\":true}}", want: "patched"},
		{args: "patch deploy web --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/paused\"}]", want: "patched"},
		{args: "label cm c x=y", want: "labeled"},
		{args: "get cm -l x=y --no-headers", want: "c "},
		{args: "annotate cm c note=hello", want: "annotated"},
		{args: "expose deploy web --port=80", want: "exposed"},
		{args: "get svc web -o jsonpath={.spec.clusterIP}", want: "10.96."},
		{args: "set image deploy/web c=j", want: "image updated"},
		{args: "describe deploy web", want: "Image:"},
		{args: "run p --image=i", want: "pod/p created"},
		{args: "get pods", want: "Pending"},
		{args: "explain deployment.spec.replicas", want: "FIELD: replicas"},
		{args: "api-resources", want: "deployments"},
		{args: "auth can-i create pods", want: "yes"},
		{args: "delete pod p --force --grace-period=0", want: "force deleted"},
		{args: "delete deploy web", want: "deleted"},
		{args: "get all", want: "service/web"},
		{args: "delete cm --all", want: `"c" deleted`},
		{args: "get events", want: "No resources found"},
	}
	for _, step := range steps {
		out, err := run(step.stdin, strings.Fields(step.args)...)
		if err != nil || !strings.Contains(out, step.want) {
			t.Errorf("kubectl %s: %v, want %q in\n%s", step.args, err, step.want, out)
		}
	}
	if out, err := run("", "get", "pod", "none"); err == nil || !strings.Contains(out, `pods "none" not found`) {
		t.Errorf("get of what is not there: %v\n%s", err, out)
	}
}
