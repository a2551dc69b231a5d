package atrest

import (
	"encoding/base64"
	"strings"
	"testing"

	"skiff.dev/skiff/store/sealed"
)

type noFile struct{}

func (noFile) Name() string          { return "secrets.json" }
func (noFile) Read() ([]byte, error) { return nil, nil }
func (noFile) Write([]byte) error    { return nil }

func ring(t testing.TB) *sealed.Ring {
	t.Helper()
	r, err := sealed.OpenRing(noFile{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDefault(t *testing.T) {
	p := Default(ring(t))
	for key, want := range map[string]bool{
		"/registry/core/secrets/d/a": true, "/registry/core/secretsx/d/a": false, "/registry/core/configmaps/d/a": false,
		"/registry/example.com/secrets/d/a": false, "/skiff/sealing": false,
	} {
		if got := p(key) != nil; got != want {
			t.Errorf("%s: sealed %v", key, got)
		}
	}
}

func key(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }

func file(resources, providers string) string {
	return "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [" + resources + "]\n  providers: [" + providers + "]\n"
}

func TestConfiguration(t *testing.T) {
	raw := `
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, configmaps, pandas.awesome.bears.example]
  providers:
  - aescbc:
      keys:
      - {name: key1, secret: ` + key(32) + `}
      - {name: key2, secret: ` + key(16) + `}
  - identity: {}
- resources: ['*.apps']
  providers:
  - aesgcm: {keys: [{name: key1, secret: ` + key(24) + `}]}
- resources: ['*.*']
  providers:
  - secretbox: {keys: [{name: key1, secret: ` + key(32) + `}]}
`
	p, err := FromConfiguration([]byte(raw), ring(t))
	if err != nil {
		t.Fatal(err)
	}
	for key, prefix := range map[string]string{
		"/registry/core/secrets/d/a":                  "k8s:enc:aescbc:v1:key1:",
		"/registry/core/configmaps/d/a":               "k8s:enc:aescbc:v1:key1:",
		"/registry/awesome.bears.example/pandas/d/a":  "k8s:enc:aescbc:v1:key1:",
		"/registry/apps/deployments/d/a":              "k8s:enc:aesgcm:v1:key1:",
		"/registry/core/pods/d/a":                     "k8s:enc:secretbox:v1:key1:",
		"/registry/rbac.authorization.k8s.io/roles/x": "k8s:enc:secretbox:v1:key1:",
	} {
		stored, err := p(key).Seal(key, []byte("x"))
		if err != nil || !strings.HasPrefix(string(stored), prefix) {
			t.Errorf("%s: %q %v", key, stored, err)
		}
	}
	if p("/skiff/sealing") != nil {
		t.Error("a key that is no object's is sealed")
	}
}

// TestSecretsOfBeforeStayReadable under a file that does not name them.
func TestSecretsOfBeforeStayReadable(t *testing.T) {
	r := ring(t)
	const at = "/registry/core/secrets/d/a"
	stored, err := r.Seal(at, []byte("hidden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{
		file("configmaps", "{aesgcm: {keys: [{name: a, secret: "+key(32)+"}]}}"),
		file("secrets", "{aesgcm: {keys: [{name: a, secret: "+key(32)+"}]}}"),
	} {
		p, err := FromConfiguration([]byte(raw), r)
		if err != nil {
			t.Fatal(err)
		}
		if plain, _, err := p(at).Open(at, stored); err != nil || string(plain) != "hidden" {
			t.Errorf("%q %v", plain, err)
		}
	}
}

func TestBadConfigurations(t *testing.T) {
	good := "{aesgcm: {keys: [{name: a, secret: " + key(32) + "}]}}"
	for _, c := range []struct{ raw, want string }{
		{"x", "json"},
		{strings.Replace(file("secrets", good), "EncryptionConfiguration", "Other", 1), "not EncryptionConfiguration"},
		{"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n", "resources is empty"},
		{file("", good), "resources[0].resources is empty"},
		{file("secrets", ""), "resources[0].providers is empty"},
		{file("secrets", "{}"), "providers[0] names 0 providers"},
		{file("secrets", "{identity: {}, aesgcm: {keys: [{name: a, secret: "+key(32)+"}]}}"), "names 2 providers"},
		{file("secrets", "{aesgcm: {keys: []}}"), "providers[0].aesgcm.keys is empty"},
		{file("secrets", "{aesgcm: {keys: [{name: a, secret: "+key(31)+"}]}}"), "aesgcm.keys[0].secret: crypto/aes: invalid key size 31"},
		{file("secrets", "{secretbox: {keys: [{name: a, secret: "+key(16)+"}]}}"), "32 bytes"},
		{file("secrets", "{aescbc: {keys: [{name: a, secret: '!'}]}}"), "not base64"},
		{file("secrets", "{aescbc: {keys: [{name: '', secret: "+key(32)+"}]}}"), "name"},
		{file("secrets", "{aescbc: {keys: [{name: a, secret: "+key(32)+"}, {name: a, secret: "+key(32)+"}]}}"), "twice"},
		{file("secrets", "{kms: {name: x}}"), "not supported"},
		{file("secrets", good) + "more: 1\n", "more"},
		{file("'*'", good), "names no resource"},
		{file("'secrets.'", good), "names no resource"},
	} {
		_, err := FromConfiguration([]byte(c.raw), ring(t))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n  error %v, want %s", c.raw, err, c.want)
		}
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add([]byte(file("secrets", "{aesgcm: {keys: [{name: a, secret: "+key(32)+"}]}}, {identity: {}}")))
	r := ring(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := FromConfiguration(raw, r)
		if err != nil {
			return
		}
		const at = "/registry/core/secrets/d/a"
		stored, err := p(at).Seal(at, []byte("hidden"))
		if err != nil {
			t.Fatal(err)
		}
		if plain, _, err := p(at).Open(at, stored); err != nil || string(plain) != "hidden" {
			t.Errorf("%q %v", plain, err)
		}
	})
}
