package platform

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"skiff.dev/skiff/auth/structured"
)

func TestIdentityFlags(t *testing.T) {
	for _, c := range []struct{ flags, want string }{
		{"", ""},
		{"--authorization-mode=Node,RBAC,Webhook", "authorization-mode Webhook's authorization config file not passed"},
		{"--authorization-mode=Banana", `authorization-mode "Banana" is not a valid mode`},
		{"--authorization-mode=RBAC,RBAC", "has mode specified more than once"},
		{"--authorization-webhook-config-file=x", "cannot specify --authorization-webhook-config-file without mode Webhook"},
		{"--authorization-config=x --authorization-mode=RBAC", "--authorization-config can not be specified when"},
		{"--authentication-config=x --oidc-client-id=y", "mutually exclusive"},
		{"--audit-log-path=x", "give a policy with --audit-policy-file"},
		{"--audit-policy-file=x", "give --audit-log-path or --audit-webhook-config-file"},
		{"--audit-policy-file=x --audit-log-path=- --audit-log-mode=never", "--audit-log-mode=never is no mode"},
		{"--audit-policy-file=x --audit-log-path=- --audit-log-maxage=-1", "can't be a negative number"},
		{"--requestheader-username-headers= ", ""},
	} {
		i := &identityConfig{}
		fs := pflag.NewFlagSet("up", pflag.ContinueOnError)
		i.flags(fs)
		if err := fs.Parse(strings.Fields(c.flags)); err != nil {
			t.Fatal(err)
		}
		open := map[string]bool{}
		fs.VisitAll(func(f *pflag.Flag) { open[f.Name] = !f.Changed })
		err := i.settle(open)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.flags, err, c.want)
		}
	}
}

func TestOIDCFlags(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(ca, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		conf oidcConfig
		want string
	}{
		{"none", oidcConfig{usernameClaim: "sub"}, "[]"},
		{"by sub", oidcConfig{issuer: "https://i", clientID: "c", usernameClaim: "sub"}, `sub "https://i#" groups ""`},
		{"by email", oidcConfig{issuer: "https://i", clientID: "c", usernameClaim: "email", groupsClaim: "g", groupsPrefix: "p:"}, `email "" groups "g"`},
		{"without a prefix", oidcConfig{issuer: "https://i", clientID: "c", usernameClaim: "sub", usernamePrefix: "-"}, `sub "" groups ""`},
		{"half", oidcConfig{issuer: "https://i"}, "must be specified together"},
		{"not https", oidcConfig{issuer: "http://i", clientID: "c", usernameClaim: "sub"}, `jwt[0].issuer.url: Invalid value: "http://i": URL scheme must be https`},
		{"ourselves", oidcConfig{issuer: issuer, clientID: "c", usernameClaim: "sub"}, "URL must not overlap with disallowed issuers"},
		{"no authority", oidcConfig{issuer: "https://i", clientID: "c", usernameClaim: "sub", caFile: ca}, "jwt[0].issuer.certificateAuthority"},
		{"no file", oidcConfig{issuer: "https://i", clientID: "c", caFile: ca + "x"}, "--oidc-ca-file="},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, err := c.conf.configuration()
			if err == nil && len(conf.JWT) > 0 {
				err = structured.ValidateAuthentication(conf, issuer)
			}
			got := "[]"
			switch {
			case err != nil:
				got = err.Error()
			case len(conf.JWT) > 0:
				m := conf.JWT[0].ClaimMappings
				got = fmt.Sprintf("%s %q groups %q", m.Username.Claim, *m.Username.Prefix, m.Groups.Claim)
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
