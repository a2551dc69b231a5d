package platform

import (
	"os"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/apis/apiserver"
)

// oidcConfig are the flags of one OpenID Connect issuer; --authentication-config has room
// for more.
type oidcConfig struct {
	issuer, clientID, caFile                                 string
	usernameClaim, usernamePrefix, groupsClaim, groupsPrefix string
	algorithms                                               []string
	required                                                 map[string]string
}

func (c *oidcConfig) flags(fs *pflag.FlagSet) {
	fs.StringVar(&c.issuer, "oidc-issuer-url", "", "https URL of an OpenID Connect issuer whose tokens are users")
	fs.StringVar(&c.clientID, "oidc-client-id", "", "the audience that tokens of the issuer must be for")
	fs.StringVar(&c.caFile, "oidc-ca-file", "", "file of the authorities (PEM) of the issuer's certificate (default: the machine's)")
	fs.StringVar(&c.usernameClaim, "oidc-username-claim", "sub", "the claim that is the user's name")
	fs.StringVar(&c.usernamePrefix, "oidc-username-prefix", "", "put before the user's name; - for nothing (default: the issuer's URL and #, nothing for the claim email)")
	fs.StringVar(&c.groupsClaim, "oidc-groups-claim", "", "the claim that lists the user's groups")
	fs.StringVar(&c.groupsPrefix, "oidc-groups-prefix", "", "put before each group")
	fs.StringSliceVar(&c.algorithms, "oidc-signing-algs", []string{"RS256"}, "algorithms that the tokens may be signed with")
	fs.StringToStringVar(&c.required, "oidc-required-claim", nil, "claim=value that tokens must have; may be given more than once")
}

// configuration is the flags as a configuration file would have them.
func (c *oidcConfig) configuration() (*apiserver.AuthenticationConfiguration, error) {
	conf := &apiserver.AuthenticationConfiguration{}
	switch {
	case c.issuer == "" && c.clientID == "":
		return conf, nil
	case c.issuer == "" || c.clientID == "":
		return nil, &Fault{What: "--oidc-issuer-url and --oidc-client-id must be specified together", Do: "give both, or neither"}
	}
	prefix := c.usernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && c.usernameClaim != "email":
		prefix = c.issuer + "#"
	}
	j := apiserver.JWTAuthenticator{
		Issuer:        apiserver.Issuer{URL: c.issuer, Audiences: []string{c.clientID}},
		ClaimMappings: apiserver.ClaimMappings{Username: apiserver.PrefixedClaimOrExpression{Claim: c.usernameClaim, Prefix: &prefix}},
	}
	if c.groupsClaim != "" {
		j.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: c.groupsClaim, Prefix: &c.groupsPrefix}
	}
	for claim, value := range c.required {
		j.ClaimValidationRules = append(j.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, fileFault("oidc-ca-file", c.caFile, err)
		}
		j.Issuer.CertificateAuthority = string(pem)
	}
	conf.JWT = []apiserver.JWTAuthenticator{j}
	return conf, nil
}
