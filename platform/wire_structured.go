package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/authn"
	authnode "skiff.dev/skiff/auth/node"
	"skiff.dev/skiff/auth/oidc"
	"skiff.dev/skiff/auth/policy"
	"skiff.dev/skiff/auth/structured"
	"skiff.dev/skiff/auth/webhook"
)

// newcomers is what an authentication configuration says now: which issuers' tokens are
// good, and who may come without any identity. Another configuration replaces it whole.
type newcomers struct {
	tokens    authn.TokenUnion
	issuers   []*oidc.Issuer
	anonymous func(*http.Request) bool
	cancel    context.CancelFunc
}

// newcomersOf starts to look for the issuers of a configuration.
func (p *process) newcomersOf(ctx context.Context, id *identity, c *apiserver.AuthenticationConfiguration, algorithms []string) (*newcomers, error) {
	ctx, cancel := context.WithCancel(ctx)
	n := &newcomers{cancel: cancel}
	for _, j := range c.JWT {
		i, err := oidc.New(ctx, j, oidc.Options{Algorithms: algorithms, Own: []string{issuer}, Log: p.tel.For("oidc").Log})
		if err != nil {
			cancel()
			return nil, err
		}
		n.issuers = append(n.issuers, i)
		n.tokens = append(n.tokens, authn.ForAudiences{Own: id.tokens.Audiences, Of: i})
	}
	allowed := p.cfg.anonymous
	if c.Anonymous != nil {
		allowed = c.Anonymous.Enabled
	}
	var paths []string
	if c.Anonymous != nil {
		for _, cond := range c.Anonymous.Conditions {
			paths = append(paths, cond.Path)
		}
	}
	n.anonymous = func(r *http.Request) bool { return allowed && (len(paths) == 0 || slices.Contains(paths, r.URL.Path)) }
	return n, nil
}

// current is the newcomers of the moment as authenticators.
type current struct{ atomic.Pointer[newcomers] }

// AuthenticateToken implements authn.Tokens.
func (c *current) AuthenticateToken(token string, audiences []string) (*auth.User, []string, bool, error) {
	return c.Load().tokens.AuthenticateToken(token, audiences)
}

func (c *current) anonymous(r *http.Request) bool { return c.Load().anonymous(r) }

// authenticationOf is the configuration that the flags give.
func (p *process) authenticationOf(c *identityConfig) (*apiserver.AuthenticationConfiguration, []string, error) {
	if c.authentication != "" {
		text, err := os.ReadFile(c.authentication)
		if err != nil {
			return nil, nil, fileFault("authentication-config", c.authentication, err)
		}
		conf, err := p.readAuthentication(text)
		if err != nil {
			return nil, nil, fileFault("authentication-config", c.authentication, err)
		}
		return conf, nil, nil
	}
	conf, err := c.oidc.configuration()
	if err != nil || len(conf.JWT) == 0 {
		return conf, nil, err // nothing to judge: no compiler of expressions is made
	}
	if err := structured.ValidateAuthentication(conf, issuer); err != nil {
		return nil, nil, &Fault{What: "the flags --oidc-* give what cannot be: " + err.Error(), Do: "correct them, or leave them out", Err: err}
	}
	return conf, c.oidc.algorithms, nil
}

func (p *process) readAuthentication(text []byte) (*apiserver.AuthenticationConfiguration, error) {
	conf, err := structured.Authentication(text, issuer)
	if err == nil && conf.Anonymous != nil && !p.cfg.open["anonymous-auth"] {
		err = errors.New("anonymous: it cannot be set together with the flag --anonymous-auth")
	}
	return conf, err
}

// readyWithin is how long issuers of a changed configuration may take to be reached.
const readyWithin = time.Minute

// reloadAuthentication takes a changed file into use once all its issuers have been
// reached; until then, and if they are not, the one before holds.
func (p *process) reloadAuthentication(ctx context.Context, text []byte) error {
	conf, err := p.readAuthentication(text)
	if err != nil {
		return err
	}
	next, err := p.newcomersOf(p.identity.ctx, p.identity, conf, nil)
	if err != nil {
		return err
	}
	wait, done := context.WithTimeout(ctx, readyWithin)
	defer done()
	for _, i := range next.issuers {
		if err := i.Wait(wait); err != nil {
			next.cancel()
			return err
		}
	}
	p.identity.newcomers.Swap(next).cancel()
	return nil
}

// judge is the authorizers of the moment, in their order.
type judge struct {
	chain auth.Chain
	// unresolved are the authorizers that cannot list a user's rules.
	unresolved int
	rules      bool // RBAC is among them
}

type judges struct{ atomic.Pointer[judge] }

// Authorize implements auth.Authorizer.
func (j *judges) Authorize(ctx context.Context, a *auth.Attributes) (auth.Decision, string, error) {
	return j.Load().chain.Authorize(ctx, a)
}

// rulesOf lists rules for SelfSubjectRulesReview.
type rulesOf struct{ id *identity }

func (r rulesOf) RulesFor(u *auth.User, namespace string) ([]rbacv1.PolicyRule, error) {
	if !r.id.judges.Load().rules {
		return nil, nil
	}
	return r.id.rbac.RulesFor(u, namespace)
}

