package platform

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// asker asks the API of a cluster over TLS.
type asker struct {
	t   *testing.T
	url string
	*http.Client
}

func (c *cluster) asker(t *testing.T, certPEM, keyPEM []byte) *asker {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(c.data, "pki", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	conf.RootCAs.AppendCertsFromPEM(ca)
	if certPEM != nil {
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	url := must(t)(c.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"))
	return &asker{t, url, &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}}
}

// get returns an answer's code and body.
func (a *asker) get(path string, headers ...string) string {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.url+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	res, err := a.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode, " ", string(b))
}

const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, resources: [{group: "", resources: [secrets]}]}
- {level: RequestResponse, resources: [{group: "", resources: [configmaps]}], namespaces: [default]}
- {level: Metadata}
`

// TestWhoAndWhat: who asks, what they may do and what is recorded of it, with the
// configuration in files and a webhook that decides.
func TestWhoAndWhat(t *testing.T) {
	var asked atomic.Int32
	var allow atomic.Bool
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprintf(w, `{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","status":{"allowed":%v,"reason":"the webhook's will"}}`, allow.Load())
	}))
	defer hook.Close()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}))
	kubeconfig := write("hook.yaml", fmt.Sprintf(`{"clusters":[{"name":"c","cluster":{"server":%q,"certificate-authority-data":%q}}],"contexts":[{"name":"x","context":{"cluster":"c"}}],"current-context":"x"}`, hook.URL, ca))
	const base = `
apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- {type: RBAC, name: rbac}
`
	authorization := write("authorization.yaml", base+`
- type: Webhook
  name: hook
  webhook:
    timeout: 3s
    authorizedTTL: 10ms
    unauthorizedTTL: 10ms
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: `+kubeconfig+`}
    matchConditions: [{expression: "request.user == 'jane'"}]
`)
	log := filepath.Join(dir, "log", "audit.log")
	c := own(t, "--authorization-config", authorization, "--token-auth-file", write("tokens.csv", "t-jane,jane,7,\"devs\"\nt-joe,joe,8\n"),
		"--audit-policy-file", write("policy.yaml", auditPolicy), "--audit-log-path", log)
	run := must(t)

	t.Run("a certificate that was approved works", func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "max", Organization: []string{"devs"}}}, key)
		if err != nil {
			t.Fatal(err)
		}
		request := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
		c.apply(t, "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: max}\nspec: {signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], request: "+
			base64.StdEncoding.EncodeToString(request)+"}\n")
		if out := run(c.kubectl("get", "csr", "max", "--no-headers")); !strings.Contains(out, "kubernetes-admin") || !strings.Contains(out, "Pending") {
			t.Errorf("before: %s", out)
		}
		run(c.kubectl("certificate", "approve", "max"))
		run(c.kubectl("wait", "csr", "max", "--for=jsonpath={.status.certificate}", "--timeout=30s"))
		certPEM, err := base64.StdEncoding.DecodeString(run(c.kubectl("get", "csr", "max", "-o", "jsonpath={.status.certificate}")))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		max := c.asker(t, certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
		if got := max.get("/api/v1/pods"); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, `User \"max\"`) {
			t.Errorf("without a right: %s", got)
		}
		run(c.kubectl("create", "clusterrolebinding", "devs", "--clusterrole=view", "--group=devs"))
		if got := max.get("/api/v1/pods"); !strings.HasPrefix(got, "200 ") {
			t.Errorf("with a right of its group: %s", got)
		}
		run(c.kubectl("delete", "clusterrolebinding", "devs"))
	})

	t.Run("a front proxy speaks for others", func(t *testing.T) {
		read := func(name string) []byte {
			b, err := os.ReadFile(filepath.Join(c.data, "pki", name))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		proxy := c.asker(t, read("front-proxy-client.crt"), read("front-proxy-client.key"))
		if got := proxy.get("/api/v1/pods", "X-Remote-User", "max", "X-Remote-Group", "system:masters"); !strings.HasPrefix(got, "200 ") {
			t.Errorf("%s", got)
		}
		if got := c.asker(t, nil, nil).get("/api/v1/pods", "X-Remote-User", "max", "X-Remote-Group", "system:masters"); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, "system:anonymous") {
			t.Errorf("headers of anybody: %s", got)
		}
	})

	plain := c.asker(t, nil, nil)
	as := func(token string) string { return plain.get("/api/v1/nodes", "Authorization", "Bearer "+token) }
	t.Run("the webhook decides", func(t *testing.T) {
		if got := as("t-jane"); !strings.HasPrefix(got, "403 ") || !strings.Contains(got, "the webhook's will") {
			t.Errorf("%s", got)
		}
		allow.Store(true)
		time.Sleep(20 * time.Millisecond) // the answer's own time is over
		if got := as("t-jane"); !strings.HasPrefix(got, "200 ") {
			t.Errorf("%s", got)
		}
		before := asked.Load()
		if got := as("t-joe"); !strings.HasPrefix(got, "403 ") || asked.Load() != before {
			t.Errorf("asked about somebody whom it is not for: %s", got)
		}
		if got := as("t-max"); !strings.HasPrefix(got, "401 ") {
			t.Errorf("an unknown token: %s", got)
		}
	})
	t.Run("the file changes", func(t *testing.T) {
		write("authorization.yaml", base)
		end := time.Now().Add(30 * time.Second)
		for strings.HasPrefix(as("t-jane"), "200 ") {
			if time.Now().After(end) {
				t.Fatal("the webhook is still asked")
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	t.Run("all of it is recorded", func(t *testing.T) {
		run(c.kubectl("create", "secret", "generic", "s", "--from-literal=p=hidden-word"))
		run(c.kubectl("create", "configmap", "c", "--from-literal=p=shown-word"))
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		if i, err := os.Stat(log); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", i.Mode(), err)
		}
		for _, want := range []string{`"authorization.k8s.io/decision":"forbid","authorization.k8s.io/reason":"the webhook's will"`, `"shown-word"`, `"resource":"secrets"`, `"username":"max"`, `"resource":"certificatesigningrequests"`, `"subresource":"approval"`} {
			if !bytes.Contains(b, []byte(want)) {
				t.Errorf("nothing of %s", want)
			}
		}
		if secret := base64.StdEncoding.EncodeToString([]byte("hidden-word")); bytes.Contains(b, []byte("hidden-word")) || bytes.Contains(b, []byte(secret)) {
			t.Error("the secret is in the log")
		}
	})
}
