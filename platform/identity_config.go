package platform

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/apis/apiserver"

	"skiff.dev/skiff/auth/structured"
)

// identityConfig are the flags of who may ask and what they may do, under the names
// that kube-apiserver gives them.
type identityConfig struct {
	anonymous       bool
	clientCAFile    string
	tokenAuthFile   string
	bootstrapTokens bool
	requestHeader   requestHeaderConfig
	audit           auditConfig

	oidc           oidcConfig
	authentication string // a file
	tokenHook      string // a kubeconfig
	tokenHookAs    string
	tokenHookTTL   time.Duration

	modes         []string
	authzHookFile string
	authzHook     apiserver.WebhookConfiguration
	authorization string // a file
}

// requestHeaderConfig tells how a front proxy names the user.
type requestHeaderConfig struct {
	caFile        string
	allowed       []string
	names         []string
	uids          []string
	groups        []string
	extraPrefixes []string
}

func (c *identityConfig) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&c.anonymous, "anonymous-auth", true, "let requests without an identity pass as system:anonymous of the group system:unauthenticated")
	fs.StringVar(&c.clientCAFile, "client-ca-file", "", "file of further authorities (PEM) whose client certificates are users, besides the cluster's own")
	fs.StringVar(&c.tokenAuthFile, "token-auth-file", "", "file of static tokens: lines of token,user,uid,\"group,group\"")

	fs.BoolVar(&c.bootstrapTokens, "enable-bootstrap-token-auth", true, "let Secrets of the type bootstrap.kubernetes.io/token in kube-system be tokens of machines that join")
	fs.StringVar(&c.authentication, "authentication-config", "", "file of an AuthenticationConfiguration (apiserver.config.k8s.io/v1): issuers of tokens, and who may come without an identity; changes are taken into use")
	fs.StringVar(&c.tokenHook, "authentication-token-webhook-config-file", "", "kubeconfig of a webhook that is asked whose a token is")
	fs.StringVar(&c.tokenHookAs, "authentication-token-webhook-version", "v1beta1", "version of the TokenReviews that the webhook is asked with: v1 or v1beta1")
	fs.DurationVar(&c.tokenHookTTL, "authentication-token-webhook-cache-ttl", 2*time.Minute, "how long an answer of the webhook holds")
	c.oidc.flags(fs)

	fs.StringSliceVar(&c.modes, "authorization-mode", []string{structured.Node, structured.RBAC}, "who decides what users may do, in this order: "+strings.Join(structured.Modes, ", "))
	fs.StringVar(&c.authzHookFile, "authorization-webhook-config-file", "", "kubeconfig of the webhook of the authorization mode Webhook")
	fs.StringVar(&c.authzHook.SubjectAccessReviewVersion, "authorization-webhook-version", "v1beta1", "version of the SubjectAccessReviews that the webhook is asked with: v1 or v1beta1")
	fs.DurationVar(&c.authzHook.AuthorizedTTL.Duration, "authorization-webhook-cache-authorized-ttl", 5*time.Minute, "how long an answer of the webhook that allows holds")
	fs.DurationVar(&c.authzHook.UnauthorizedTTL.Duration, "authorization-webhook-cache-unauthorized-ttl", 30*time.Second, "how long any other answer of the webhook holds")
	c.authzHook.CacheAuthorizedRequests, c.authzHook.CacheUnauthorizedRequests = true, true
	c.authzHook.FailurePolicy = apiserver.FailurePolicyNoOpinion
	c.authzHook.ConnectionInfo.Type = apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile
	fs.StringVar(&c.authorization, "authorization-config", "", "file of an AuthorizationConfiguration (apiserver.config.k8s.io/v1) in the place of --authorization-mode; changes are taken into use")

	c.audit.flags(fs)
	h := &c.requestHeader
	fs.StringVar(&h.caFile, "requestheader-client-ca-file", "", "file of further authorities (PEM) of front proxies, besides the cluster's own")
	fs.StringSliceVar(&h.allowed, "requestheader-allowed-names", []string{"front-proxy-client"}, "common names of the certificates of front proxies; empty allows every certificate of their authorities")
	fs.StringSliceVar(&h.names, "requestheader-username-headers", []string{"X-Remote-User"}, "headers in which a front proxy tells the user")
	fs.StringSliceVar(&h.uids, "requestheader-uid-headers", []string{"X-Remote-Uid"}, "headers in which a front proxy tells the user's uid")
	fs.StringSliceVar(&h.groups, "requestheader-group-headers", []string{"X-Remote-Group"}, "headers in which a front proxy tells the groups")
	fs.StringSliceVar(&h.extraPrefixes, "requestheader-extra-headers-prefix", []string{"X-Remote-Extra-"}, "prefixes of the headers in which a front proxy tells the rest")
}

