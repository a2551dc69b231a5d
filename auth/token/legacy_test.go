package token

import (
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestLegacyTokens(t *testing.T) {
	const gone = "Token has been invalidated"
	for _, c := range []struct {
		name string
		do   func(f *fixture)
		want string
		used int
	}{
		{"good", func(*fixture) {}, "", 1},
		{"used today", func(f *fixture) {
			f.secret["old"].Labels = map[string]string{LabelLastUsed: f.now.UTC().Format(DateFormat)}
		}, "", 0},
		{"used yesterday", func(f *fixture) {
			f.secret["old"].Labels = map[string]string{LabelLastUsed: f.now.Add(-24 * time.Hour).UTC().Format(DateFormat)}
		}, "", 1},
		{"no secret", func(f *fixture) { delete(f.secret, "old") }, gone, 0},
		{"secret being deleted", func(f *fixture) { f.secret["old"].DeletionTimestamp = &metav1.Time{Time: f.now} }, gone, 0},
		{"another token", func(f *fixture) { f.secret["old"].Data["token"] = []byte("x") }, "Token does not match server's copy", 0},
		{"no account", func(f *fixture) { delete(f.sa, "app") }, `serviceaccounts "app" not found`, 0},
		{"another account", func(f *fixture) { f.sa["app"] = &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{UID: "new"}} }, "ServiceAccount UID (new) does not match claim (uid-sa)", 0},
		{"account being deleted", func(f *fixture) { f.sa["app"].DeletionTimestamp = &metav1.Time{Time: f.now} }, "ServiceAccount ns/app has been deleted", 0},
		{"marked invalid", func(f *fixture) { f.secret["old"].Labels = map[string]string{LabelInvalidSince: "2026-01-01"} },
			"the token in secret ns/old for service account ns/app has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the 'kubernetes.io/legacy-token-invalid-since' label from the secret to temporarily allow use of this token", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			token, err := f.svc.Issuer.Legacy("ns", "app", "uid-sa", "old")
			if err != nil {
				t.Fatal(err)
			}
			f.secret["old"] = &v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "old"}, Data: map[string][]byte{"token": []byte(token)}}
			used := 0
			f.auth.OnUse = func(ns, name, date string) {
				if ns != "ns" || name != "old" || date != f.now.UTC().Format(DateFormat) {
					t.Errorf("%s/%s %s", ns, name, date)
				}
				used++
			}
			c.do(f)
			for range 2 { // the use of a day is told once
				u, matched, ok, err := f.auth.AuthenticateToken(token, nil)
				switch {
				case c.want == "" && (err != nil || !ok || u.Name != "system:serviceaccount:ns:app" || u.UID != "uid-sa" || len(u.Extra) != 0 || matched[0] != api):
					t.Errorf("%+v %v %v %v", u, matched, ok, err)
				case c.want != "" && (err == nil || err.Error() != c.want):
					t.Errorf("got %v\nwant %s", err, c.want)
				}
			}
			if used != c.used {
				t.Errorf("told of %d uses, want %d", used, c.used)
			}
		})
	}
}

func TestLegacyClaims(t *testing.T) {
	f := newFixture(t, nil)
	for _, c := range []struct{ ns, account, uid, secret, want string }{
		{"", "app", "u", "s", "namespace claim is missing"},
		{"ns", "app", "u", "", "secretName claim is missing"},
		{"ns", "app", "", "s", "serviceAccountUID claim is missing"},
		{"ns", "not a name", "u", "s", "sub claim is invalid"},
	} {
		token, err := f.svc.Issuer.Legacy(c.ns, c.account, c.uid, c.secret)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, ok, err := f.auth.AuthenticateToken(token, nil); ok || err == nil || err.Error() != c.want {
			t.Errorf("%+v: %v %v", c, ok, err)
		}
	}
	stranger := newFixture(t, nil)
	token, err := stranger.svc.Issuer.Legacy("ns", "app", "uid-sa", "old")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok, err := f.auth.AuthenticateToken(token, nil); ok || err == nil {
		t.Error("a token of old that another signed is accepted")
	}
}

func FuzzLegacyClaims(f *testing.F) {
	f.Add([]byte(`{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:ns:app","kubernetes.io/serviceaccount/namespace":"ns"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := readLegacy(b); err == nil && (c.Namespace == "" || c.Name == "" || c.UID == "") {
			t.Errorf("%+v", c)
		}
	})
}
