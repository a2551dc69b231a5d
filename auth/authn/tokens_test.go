package authn

import (
	"fmt"
	"strings"
	"testing"

	"skiff.dev/skiff/auth"
)

func TestReadTokenFile(t *testing.T) {
	for _, c := range []struct{ name, in, token, want string }{
		{"groups", "t1,jane,7,\"a,b\"\nt2,joe,8\n", "t1", "&{jane 7 [a b] map[]} true"},
		{"none", "t1,jane,7,\"a,b\"\nt2,joe,8\n", "t2", "&{joe 8 [] map[]} true"},
		{"the last counts", "t,jane,7\nt,joe,8\n", "t", "&{joe 8 [] map[]} true"},
		{"unknown", "t,jane,7\n", "x", "<nil> false"},
		{"too short", "a,b,c\nt,jane\n", "t", "line 2 has 2 columns: a line needs at least 3 (token, user name, user uid)"},
		{"empty", ",jane,7\n", "", "line 1 has an empty token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := ReadTokenFile(strings.NewReader(c.in))
			got := fmt.Sprint(err)
			if err == nil {
				u, ok, _ := f.AuthenticatePlainToken(c.token)
				got = fmt.Sprint(u, ok)
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestPlainTokensAreForTheServer(t *testing.T) {
	f := TokenUnion{tokens{}, ForAudiences{Own: []string{"api", "old"}, Of: TokenFile{"t": {Name: "jane"}}}}
	for _, c := range []struct {
		audiences []string
		want      string
	}{
		{nil, "jane [api old]"},
		{[]string{"old", "x"}, "jane [old]"},
		{[]string{"x"}, ""},
	} {
		u, matched, ok, err := f.AuthenticateToken("t", c.audiences)
		got := ""
		if ok {
			got = fmt.Sprint(u.Name, " ", matched)
		}
		if err != nil || got != c.want {
			t.Errorf("%v: %q %v", c.audiences, got, err)
		}
	}
	if _, _, ok, err := f.AuthenticateToken("bad", nil); ok || err == nil {
		t.Error("what one calls invalid and no other knows is an error")
	}
}

func FuzzTokenFile(f *testing.F) {
	f.Add("t,jane,7,\"a,b\"\n")
	f.Add("\"")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ReadTokenFile(strings.NewReader(s))
		if err == nil {
			if _, ok := m[""]; ok {
				t.Error("an empty token")
			}
		}
	})
}

var _ PlainTokens = TokenFile(map[string]*auth.User{})