// settle checks what can be checked without reading a file, and makes paths absolute:
// a process in the background has another working directory.
func (c *identityConfig) settle(open map[string]bool) error {
	for _, path := range append(c.audit.paths(), &c.oidc.caFile, &c.authentication, &c.tokenHook, &c.authzHookFile, &c.authorization,
		&c.clientCAFile, &c.tokenAuthFile, &c.requestHeader.caFile) {
		if *path == "" || *path == "-" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	if err := c.audit.check(); err != nil {
		return err
	}
	if err := c.checkDeciders(open); err != nil {
		return err
	}
	for flag, list := range map[string][]string{
		"requestheader-username-headers": c.requestHeader.names, "requestheader-uid-headers": c.requestHeader.uids,
		"requestheader-group-headers": c.requestHeader.groups, "requestheader-extra-headers-prefix": c.requestHeader.extraPrefixes,
	} {
		for i, h := range list {
			if list[i] = strings.TrimSpace(h); list[i] == "" {
				return &Fault{What: fmt.Sprintf("--%s has an empty header name", flag), Do: "leave the flag out, or give names like X-Remote-User"}
			}
		}
	}
	return nil
}

// checkDeciders checks flags that exclude each other or need another.
func (c *identityConfig) checkDeciders(open map[string]bool) error {
	given := func(prefix string) bool {
		for flag, unset := range open {
			if !unset && strings.HasPrefix(flag, prefix) {
				return true
			}
		}
		return false
	}
	seen := map[string]bool{}
	for _, m := range c.modes {
		if !slices.Contains(structured.Modes, m) {
			return &Fault{What: fmt.Sprintf("authorization-mode %q is not a valid mode", m), Do: "give some of " + strings.Join(structured.Modes, ", ")}
		}
		if seen[m] {
			return &Fault{What: fmt.Sprintf("authorization-mode %q has mode specified more than once", c.modes), Do: "give each mode once; --authorization-config can have several webhooks"}
		}
		seen[m] = true
	}
	switch {
	case c.authorization != "" && (given("authorization-mode") || given("authorization-webhook-")):
		return &Fault{What: "--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined", Do: "put all of it into the file"}
	case seen[structured.Webhook] && c.authzHookFile == "":
		return &Fault{What: "authorization-mode Webhook's authorization config file not passed", Do: "give it with --authorization-webhook-config-file"}
	case !seen[structured.Webhook] && c.authzHookFile != "":
		return &Fault{What: "cannot specify --authorization-webhook-config-file without mode Webhook", Do: "give --authorization-mode=Node,RBAC,Webhook"}
	case len(c.modes) == 0:
		return &Fault{What: "at least one authorization-mode must be passed", Do: "give --authorization-mode=Node,RBAC, or leave it out"}
	case c.authentication != "" && given("oidc-"):
		return &Fault{What: "authentication-config file and oidc-* flags are mutually exclusive", Do: "put the issuer into the file"}
	}
	return nil
}

// fileFault is what to say about a file of a flag that cannot be used.
func fileFault(flag, path string, err error) error {
	return &Fault{What: fmt.Sprintf("--%s=%s: %v", flag, path, err), Do: "repair the file, or leave the flag out", Err: err}
}
