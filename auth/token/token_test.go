package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const api = "https://kubernetes.default.svc"

// world is a fake of Objects: name to object, namespace "ns" throughout.
type world struct {
	sa     map[string]*v1.ServiceAccount
	pod    map[string]*v1.Pod
	secret map[string]*v1.Secret
	node   map[string]*v1.Node
}

func get[T any](m map[string]*T, k string) (*T, bool) { o, ok := m[k]; return o, ok }

func (w *world) ServiceAccount(_, n string) (*v1.ServiceAccount, bool) { return get(w.sa, n) }
func (w *world) Pod(_, n string) (*v1.Pod, bool)                       { return get(w.pod, n) }
func (w *world) Secret(_, n string) (*v1.Secret, bool)                 { return get(w.secret, n) }
func (w *world) Node(n string) (*v1.Node, bool)                        { return get(w.node, n) }

func newWorld() *world {
	meta := func(name, uid string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + uid)}
	}
	return &world{
		sa: map[string]*v1.ServiceAccount{"app": {ObjectMeta: meta("app", "sa")}, "other": {ObjectMeta: meta("other", "sa2")}},
		pod: map[string]*v1.Pod{"p": {ObjectMeta: meta("p", "p"), Spec: v1.PodSpec{ServiceAccountName: "app", NodeName: "n"}},
			"q": {ObjectMeta: meta("q", "q"), Spec: v1.PodSpec{ServiceAccountName: "other"}}},
		secret: map[string]*v1.Secret{"s": {ObjectMeta: meta("s", "s")}},
		node:   map[string]*v1.Node{"n": {ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "uid-n"}}},
	}
}

type fixture struct {
	*world
	now  time.Time
	svc  *Service
	auth *Authenticator
}

func newFixture(t testing.TB, key crypto.Signer) *fixture {
	t.Helper()
	if key == nil {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key = k
	}
	i, err := NewIssuer(api, key)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{world: newWorld(), now: time.Unix(1_800_000_000, 0)}
	clock := func() time.Time { return f.now }
	f.svc = &Service{Issuer: i, Audiences: []string{api}, Objects: f.world, Now: clock}
	f.auth = NewAuthenticator(i, []string{api}, f.world, clock)
	return f
}

func request(kind, name string, seconds int64, audiences ...string) *authenticationv1.TokenRequest {
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	if kind != "" {
		r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}
	}
	if seconds != 0 {
		r.Spec.ExpirationSeconds = &seconds
	}
	return r
}

func (f *fixture) issue(t testing.TB, r *authenticationv1.TokenRequest) string {
	t.Helper()
	out, _, err := f.svc.Request("ns", "app", r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out.Status.Token
}

func TestRoundTrip(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ES256": nil, "RS256": rsaKey, "ES512": p521} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, key)
			token := f.issue(t, request("Pod", "p", 0))
			for range 2 { // the second time from memory
				u, matched, ok, err := f.auth.AuthenticateToken(token, nil)
				if err != nil || !ok {
					t.Fatal(ok, err)
				}
				if u.Name != "system:serviceaccount:ns:app" || u.UID != "uid-sa" || strings.Join(u.Groups, " ") != "system:serviceaccounts system:serviceaccounts:ns" {
					t.Errorf("user %+v", u)
				}
				if u.Extra["authentication.kubernetes.io/pod-uid"][0] != "uid-p" || u.Extra["authentication.kubernetes.io/node-uid"][0] != "uid-n" ||
					!strings.HasPrefix(u.Extra["authentication.kubernetes.io/credential-id"][0], "JTI=") {
					t.Errorf("extra %v", u.Extra)
				}
				if len(matched) != 1 || matched[0] != api {
					t.Errorf("audiences %v", matched)
				}
			}
		})
	}
}

func TestClaims(t *testing.T) {
	f := newFixture(t, nil)
	p, err := parse(f.issue(t, request("Pod", "p", warnOnlyExpiration)))
	if err != nil {
		t.Fatal(err)
	}
	c := p.claims
	if int64(c.Expiry)-f.now.Unix() != extendedExpiration || int64(c.Private.WarnAfter)-f.now.Unix() != warnOnlyExpiration {
		t.Errorf("expiry %d, warnafter %d", c.Expiry, c.Private.WarnAfter)
	}
	c.ID = ""
	got, _ := json.Marshal(c)
	want := `{"aud":["https://kubernetes.default.svc"],"exp":1831536000,"iat":1800000000,"iss":"https://kubernetes.default.svc",` +
		`"kubernetes.io":{"namespace":"ns","node":{"name":"n","uid":"uid-n"},"pod":{"name":"p","uid":"uid-p"},` +
		`"serviceaccount":{"name":"app","uid":"uid-sa"},"warnafter":1800003607},"nbf":1800000000,"sub":"system:serviceaccount:ns:app"}`
	if string(got) != want {
		t.Errorf("claims\n%s, want\n%s", got, want)
	}
}