// Unresolved implements access.Partial.
func (r rulesOf) Unresolved() []error {
	out := make([]error, r.id.judges.Load().unresolved)
	for i := range out {
		out[i] = errors.New("webhook authorizer does not support user rule resolution")
	}
	return out
}

type always struct {
	decision auth.Decision
	reason   string
}

func (a always) Authorize(context.Context, *auth.Attributes) (auth.Decision, string, error) {
	return a.decision, a.reason, nil
}

// judgeOf makes the authorizers of a configuration. Errors name the field.
func judgeOf(id *identity, c *apiserver.AuthorizationConfiguration) (*judge, error) {
	j := &judge{chain: auth.Chain{auth.Masters{}}}
	for i := range c.Authorizers {
		a := &c.Authorizers[i]
		switch a.Type {
		case structured.Node:
			j.chain = append(j.chain, authnode.New(id.graph, policy.NodeRules()))
		case structured.RBAC:
			j.chain, j.rules = append(j.chain, id.rbac), true
		case structured.AlwaysAllow:
			j.chain = append(j.chain, always{auth.Allow, ""})
		case structured.AlwaysDeny:
			j.chain = append(j.chain, always{auth.NoOpinion, "Everything is forbidden."})
		case structured.Webhook:
			w, err := webhookAuthorizer(a.Webhook)
			if err != nil {
				return nil, fmt.Errorf("authorizers[%d].webhook: %w", i, err)
			}
			j.chain, j.unresolved = append(j.chain, w), j.unresolved+1
		}
	}
	return j, nil
}

func webhookAuthorizer(w *apiserver.WebhookConfiguration) (auth.Authorizer, error) {
	if w.ConnectionInfo.Type != apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile {
		return nil, fmt.Errorf("connectionInfo.type: %s: only KubeConfigFile can be reached from here", w.ConnectionInfo.Type)
	}
	caller, err := webhook.FromKubeconfig(*w.ConnectionInfo.KubeConfigFile)
	if err != nil {
		return nil, fmt.Errorf("connectionInfo.kubeConfigFile: %w", err)
	}
	caller.Timeout = w.Timeout.Duration
	o := webhook.Options{Version: w.SubjectAccessReviewVersion}
	if w.CacheAuthorizedRequests {
		o.Authorized = w.AuthorizedTTL.Duration
	}
	if w.CacheUnauthorizedRequests {
		o.Unauthorized = w.UnauthorizedTTL.Duration
	}
	if w.FailurePolicy == apiserver.FailurePolicyDeny {
		o.OnError = auth.Deny
	}
	m, err := structured.Matcher(w.MatchConditions)
	if err != nil {
		return nil, err
	}
	if m != nil {
		o.Match = m.Eval
	}
	return webhook.NewAuthorizer(caller, o)
}

// authorizationOf is the configuration that the flags give.
func (c *identityConfig) authorizationOf() (*apiserver.AuthorizationConfiguration, error) {
	if c.authorization != "" {
		text, err := os.ReadFile(c.authorization)
		if err != nil {
			return nil, fileFault("authorization-config", c.authorization, err)
		}
		conf, err := structured.Authorization(text)
		if err != nil {
			return nil, fileFault("authorization-config", c.authorization, err)
		}
		return conf, nil
	}
	conf := &apiserver.AuthorizationConfiguration{}
	for _, m := range c.modes {
		a := apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(m), Name: m}
		if m == structured.Webhook {
			w := c.authzHook
			w.ConnectionInfo.KubeConfigFile = &c.authzHookFile
			a.Webhook = &w
		}
		conf.Authorizers = append(conf.Authorizers, a)
	}
	return conf, nil
}

func (p *process) reloadAuthorization(_ context.Context, text []byte) error {
	conf, err := structured.Authorization(text)
	if err != nil {
		return err
	}
	next, err := judgeOf(p.identity, conf)
	if err != nil {
		return err
	}
	p.identity.judges.Store(next)
	return nil
}

// lookEvery is how often configuration files are looked at for changes.
const lookEvery = 5 * time.Second

// followFile calls apply with the content of a file whenever it has changed. What cannot
// be used is told to the log, and what held before holds on.
func (p *process) followFile(flag, path string, apply func(context.Context, []byte) error) {
	p.component(flag, func(ctx context.Context) error {
		log := p.tel.For("configuration").Log
		seen, _ := os.Stat(path)
		held, _ := os.ReadFile(path) // what the start has read, if it has not changed since
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			now, err := os.Stat(path)
			if err == nil && sameFile(seen, now) {
				continue
			}
			var text []byte
			if err == nil {
				text, err = os.ReadFile(path)
			}
			if err != nil {
				if seen != nil {
					log.Error("a configuration file cannot be read; what it said before holds", "file", path, "err", err)
				}
				seen = nil
				continue
			}
			seen = now
			if bytes.Equal(text, held) {
				continue
			}
			held = text
			if err := apply(ctx, text); err != nil {
				log.Error("a changed configuration file cannot be used; what it said before holds", "flag", flag, "file", path, "err", err)
				continue
			}
			log.Info("took a changed configuration file into use", "flag", flag, "file", path)
		}
	})
}

func sameFile(a, b fs.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
