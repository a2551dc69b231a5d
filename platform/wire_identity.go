package platform

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"skiff.dev/skiff/auth"
	"skiff.dev/skiff/auth/authn"
	"skiff.dev/skiff/auth/bootstrap"
	"skiff.dev/skiff/auth/pki"
	"skiff.dev/skiff/auth/token"
	"skiff.dev/skiff/auth/webhook"
	"skiff.dev/skiff/client"
)

// newAuthenticator joins all that tells who asks, in Kubernetes' order: front
// proxies, client certificates, tokens; then nobody in particular
// (pkg/kubeapiserver/authenticator, Config.New).
func (p *process) newAuthenticator(id *identity) error {
	c := &p.cfg.identityConfig
	var err error
	if id.clients, id.clientsPEM, err = authorities(p.pki.CA, "client-ca-file", c.clientCAFile); err != nil {
		return err
	}
	if id.proxies, id.proxiesPEM, err = authorities(p.pki.FrontProxyCA, "requestheader-client-ca-file", c.requestHeader.caFile); err != nil {
		return err
	}
	id.callers = x509.NewCertPool()
	id.callers.AppendCertsFromPEM(id.clientsPEM)
	id.callers.AppendCertsFromPEM(id.proxiesPEM)

	h := &c.requestHeader
	var tokens authn.TokenUnion
	if c.tokenAuthFile != "" {
		f, err := os.Open(c.tokenAuthFile)
		if err != nil {
			return fileFault("token-auth-file", c.tokenAuthFile, err)
		}
		defer f.Close()
		static, err := authn.ReadTokenFile(f)
		if err != nil {
			return fileFault("token-auth-file", c.tokenAuthFile, err)
		}
		tokens = append(tokens, authn.ForAudiences{Own: id.tokens.Audiences, Of: static})
	}
	tokens = append(tokens, id.accounts)
	id.accounts.OnUse = p.noteTokenUse
	if c.bootstrapTokens {
		tokens = append(tokens, authn.ForAudiences{Own: id.tokens.Audiences, Of: bootstrap.Tokens{Secrets: id, Now: time.Now}})
	}
	conf, algorithms, err := p.authenticationOf(c)
	if err != nil {
		return err
	}
	first, err := p.newcomersOf(id.ctx, id, conf, algorithms)
	if err != nil {
		return err
	}
	id.newcomers.Store(first)
	if len(conf.JWT) > 0 || c.authentication != "" {
		tokens = append(tokens, &id.newcomers)
	}
	if c.tokenHook != "" {
		caller, err := webhook.FromKubeconfig(c.tokenHook)
		if err != nil {
			return fileFault("authentication-token-webhook-config-file", c.tokenHook, err)
		}
		hook, err := webhook.NewTokens(caller, c.tokenHookAs, id.tokens.Audiences, c.tokenHookTTL, nil)
		if err != nil {
			return &Fault{What: "--authentication-token-webhook-version: " + err.Error(), Do: "give v1 or v1beta1", Err: err}
		}
		tokens = append(tokens, hook)
	}
	id.known = tokens
	if len(tokens) == 1 {
		id.known = tokens[0]
	}
	id.who = authn.WithAnonymous{Allow: id.newcomers.anonymous, Authenticator: authn.Union{
		authn.NewFrontProxy(authn.ProxyHeaders{Names: h.names, UIDs: h.uids, Groups: h.groups, ExtraPrefixes: h.extraPrefixes}, h.allowed,
			func() *x509.CertPool { return id.proxies }, nil),
		authn.NewCertificates(func() *x509.CertPool { return id.clients }, nil),
		authn.Bearer{Tokens: id.known},
	}}
	return nil
}

// newAuthorizer joins those who decide what users may do.
func (p *process) newAuthorizer(id *identity) error {
	c := &p.cfg.identityConfig
	conf, err := c.authorizationOf()
	if err != nil {
		return err
	}
	j, err := judgeOf(id, conf)
	if err != nil {
		if c.authorization != "" {
			return fileFault("authorization-config", c.authorization, err)
		}
		return fileFault("authorization-webhook-config-file", c.authzHookFile, err)
	}
	id.judges.Store(j)
	id.may = &id.judges
	return nil
}

// followIdentity takes changed configuration files into use.
func (p *process) followIdentity() {
	c := &p.cfg.identityConfig
	if c.authentication != "" {
		p.followFile("authentication-config", c.authentication, p.reloadAuthentication)
	}
	if c.authorization != "" {
		p.followFile("authorization-config", c.authorization, p.reloadAuthorization)
	}
}