func TestRequestRefusals(t *testing.T) {
	bad := request("Pod", "p", 0)
	bad.Spec.BoundObjectRef.UID = "else"
	named := request("", "", 0)
	named.Name = "x"
	uid := request("", "", 0)
	uid.UID = "x"
	for _, c := range []struct {
		name, sa string
		in       *authenticationv1.TokenRequest
		want     string
	}{
		{"no account", "nobody", request("", "", 0), `serviceaccounts "nobody" not found`},
		{"too short", "app", request("", "", 60), `TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes`},
		{"too long", "app", request("", "", 1<<33), `TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 8589934592: may not specify a duration larger than 2^32 seconds`},
		{"no pod", "app", request("Pod", "x", 0), `pods "x" not found`},
		{"another's pod", "app", request("Pod", "q", 0), `cannot bind token for serviceaccount "app" to pod running with different serviceaccount name.`},
		{"another uid", "app", bad, `Operation cannot be fulfilled on Pod "p": the UID in the bound object reference (else) does not match the UID in record. The object might have been deleted and then recreated`},
		{"unknown kind", "app", request("Banana", "x", 0), `cannot bind token to object of type /v1, Kind=Banana`},
		{"another name", "app", named, `TokenRequest.authentication.k8s.io "app" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified`},
		{"another account", "app", uid, `Operation cannot be fulfilled on TokenRequest.authentication.k8s.io "app": the UID in the token request (x) does not match the UID of the service account (uid-sa)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := newFixture(t, nil).svc.Request("ns", c.sa, c.in, nil)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestAdmissionSeesWhatWasAskedFor(t *testing.T) {
	f := newFixture(t, nil)
	out, _, err := f.svc.Request("ns", "app", request("", "", 0), func(r *authenticationv1.TokenRequest) error {
		if len(r.Spec.Audiences) != 0 || *r.Spec.ExpirationSeconds != 3600 || r.Name != "app" {
			t.Errorf("%+v", r)
		}
		return nil
	})
	if err != nil || len(out.Spec.Audiences) != 1 {
		t.Errorf("%+v %v", out, err)
	}
}

func TestMaxExpirationWarns(t *testing.T) {
	f := newFixture(t, nil)
	f.svc.MaxExpiration = 2 * time.Hour
	out, warnings, err := f.svc.Request("ns", "app", request("", "", 86400), nil)
	if err != nil || *out.Spec.ExpirationSeconds != 7200 || len(warnings) != 1 || warnings[0] != "requested expiration of 86400 seconds shortened to 7200 seconds" {
		t.Error(out, warnings, err)
	}
}

func TestTokensEnd(t *testing.T) {
	old := metav1.NewTime(time.Unix(1_700_000_000, 0))
	for _, c := range []struct {
		name string
		in   *authenticationv1.TokenRequest
		do   func(f *fixture)
		want string
	}{
		{"expired", request("", "", 600), func(f *fixture) { f.now = f.now.Add(12 * time.Minute) }, "service account token has expired"},
		{"within the leeway", request("", "", 600), func(f *fixture) { f.now = f.now.Add(10*time.Minute + 30*time.Second) }, ""},
		{"clock behind", request("", "", 0), func(f *fixture) { f.now = f.now.Add(-2 * time.Minute) }, "service account token is not valid yet"},
		{"account gone", request("", "", 0), func(f *fixture) { delete(f.sa, "app") }, `serviceaccounts "app" not found`},
		{"account again", request("", "", 0), func(f *fixture) { f.sa["app"] = &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{UID: "new"}} }, "service account UID (new) does not match claim (uid-sa)"},
		{"pod gone", request("Pod", "p", 0), func(f *fixture) { delete(f.pod, "p") }, "service account token has been invalidated"},
		{"pod again", request("Pod", "p", 0), func(f *fixture) { f.pod["p"] = &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "new"}} }, "pod UID (new) does not match service account pod ref claim (uid-p)"},
		{"pod long deleted", request("Pod", "p", 0), func(f *fixture) { f.pod["p"].DeletionTimestamp = &old }, "service account token has been invalidated"},
		{"node of the pod gone", request("Pod", "p", 0), func(f *fixture) { delete(f.node, "n") }, ""},
		{"secret gone", request("Secret", "s", 0), func(f *fixture) { delete(f.secret, "s") }, "service account token has been invalidated"},
		{"node gone", request("Node", "n", 0), func(f *fixture) { delete(f.node, "n") }, "service account token has been invalidated"},
		{"for others", request("", "", 0, "vault"), func(*fixture) {}, `token audiences ["vault"] is invalid for the target audiences ["https://kubernetes.default.svc"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			token := f.issue(t, c.in)
			c.do(f)
			_, _, ok, err := f.auth.AuthenticateToken(token, nil)
			if c.want == "" {
				if err != nil || !ok {
					t.Error(ok, err)
				}
			} else if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestForgeries(t *testing.T) {
	f := newFixture(t, nil)
	good := f.issue(t, request("", "", 0))
	parts := strings.Split(good, ".")
	stranger := newFixture(t, nil)
	stranger.svc.Issuer.kid = f.svc.Issuer.kid
	none := b64.EncodeToString([]byte(`{"alg":"none"}`))
	hs := b64.EncodeToString([]byte(`{"alg":"HS256","kid":"` + f.svc.Issuer.kid + `"}`))
	for name, token := range map[string]string{
		"another key":         stranger.issue(t, request("", "", 0)),
		"no algorithm":        none + "." + parts[1] + ".",
		"symmetric algorithm": hs + "." + parts[1] + "." + parts[2],
		"changed claims":      parts[0] + "." + b64.EncodeToString([]byte(`{"iss":"`+api+`"}`)) + "." + parts[2],
		"cut signature":       parts[0] + "." + parts[1] + "." + parts[2][:20],
	} {
		if _, _, ok, err := f.auth.AuthenticateToken(token, nil); ok || err == nil {
			t.Errorf("%s: accepted (%v, %v)", name, ok, err)
		}
	}
	for name, token := range map[string]string{"garbage": "garbage", "empty": "", "another issuer": parts[0] + "." + b64.EncodeToString([]byte(`{"iss":"x"}`)) + "." + parts[2]} {
		if _, _, ok, err := f.auth.AuthenticateToken(token, nil); ok || err != nil {
			t.Errorf("%s: want no opinion, got %v, %v", name, ok, err)
		}
	}
}

func TestDiscovery(t *testing.T) {
	f := newFixture(t, nil)
	config, keys, err := f.svc.Issuer.Discovery("https://10.0.0.1:6443" + KeysPath)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	config.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), "GET", ConfigPath, nil))
	want := `{"issuer":"https://kubernetes.default.svc","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}`
	if w.Body.String() != want {
		t.Errorf("got %s\nwant %s", w.Body, want)
	}
	w = httptest.NewRecorder()
	keys.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), "GET", KeysPath, nil))
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 {
		t.Fatal(w.Body, err)
	}
	if k := set.Keys[0]; k.KTY != "EC" || k.CRV != "P-256" || k.Alg != "ES256" || len(k.X) != 43 || len(k.Y) != 43 || k.KID != f.svc.Issuer.kid {
		t.Errorf("%+v", k)
	}
}

func FuzzToken(f *testing.F) {
	x := newFixture(f, nil)
	out, _, err := x.svc.Request("ns", "app", request("Pod", "p", 0), nil)
	if err != nil {
		f.Fatal(err)
	}
	good := out.Status.Token
	f.Add(good)
	f.Add("a.b.c")
	f.Add(b64.EncodeToString([]byte(`{"alg":"ES256"}`)) + "." + b64.EncodeToString([]byte(`{"iss":"https://kubernetes.default.svc","exp":1e300,"aud":[1]}`)) + ".")
	f.Fuzz(func(t *testing.T, s string) {
		if _, _, ok, _ := x.auth.AuthenticateToken(s, nil); ok && !strings.HasPrefix(s, good[:strings.LastIndex(good, ".")+1]) {
			t.Errorf("a token that was never signed is accepted: %q", s)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	f := newFixture(b, nil)
	token := f.issue(b, request("Pod", "p", 0))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok, err := f.auth.AuthenticateToken(token, nil); !ok || err != nil {
			b.Fatal(err)
		}
	}
}