// noteTokenUse labels the Secret of a token of old with the day on which it was used, in
// its own time: no request waits for a write.
func (p *process) noteTokenUse(namespace, name, date string) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{token.LabelLastUsed: date}}})
	if err != nil {
		p.tel.Log.Error("note the use of a token", "secret", namespace+"/"+name, "err", err)
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		b := p.api.InProcess(&auth.User{Name: "system:apiserver", Groups: []string{auth.GroupMasters}})
		k, ok := b.Kind(schema.GroupVersionKind{Version: "v1", Kind: "Secret"})
		if !ok {
			return
		}
		_, err := b.Patch(ctx, k, namespace, name, "", types.MergePatchType, patch, &metav1.PatchOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			p.tel.Log.Warn("note the use of a token", "secret", namespace+"/"+name, "err", err)
		}
	}()
}

// authorities are the cluster's own and those of a flag's file.
func authorities(own *pki.Authority, flag, path string) (*x509.CertPool, []byte, error) {
	if path == "" {
		return own.Pool(), own.PEM, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fileFault(flag, path, err)
	}
	more, err := pki.ParseCertificates(raw)
	if err != nil {
		return nil, nil, fileFault(flag, path, err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(own.Cert)
	text := slices.Clone(own.PEM)
	for _, c := range more {
		pool.AddCert(c)
		text = append(text, pki.EncodeCertificate(c)...)
	}
	return pool, text, nil
}

// extensionConfig is the ConfigMap in kube-system from which extension API servers
// learn whom to trust.
const extensionConfig = "extension-apiserver-authentication"

// publishAuthentication writes it (pkg/controlplane/controller/clusterauthenticationtrust).
// What another server of the cluster wrote stays.
func (p *process) publishAuthentication(ctx context.Context, b client.Backend) error {
	k, ok := b.Kind(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"})
	if !ok {
		return nil
	}
	h := &p.cfg.requestHeader
	want := map[string]string{
		"client-ca-file":               string(p.identity.clientsPEM),
		"requestheader-client-ca-file": string(p.identity.proxiesPEM),
	}
	lists := map[string][]string{
		"requestheader-username-headers":     h.names,
		"requestheader-uid-headers":          h.uids,
		"requestheader-group-headers":        h.groups,
		"requestheader-extra-headers-prefix": h.extraPrefixes,
		"requestheader-allowed-names":        h.allowed,
	}
	for {
		found, err := b.Get(ctx, k, metav1.NamespaceSystem, extensionConfig)
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: extensionConfig}}
		exists := err == nil
		if exists {
			cm = found.(*corev1.ConfigMap).DeepCopy()
		}
		changed, err := mergeAuthentication(cm, want, lists)
		if err != nil {
			return err
		}
		switch {
		case !exists:
			_, err = b.Create(ctx, k, cm, &metav1.CreateOptions{})
		case changed:
			_, err = b.Update(ctx, k, "", cm, &metav1.UpdateOptions{})
		}
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			continue // another server of the cluster was quicker
		}
		return err
	}
}

// mergeAuthentication adds what is missing in cm: certificates and list items.
func mergeAuthentication(cm *corev1.ConfigMap, certs map[string]string, lists map[string][]string) (changed bool, err error) {
	if cm.Data == nil {
		cm.Data = map[string]string{}
	}
	set := func(k, v string) {
		if have, ok := cm.Data[k]; !ok || have != v {
			cm.Data[k], changed = v, true
		}
	}
	for k, text := range certs {
		want, err := pki.ParseCertificates([]byte(text))
		if err != nil {
			return false, err
		}
		have, _ := pki.ParseCertificates([]byte(cm.Data[k])) // what cannot be read is replaced
		for _, c := range have {
			if time.Now().Before(c.NotAfter) && !slices.ContainsFunc(want, func(w *x509.Certificate) bool { return bytes.Equal(w.Raw, c.Raw) }) {
				want = append(want, c)
			}
		}
		var all []byte
		for _, c := range want {
			all = append(all, pki.EncodeCertificate(c)...)
		}
		set(k, string(all))
	}
	for k, list := range lists {
		var have []string
		_ = json.Unmarshal([]byte(cm.Data[k]), &have) // as above
		all := slices.Clone(list)
		for _, x := range have {
			if !slices.Contains(all, x) {
				all = append(all, x)
			}
		}
		if all == nil {
			all = []string{}
		}
		raw, err := json.Marshal(all)
		if err != nil {
			return false, err
		}
		set(k, string(raw))
	}
	return changed, nil
}
